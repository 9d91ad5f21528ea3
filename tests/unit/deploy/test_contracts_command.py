import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.cli import main
from schemas.record_schemas import CONTRACTS
from schemas.releases import NOTES_FILE

SIGNAL = "records/signal.schema.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONTRACTS, tmp_path / "contracts"))


def run(folder: Path, name: str) -> Result:
    return CliRunner().invoke(main, ["contracts", "--folder", str(folder), name])


def released(folder: Path) -> Path:
    """The files of the only release."""
    (found,) = (folder / "released").iterdir()
    return found


def change(path: Path, field: str) -> None:
    """Adds an optional field to a checked-in schema."""
    schema = json.loads(path.read_text())
    schema["properties"][field] = {"type": "string", "default": ""}
    path.write_text(json.dumps(schema))


def test_what_is_checked_in_passes(folder: Path) -> None:
    """All three say so, and nothing is written."""
    assert run(folder, "check").exit_code == 0
    assert run(folder, "classify").exit_code == 0
    assert run(folder, "generate").output == ""


def test_a_stale_file_is_shown_and_made_anew(folder: Path) -> None:
    """`check` fails with a diff until `generate` was run."""
    change(folder / SIGNAL, "mood")
    result = run(folder, "check")
    assert result.exit_code == 1
    assert f"--- checked in/{SIGNAL}" in result.output
    assert "alerts contracts generate" in result.output
    assert run(folder, "generate").output == f"{SIGNAL}\n"
    assert run(folder, "check").exit_code == 0


def test_a_break_is_named(folder: Path) -> None:
    """A field that subscribers have and we do not write any more."""
    change(released(folder) / SIGNAL, "mood")
    result = run(folder, "classify")
    assert result.exit_code == 1
    assert "not without raising SCHEMA_VERSION: BREAKS old readers: records/signal mood" in result.output


def test_a_compatible_change_wants_a_note(folder: Path) -> None:
    """With the note it passes."""
    path = released(folder) / "records/tenant.schema.json"
    schema = json.loads(path.read_text())
    del schema["properties"]["deleted"]
    path.write_text(json.dumps(schema))
    assert "not noted in changes.toml: compatible: records/tenant deleted" in run(folder, "classify").output
    notes = (folder / NOTES_FILE).read_text()
    (folder / NOTES_FILE).write_text(
        notes + '\n[[change]]\ndocument = "records/tenant"\npath = "deleted"\n'
        'kind = "optional_field_added"\nwhy = "Tenants may go."\n'
    )
    result = run(folder, "classify")
    assert result.exit_code == 0
    assert f"{notes.count('[[change]]') + 1} differences since" in result.output


def test_a_release_is_made_once(folder: Path) -> None:
    """A version that is out cannot be released again."""
    name = released(folder).name
    assert run(folder, "release").exit_code == 1
    shutil.rmtree(folder / "released")
    assert run(folder, "release").exit_code == 0
    assert released(folder).name == name
    assert run(folder, "classify").exit_code == 0
