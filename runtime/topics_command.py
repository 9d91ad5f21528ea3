"""`alerts topics`: the topics of the declared table on the broker."""

import asyncio
from typing import Final

import click

from runtime.environment import Environment
from runtime.examples import example
from runtime.settings import KafkaSettings, load_section
from runtime.topics import create_topics
from schemas.topics import TOPICS

DEADLINE_S: Final = 30


@click.group("topics", epilog=example("topics list"))
def command() -> None:
    """Create and list the Kafka topics."""


@command.command(epilog=example("topics create"))
@click.pass_obj
def create(environment: Environment) -> None:
    """Create missing topics and grow small ones. Safe to repeat; never shrinks."""
    settings = load_section(KafkaSettings, environment.values)
    try:
        plan = asyncio.run(asyncio.wait_for(create_topics(settings), DEADLINE_S))
    except TimeoutError as error:
        raise click.ClickException(f"no answer from {settings.bootstrap} within {DEADLINE_S} s") from error
    for topic, count in plan.create.items():
        click.echo(f"created {topic.name} with {count} partitions")
    for topic, count in plan.grow.items():
        click.echo(f"grew {topic.name} to {count} partitions")
    click.echo(f"{len(TOPICS)} topics in place")


@command.command("list", epilog=example("topics list"))
def list_topics() -> None:
    """Show the declared topics."""
    for topic in TOPICS:
        kept = "compacted" if topic.retention_ms is None else f"{topic.retention_ms // 86_400_000} d"
        click.echo(f"{topic.name:20} {topic.partitions:3} / {topic.local_partitions} partitions, {kept}")
