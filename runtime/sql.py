"""Named queries from `.sql` files: `-- name: insert_signals` starts each one."""

import re
from collections.abc import Mapping
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def load_queries(package: str, file: str) -> Mapping[str, str]:
    """The queries of one file by name. A name that is missing later is a `KeyError`: a bug."""
    text = resources.files(package).joinpath(file).read_text("utf-8")
    parts = _NAME.split(text)[1:]
    return dict(zip(parts[::2], (sql.strip() for sql in parts[1::2]), strict=True))
