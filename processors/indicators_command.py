"""`alerts indicators`: check, list and try the files that say how messages are read."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from processors.indicators.files import (
    SHIPPED,
    IndicatorError,
    SourceFile,
    compile_book,
    indicator_folders,
    read_files,
)
from processors.indicators.trial import Sample, Trial, try_message
from processors.settings import ProcessSection
from runtime.clock import SystemClock, utc_now
from runtime.environment import Environment
from runtime.examples import example
from runtime.settings import load_section
from schemas.codec import encode

EXIT_PROBLEMS: Final = 1

_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_HEADER: Final = ("file", "folder", "revision", "labels", "emojis", "words", "marks", "names")


@click.group("indicators", epilog=example("indicators list"))
def command() -> None:
    """Check, list and try the files that say how messages are read."""


@command.command(epilog=example("indicators check ./indicators"))
@click.argument("directory", type=_FOLDER, required=False)
@click.pass_obj
def check(environment: Environment, directory: Path | None) -> None:
    """Read all files; exit 1 and list every problem, or show what is in force.

    DIRECTORY is used in place of PROCESS_INDICATORS_DIRECTORY.
    """
    try:
        files = read_files(*_folders(environment, directory))
    except IndicatorError as error:
        for problem in error.problems:
            click.echo(_printable(str(problem)))
        click.echo(f"{len(error.problems)} problem(s)", err=True)
        sys.exit(EXIT_PROBLEMS)
    _show_files(files)
    for note in _shared_names(files):
        click.echo(note)
    click.echo(f"no problems; parse revision {compile_book(files).parse_revision}")


@command.command("list", epilog=example("indicators list"))
@click.option("--directory", type=_FOLDER, help="in place of PROCESS_INDICATORS_DIRECTORY")
@click.pass_obj
def list_files(environment: Environment, directory: Path | None) -> None:
    """Show the files in force, in order of precedence."""
    files = read_files(*_folders(environment, directory))
    _show_files(files)
    click.echo(f"parse revision {compile_book(files).parse_revision}")


@command.command(
    "try", epilog=example("indicators try 'Ticker: BINANCE:BTCUSDT'", "indicators try alert.txt")
)
@click.argument("message", metavar="FILE_OR_TEXT")
@click.option("--query", default="", help="the webhook URL's query, as chart=…")
@click.option(
    "--content-type",
    default="text/plain; charset=utf-8",
    show_default=True,
    help="has no say in how it is read",
)
@click.option("--directory", type=_FOLDER, help="in place of PROCESS_INDICATORS_DIRECTORY")
@click.option("--json", "as_json", is_flag=True, help="the signal alone, as JSON")
@click.pass_obj
def try_(environment: Environment, /, message: str, **options: Any) -> None:
    """Show how a message is read, field by field, and what to change.

    FILE_OR_TEXT is a file's name, `-` for standard input, or the text itself. Needs no Kafka, no database.
    """
    files = read_files(*_folders(environment, options["directory"]))
    origin, body = _body_of(message)
    sample = Sample(body, utc_now(SystemClock()), options["query"].removeprefix("?"), options["content_type"])
    trial = try_message(sample, files, compile_book(files))
    if options["as_json"]:
        click.echo(msgspec.json.format(encode(trial.signal), indent=2).decode())
        return
    click.echo(f"message       {origin}, {len(body)} bytes")
    _show_trial(trial)


def _folders(environment: Environment, directory: Path | None) -> tuple[Path, ...]:
    """Raises `SettingsError` if the setting names no folder."""
    if directory is None:
        directory = load_section(ProcessSection, environment.values).indicators_directory
    return indicator_folders(directory)


def _body_of(message: str) -> tuple[str, bytes]:
    """What the message is called, and its bytes. Raises `click.ClickException` for an unreadable file."""
    if message == "-":
        return "standard input", click.get_binary_stream("stdin").read()
    if not _is_file(message):
        return "the text itself", os.fsencode(message)
    try:
        return f"file {_printable(message)}", Path(message).read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {message}: {error.strerror}") from error


def _is_file(message: str) -> bool:
    try:
        return Path(message).is_file()
    except OSError:
        return False  # longer than any file's name


def _show_files(files: Sequence[SourceFile]) -> None:
    rows: list[Sequence[str]] = [_HEADER]
    for file in files:
        content = file.content
        tables = (content.labels, content.emojis, content.directions, content.marks)
        counts = (str(sum(map(len, table.values()))) for table in tables)
        names = ", ".join(content.recognise.names) if content.recognise else "(reads every message)"
        rows.append((file.name, _folder_of(file), str(content.revision), *counts, _printable(names)))
    _show_table(rows)


def _folder_of(file: SourceFile) -> str:
    if file.path.parent == SHIPPED:
        return "shipped"
    return f"{_printable(str(file.path.parent))}{', replaces the shipped one' if file.replaces else ''}"


def _shared_names(files: Sequence[SourceFile]) -> Iterator[str]:
    """Names that a file can never be recognised by, since one of higher precedence has them too."""
    owners: dict[str, str] = {}
    for file in files:
        for name in file.content.recognise.names if file.content.recognise else ():
            owner = owners.setdefault(name.casefold(), file.name)
            if owner != file.name:
                yield f"note: {_printable(name)!r} of {file.name} is a name in {owner} too, which wins"


def _show_trial(trial: Trial) -> None:
    signal = trial.signal
    click.echo(f"format        {signal.source.format}")
    click.echo(f"recognised by {', then '.join(trial.recognised_by) or 'no file; general words only'}\n")
    rows = [("field", "value", "read from")]
    rows += [(row.field, _shown(row.value), row.origin) for row in trial.rows]
    _show_table([tuple(map(_printable, row)) for row in rows])
    click.echo(f"\nstatus        {signal.parse_status}")
    click.echo(f"warnings      {', '.join(signal.warnings) or 'none'}")
    click.echo(f"revision      {signal.source.parse_revision}")
    if trial.advice:
        click.echo("\nwhat to look at")
    for line in trial.advice:
        click.echo(f"- {_printable(line)}")


def _shown(value: str | None) -> str:
    return "-" if value is None else value


def _show_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest cell; a very long cell does not widen its column."""
    widths = [min(48, max(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _printable(text: str) -> str:
    """What a terminal would obey is shown as an escape."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
