from pathlib import Path

import pytest

from deploy.local.chart.assets import Assets
from runtime.errors import FatalError


def test_addresses_follow_the_content(tmp_path: Path) -> None:
    """Another library file has another address, the rest keeps its own."""
    library = tmp_path / "lightweight-charts.js"
    library.write_text("one")
    before = dict(Assets(tmp_path).urls)
    library.write_text("two")
    after = dict(Assets(tmp_path).urls)
    assert before.pop("library_js") != after.pop("library_js")
    assert before == after


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    """The site does not start without the library, and says which file it wants."""
    with pytest.raises(FatalError, match=r"lightweight-charts\.js"):
        Assets(tmp_path)
