from pathlib import Path

import pytest

from runtime.sql import load_queries


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "package_with_sql"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "queries.sql").write_text(
        "-- about this file\n\n-- name: first\nSELECT 1; -- name: not_one\n\n"
        "-- name: second_one\nSELECT\n  'á';\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_queries_are_found_by_name(package: str) -> None:
    """Each from its name to the next one; what stands before the first name is no query."""
    assert load_queries(package, "queries.sql") == {
        "first": "SELECT 1; -- name: not_one",
        "second_one": "SELECT\n  'á';",
    }


def test_a_missing_file_is_an_error_at_start(package: str) -> None:
    """Not at the first use."""
    with pytest.raises(FileNotFoundError):
        load_queries(package, "other.sql")
