import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from schemas.compatibility import Change, ChangeKind
from schemas.documents import ASYNCAPI_FILE, generated_files
from schemas.records import SCHEMA_VERSION
from schemas.releases import (
    NO_NOTES,
    NOTES_FILE,
    Difference,
    Note,
    Release,
    differences,
    last_release,
    problems,
    read_notes,
    write_release,
)

ADDED = Difference("records/signal", Change("mood", ChangeKind.OPTIONAL_FIELD_ADDED, ""))
REMOVED = Difference("records/signal", Change("price", ChangeKind.FIELD_REMOVED, ""))
NOTE = Note(*ADDED.key, why="Traders asked for it.")


def changed(path: str, **top: Any) -> dict[str, str]:
    """The files of now with a document changed."""
    files = generated_files()
    return {**files, path: json.dumps({**json.loads(files[path]), **top})}


def test_the_contracts_are_compatible_with_the_last_release() -> None:
    """What subscribers rely on is kept, or the schema version is raised; and every change is noted."""
    released = last_release()
    found = differences(released.files, generated_files())
    assert problems(found, read_notes(), released.schema_version, SCHEMA_VERSION) == []


def test_what_is_the_same_does_not_differ() -> None:
    """Also in the topics."""
    assert differences(generated_files(), generated_files()) == []


def test_a_changed_record_is_a_difference() -> None:
    """With the document it is in."""
    path = "records/stored_signal.schema.json"
    fields = json.loads(generated_files()[path])["properties"]
    more = changed(path, properties={**fields, "mood": {"type": "string", "default": ""}})
    found = differences(generated_files(), more)
    assert [str(item) for item in found] == ["compatible: records/stored_signal mood: optional_field_added"]
    assert [str(item) for item in differences(more, generated_files())] == [
        "BREAKS old readers: records/stored_signal mood: field_removed"
    ]


def test_a_document_that_comes_or_goes_is_a_difference() -> None:
    """A new record is compatible, a record less is not."""
    files = generated_files()
    fewer = {path: text for path, text in files.items() if path != "headers/tenant.schema.json"}
    assert [item.key for item in differences(fewer, files)] == [("headers/tenant", "", "document_added")]
    (gone,) = differences(files, fewer)
    assert gone.change.is_breaking
    assert str(gone) == "BREAKS new readers and old readers: headers/tenant: document_removed"


def test_topics_are_compared_too() -> None:
    """A topic more is compatible; a topic less, another key or another message is not."""
    asyncapi = json.loads(generated_files()[ASYNCAPI_FILE])
    fewer = deepcopy(asyncapi)
    del fewer["channels"]["signals"]
    other = deepcopy(asyncapi)
    other["channels"]["signals"]["messages"] = asyncapi["channels"]["tenants"]["messages"]
    rekeyed = deepcopy(asyncapi)
    rekeyed["components"]["messages"]["tenant"]["bindings"]["kafka"]["key"] = {"type": "integer"}

    def since(document: Any) -> set[tuple[str, str, str]]:
        files = {**generated_files(), ASYNCAPI_FILE: json.dumps(document)}
        return {item.key for item in differences(generated_files(), files)}

    assert since(fewer) == {("topics", "signals", "field_removed")}
    assert since(other) == {
        ("topics", "signals.message", "narrowed"),
        ("topics", "signals.message", "widened"),
    }
    assert ("topics", "tenants.key", "widened") in since(rekeyed)
    files = {**generated_files(), ASYNCAPI_FILE: json.dumps(fewer)}
    assert [item.key for item in differences(files, generated_files())] == [
        ("topics", "signals", "optional_field_added")
    ]


@pytest.mark.parametrize(
    ("found", "notes", "version", "expected"),
    [
        ([], [], 1, []),
        ([ADDED], [NOTE], 1, []),
        (
            [ADDED],
            [],
            1,
            ["not noted in changes.toml: compatible: records/signal mood: optional_field_added"],
        ),
        (
            [],
            [NOTE],
            1,
            ["noted in changes.toml, but no difference: records/signal mood optional_field_added"],
        ),
        (
            [REMOVED],
            [Note(*REMOVED.key, why="Gone.")],
            1,
            ["not without raising SCHEMA_VERSION: BREAKS old readers: records/signal price: field_removed"],
        ),
        ([REMOVED], [Note(*REMOVED.key, why="Gone.")], 2, []),
        (
            [REMOVED],
            [],
            2,
            ["not noted in changes.toml: BREAKS old readers: records/signal price: field_removed"],
        ),
        (
            [ADDED],
            [Note(*ADDED.key, why=" ")],
            1,
            ["noted without a reason: records/signal mood optional_field_added"],
        ),
    ],
    ids=[
        "nothing",
        "noted",
        "not noted",
        "idle note",
        "break",
        "new version",
        "break not noted",
        "no reason",
    ],
)
def test_what_is_wrong_since_a_release(
    found: list[Difference], notes: list[Note], version: int, expected: list[str]
) -> None:
    """Released was schema version 1."""
    assert problems(found, notes, 1, version) == expected


def test_a_release_is_what_it_was(tmp_path: Path) -> None:
    """It is read back, the highest version is the last one, and its notes are kept with it."""
    (tmp_path / NOTES_FILE).write_text(
        '[[change]]\ndocument = "records/signal"\npath = "mood"\n'
        'kind = "optional_field_added"\nwhy = "Traders asked for it."\n'
    )
    assert read_notes(tmp_path) == [NOTE]
    first = Release("0.9.0", 1, generated_files())
    second = Release("0.10.0", 2, changed("records/tenant.schema.json", title="T"))
    write_release(first, tmp_path)
    write_release(second, tmp_path)
    assert last_release(tmp_path) == second
    assert "Traders" in (tmp_path / "released" / "0.9.0" / NOTES_FILE).read_text()
    assert (tmp_path / NOTES_FILE).read_text() == NO_NOTES
    assert read_notes(tmp_path) == []


def test_a_release_is_never_changed(tmp_path: Path) -> None:
    """What subscribers have stays what it is."""
    write_release(Release("0.1.0", 1, {ASYNCAPI_FILE: "{}"}), tmp_path)
    with pytest.raises(FileExistsError):
        write_release(Release("0.1.0", 1, generated_files()), tmp_path)
    assert last_release(tmp_path).files == {ASYNCAPI_FILE: "{}"}


def test_before_the_first_release_there_is_nothing_to_compare(tmp_path: Path) -> None:
    """And it says so."""
    with pytest.raises(FileNotFoundError, match="no release"):
        last_release(tmp_path)
