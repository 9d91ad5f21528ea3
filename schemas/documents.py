"""The checked-in files of the contracts: what they must be, and how they differ from what is there."""

import json
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final

from schemas.asyncapi import asyncapi_document
from schemas.header_schemas import header_schemas
from schemas.record_schemas import CONTRACTS, Schema, record_schemas
from schemas.topics import TOPICS

ASYNCAPI_FILE: Final = "asyncapi.json"

Files = Mapping[str, str]
"""Path below the folder of the contracts, with `/`, → text."""


def generated_files(contracts: Path = CONTRACTS) -> dict[str, str]:
    """All files made from the code, the tables and the examples. The same text for the same input.

    Reads the examples below `contracts`; writes nothing.
    """
    documents: dict[str, Schema] = {
        **{f"records/{name}.schema.json": schema for name, schema in record_schemas().items()},
        **{f"headers/{name}.schema.json": schema for name, schema in header_schemas().items()},
        ASYNCAPI_FILE: asyncapi_document(read_examples(contracts)),
    }
    return {path: to_text(document) for path, document in documents.items()}


def read_examples(contracts: Path = CONTRACTS) -> dict[str, list[dict[str, Any]]]:
    """Topic → its examples, each with `name`, `summary`, `key`, `headers` and `payload`."""
    return {
        topic.name: json.loads((contracts / "examples" / f"{topic.name}.json").read_text())
        for topic in TOPICS
    }


def checked_in_files(folder: Path = CONTRACTS) -> dict[str, str]:
    """What is there of the kinds of files that are generated."""
    paths = [*folder.glob("records/*"), *folder.glob("headers/*"), *folder.glob(ASYNCAPI_FILE)]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(paths)}


def write_files(files: Files, folder: Path = CONTRACTS) -> list[str]:
    """Makes the folder hold exactly these, and returns the paths that changed."""
    present = checked_in_files(folder)
    for path in present.keys() - files.keys():
        (folder / path).unlink()
    changed = [path for path, text in files.items() if present.get(path) != text]
    for path in changed:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(files[path])
    return sorted({*changed, *(present.keys() - files.keys())})


def difference(present: Files, wanted: Files) -> list[str]:
    """A unified diff of what is there and what should be, without line ends; empty if they are equal."""
    lines: list[str] = []
    for path in sorted(present.keys() | wanted.keys()):
        before, after = present.get(path, "").splitlines(), wanted.get(path, "").splitlines()
        lines += unified_diff(before, after, f"checked in/{path}", f"generated/{path}", lineterm="")
    return lines


def to_text(document: Schema) -> str:
    """Fields stay in the order of the struct, which is how people read them."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
