import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from deploy.cli import main
from processors.command import serve_processors
from processors.indicators import PARSER_REVISION, IndicatorError
from processors.settings import ProcessorSettings
from runtime.process import ProcessContext
from runtime.settings import load_settings

FAMILY = 'revision = 7\n[recognise]\nnames = ["Super Trend"]\n[labels]\nprice = ["entrada"]\n'
MESSAGE = "Super Trend\nTicker: OKX:OP\nEntrada: 5\nSeñal: COMPRA"
PATIENCE_S = 20
PARSER = PARSER_REVISION * 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "super_trend.toml").write_text(FAMILY, "utf-8")
    return folder


def run(*arguments: str, folder: Path | str = "", stdin: bytes | None = None) -> Result:
    """`alerts indicators …` with the setting."""
    env = {"ALERTS_ENV_FILE": "", "PROCESS_INDICATORS_DIRECTORY": str(folder)}
    return CliRunner().invoke(main, ["indicators", *arguments], env=env, input=stdin)


def test_list_shows_the_files_in_force(folder: Path) -> None:
    """In order of precedence, with their revisions, and what they hold."""
    (folder / "adx_def.toml").write_text('revision = 2\n[recognise]\nnames = ["ADX", "A"]\n', "utf-8")
    result = run("list", folder=folder)
    assert result.exit_code == 0
    rows = [line.split("  ") for line in result.output.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells[0] == ["file", "folder", "revision", "labels", "emojis", "words", "marks", "names"]
    assert cells[1] == [
        *("adx_def.toml", f"{folder}, replaces the shipped one", "2", "0", "0", "0", "0", "ADX, A")
    ]
    assert cells[2] == ["super_trend.toml", str(folder), "7", "1", "0", "0", "0", "Super Trend"]
    assert cells[3][:2] == ["generic.toml", "shipped"]
    assert cells[4] == [f"parse revision {PARSER + 11}"]


def test_check_shows_what_is_in_force_when_nothing_is_wrong(folder: Path) -> None:
    """Exit code 0; a folder that is named stands in for the setting."""
    for result in (run("check", folder=folder), run("check", str(folder), folder="/nowhere")):
        assert result.exit_code == 0
        assert "super_trend.toml" in result.output
        assert result.output.endswith(f"no problems; parse revision {PARSER + 9}\n")


def test_check_lists_every_problem(folder: Path) -> None:
    """File, line and reason, a line for each; exit code 1."""
    (folder / "a.toml").write_text("revision = \n")
    (folder / "b.toml").write_text("revision = 1\nlabel = 1\n[labels]\nprice = [1]\n")
    result = run("check", folder=folder)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{folder}/a.toml:1: Invalid value",
        f"{folder}/b.toml:2: 'label' is no key; did you mean labels?",
        f"{folder}/b.toml:4: labels.price: 1 is no text in quotes",
    ]
    assert result.stderr == "3 problem(s)\n"


def test_check_notes_names_of_two_files(folder: Path) -> None:
    """It is allowed, and the second of them is never asked."""
    (folder / "a.toml").write_text(FAMILY.replace("Super", "SUPER"), "utf-8")
    result = run("check", folder=folder)
    assert "note: 'Super Trend' of super_trend.toml is a name in a.toml too, which wins" in result.output


def test_other_commands_list_the_problems_too(folder: Path) -> None:
    """Nothing is tried with files that the processors would refuse."""
    (folder / "a.toml").write_text("revision = \n")
    for arguments in (["list"], ["try", "x"]):
        result = run(*arguments, folder=folder)
        assert result.exit_code == 1
        assert result.output == (
            f"Error: these indicator files are wrong:\n{folder}/a.toml:1: Invalid value\n"
        )


def test_the_processors_refuse_to_start(folder: Path) -> None:
    """With the lines of all problems and exit code 1, before they look for Kafka."""
    (folder / "a.toml").write_text("revision = \n")
    env = {
        "ALERTS_ENV_FILE": "",
        "PROCESS_INDICATORS_DIRECTORY": str(folder),
        "KAFKA_BOOTSTRAP": "127.0.0.1:1",
    }
    result = CliRunner().invoke(main, ["process"], env=env)
    assert result.exit_code == 1
    assert result.output == f"Error: these indicator files are wrong:\n{folder}/a.toml:1: Invalid value\n"


async def test_the_processors_read_the_operators_folder(folder: Path) -> None:
    """The files are in force in the process itself, not only looked at before it."""
    (folder / "a.toml").write_text("revision = \n")
    values = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "PROCESS_INDICATORS_DIRECTORY": str(folder)}
    settings = load_settings(ProcessorSettings, values)
    with pytest.raises(IndicatorError):
        async with asyncio.timeout(PATIENCE_S), serve_processors(settings, ProcessContext()):
            pass


def test_a_missing_folder_is_an_error_of_the_settings() -> None:
    """As for the processors; one that is named on the command line is an error of use."""
    result = run("check", folder="/no/such/folder")
    assert result.exit_code == 2
    assert "PROCESS_INDICATORS_DIRECTORY: " in result.output
    assert run("check", "/no/such/folder").exit_code == 2
    assert run("try", "x", "--directory", "/no/such/folder").exit_code == 2


def test_try_shows_how_a_text_is_read(folder: Path) -> None:
    """Format, file, fields with their origin, status, warnings and advice."""
    result = run("try", MESSAGE.replace("5", "1,234"), folder=folder)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:3] == [
        "message       the text itself, 56 bytes",
        "format        labelled_text",
        "recognised by super_trend.toml",
    ]
    assert ["price", "1234", "label 'entrada': '1,234'"] in [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines
    ]
    assert lines[-6:] == [
        "status        parsed",
        "warnings      ambiguous_number",
        f"revision      {PARSER + 9}",
        "",
        "what to look at",
        "- ambiguous_number: the price's only comma stands before three digits: a thousands mark",
    ]


def test_try_reads_a_file_and_standard_input(folder: Path, tmp_path: Path) -> None:
    """Bytes as they are, whatever they are."""
    file = tmp_path / "alert.txt"
    file.write_bytes(MESSAGE.encode("latin-1"))
    for result, origin in (
        (run("try", str(file), "--directory", str(folder)), f"file {file}"),
        (run("try", "-", folder=folder, stdin=file.read_bytes()), "standard input"),
    ):
        assert result.output.startswith(f"message       {origin}, 51 bytes\n")
        assert "invalid_utf8: " in result.output


@pytest.mark.parametrize("text", ["x" * 5000, "a/b: c", ".", ""])
def test_try_takes_what_is_no_file_for_the_text(folder: Path, text: str) -> None:
    """Also what no file could be called, and a folder."""
    result = run("try", text, folder=folder)
    assert result.exit_code == 0
    assert result.output.startswith(f"message       the text itself, {len(text)} bytes\n")


def test_try_prints_the_signal_as_json(folder: Path) -> None:
    """Nothing but the record, for scripts; query and content type are taken as the webhook's."""
    arguments = ("--query", "?chart=Ab3dE9xZ", "--content-type", "application/json")
    result = run("try", MESSAGE, *arguments, "--json", folder=folder)
    signal = json.loads(result.output)
    assert (signal["chart_id"], signal["price"], signal["direction"]) == ("Ab3dE9xZ", "5", "long")
    assert signal["source"] == {
        "format": "labelled_text",
        "indicator_file": "super_trend.toml",
        "parse_revision": PARSER + 9,
    }


def test_nothing_of_a_message_reaches_the_terminal_as_a_command(folder: Path) -> None:
    """Whoever tries a stranger's alert sees escapes, not their effect."""
    result = run("try", "Super \x9b1mTrend\nCa\x07mpo: a\x1b]0;b", folder=folder)
    assert result.exit_code == 0
    assert r"fields.Ca\x07mpo" in result.output
    assert not {"\x1b", "\x07", "\x9b"} & set(result.output)
