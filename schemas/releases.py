"""What changed in the contracts since the last release, and whether it was noted and may be."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.compatibility import Change, ChangeKind, compare
from schemas.documents import ASYNCAPI_FILE, Files, checked_in_files, to_text, write_files
from schemas.record_schemas import CONTRACTS

NOTES_FILE: Final = "changes.toml"
RELEASE_FILE: Final = "release.json"
NO_NOTES: Final = "# No changes since the last release. Each one is noted here: docs/contracts.md says how.\n"


@dataclass(frozen=True, slots=True)
class Release:
    """The contracts as subscribers have them. `version` is the product's."""

    version: str
    schema_version: int
    files: Files


@dataclass(frozen=True, slots=True)
class Difference:
    """A change of one document: a record's or headers' schema, or `topics`."""

    document: str
    change: Change

    @property
    def key(self) -> tuple[str, str, str]:
        return self.document, self.change.path, self.change.kind.value

    def __str__(self) -> str:
        broken = " and ".join(f"{reader} readers" for reader in sorted(self.change.kind.breaks))
        verdict = f"BREAKS {broken}" if broken else "compatible"
        where = " ".join(part for part in (self.document, self.change.path) if part)
        return f"{verdict}: {where}: {self.change.kind}{self.change.detail and f' ({self.change.detail})'}"


@dataclass(frozen=True, slots=True)
class Note:
    """What somebody wrote down of a difference, in `changes.toml`."""

    document: str
    path: str
    kind: str
    why: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.document, self.path, self.kind


def last_release(contracts: Path = CONTRACTS) -> Release:
    """Raises `FileNotFoundError` if nothing was ever released."""
    folders = sorted((contracts / "released").glob("*.*"), key=lambda folder: _ordered(folder.name))
    if not folders:
        raise FileNotFoundError("no release of the contracts")
    facts = json.loads((folders[-1] / RELEASE_FILE).read_text())
    return Release(folders[-1].name, facts["schema_version"], checked_in_files(folders[-1]))


def write_release(release: Release, contracts: Path = CONTRACTS) -> None:
    """Freezes the files with the notes that led to them, and begins new notes.

    Raises `FileExistsError` if the version was released before: what subscribers have does not change.
    """
    folder = contracts / "released" / release.version
    folder.mkdir(parents=True)
    write_files(release.files, folder)
    (folder / RELEASE_FILE).write_text(to_text({"schema_version": release.schema_version}))
    notes = contracts / NOTES_FILE
    if notes.exists() and read_notes(contracts):
        (folder / NOTES_FILE).write_text(notes.read_text())
    notes.write_text(NO_NOTES)


def read_notes(contracts: Path = CONTRACTS) -> list[Note]:
    table = tomllib.loads((contracts / NOTES_FILE).read_text())
    return [
        Note(entry["document"], entry.get("path", ""), entry["kind"], entry["why"])
        for entry in table.get("change", ())
    ]


def differences(old: Files, new: Files) -> list[Difference]:
    """Of all documents, by their path. Pure."""
    before, after = _documents(old), _documents(new)
    found = [Difference(name, _document(ChangeKind.DOCUMENT_REMOVED)) for name in before if name not in after]
    found += [Difference(name, _document(ChangeKind.DOCUMENT_ADDED)) for name in after if name not in before]
    for name in before:
        if name in after:
            found += [Difference(name, change) for change in compare(before[name], after[name])]
    return sorted(found, key=lambda item: item.key)


def problems(
    found: list[Difference], notes: list[Note], released_version: int, schema_version: int
) -> list[str]:
    """What forbids the state: breaks in a schema version, differences not noted, notes of nothing. Pure."""
    noted = {note.key for note in notes}
    breaks = [item for item in found if item.change.is_breaking and schema_version <= released_version]
    unnoted = [item for item in found if item.key not in noted]
    idle = [note for note in notes if note.key not in {item.key for item in found}]
    return [
        *(f"not without raising SCHEMA_VERSION: {item}" for item in breaks),
        *(f"not noted in {NOTES_FILE}: {item}" for item in unnoted),
        *(f"noted in {NOTES_FILE}, but no difference: {' '.join(note.key)}" for note in idle),
        *(f"noted without a reason: {' '.join(note.key)}" for note in notes if not note.why.strip()),
    ]


def _documents(files: Files) -> dict[str, Mapping[str, Any]]:
    """The schemas, and what readers depend on of the topics, each as a schema to compare."""
    parsed = {path: json.loads(text) for path, text in files.items()}
    asyncapi = parsed.pop(ASYNCAPI_FILE)
    named = {path.removesuffix(".schema.json"): schema for path, schema in parsed.items()}
    return {**named, "topics": _topics(asyncapi)}


def _topics(asyncapi: Mapping[str, Any]) -> Mapping[str, Any]:
    """Topics as optional fields, each with the schema of its key and the name of its message.

    So a topic more is compatible, and a topic less, another key or another message is a break.
    """
    messages = asyncapi["components"]["messages"]
    properties = {}
    for name, channel in asyncapi["channels"].items():
        carried = sorted(channel["messages"])
        keys = [messages[message]["bindings"]["kafka"]["key"] for message in carried]
        properties[name] = {"properties": {"key": keys[0], "message": {"enum": carried}}}
    return {"type": "object", "properties": properties}


def _document(kind: ChangeKind) -> Change:
    return Change("", kind, "")


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
