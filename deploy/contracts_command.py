"""`alerts contracts`: the checked-in contracts, for whoever changes a record, a header or a topic."""

from importlib import metadata
from pathlib import Path

import click

from runtime.examples import example
from schemas.documents import checked_in_files, difference, generated_files, write_files
from schemas.record_schemas import CONTRACTS
from schemas.records import SCHEMA_VERSION
from schemas.releases import Release, differences, last_release, problems, read_notes, write_release


@click.group("contracts", epilog=example("contracts check"))
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=CONTRACTS,
    help="Work on another folder than the installed one.",
)
@click.pass_context
def command(context: click.Context, folder: Path) -> None:
    """Generate, check and classify the JSON Schemas and the AsyncAPI document of all topics."""
    context.obj = folder


@command.command(epilog=example("contracts generate"))
@click.pass_obj
def generate(folder: Path) -> None:
    """Write the files from the code; show which ones changed."""
    for path in write_files(generated_files(folder), folder):
        click.echo(path)


@command.command(epilog=example("contracts check"))
@click.pass_obj
def check(folder: Path) -> None:
    """Exit 1 with a diff if the files are not those that the code makes."""
    lines = difference(checked_in_files(folder), generated_files(folder))
    for line in lines:
        click.echo(line)
    if lines:
        raise click.ClickException("the contracts differ from the code: `alerts contracts generate`")


@command.command(epilog=example("contracts classify"))
@click.pass_obj
def classify(folder: Path) -> None:
    """Show every difference from the last release; exit 1 if one must not be or is not noted."""
    released = last_release(folder)
    found = differences(released.files, generated_files(folder))
    for item in found:
        click.echo(str(item))
    wrong = problems(found, read_notes(folder), released.schema_version, SCHEMA_VERSION)
    if wrong:
        raise click.ClickException("\n  ".join([f"since {released.version}:", *wrong]))
    click.echo(f"{len(found)} differences since {released.version}, all noted")


@command.command(epilog=example("contracts release"))
@click.pass_obj
def release(folder: Path) -> None:
    """Freeze the files as those of this version, so that later changes are compared with them."""
    version = metadata.version("alerts")
    try:
        write_release(Release(version, SCHEMA_VERSION, generated_files(folder)), folder)
    except FileExistsError as error:
        raise click.ClickException(f"{version} is released already: raise the version first") from error
    click.echo(f"released {version}")
