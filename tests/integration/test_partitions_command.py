"""`alerts partitions` as an operator calls it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from click.testing import CliRunner, Result

from runtime.environment import Environment
from runtime.settings import SettingsError
from schemas.plans import Plan
from sinks.partitions_command import command
from sinks.retention import LOCK_KEY
from tests.support.partitions import connected, make_old_partition, opened, past_keeping, put_call, put_user
from tests.support.stack import run_apart

Run = Callable[..., Result]


def call(url: str, *words: str, **more: str) -> Result:
    environment = Environment({"DATABASE_URL": url, **more})
    return CliRunner(catch_exceptions=False).invoke(command, words, obj=environment)


@pytest.fixture
def run(database_url: str) -> Run:
    return partial(call, database_url)


async def put_due(url: str) -> None:
    async with opened(url) as pool:
        await make_old_partition(pool, "signals")
        await put_call(pool, await put_user(pool, Plan.FREE), past_keeping(Plan.FREE) - timedelta(minutes=1))


def test_ensure_says_what_it_made(run: Run) -> None:
    """Of the width that is set; the second time nothing is missing."""
    first, second = (run("ensure", SINK_PARTITION_WIDTH="day") for _ in range(2))
    assert (first.exit_code, len(first.output.splitlines())) == (0, 6)
    assert second.output == "nothing is missing\n"


def test_retain_removes_what_its_dry_run_told(run: Run, database_url: str) -> None:
    """And then nothing is due any more."""
    run_apart(put_due(database_url))
    told = run("retain", "--dry-run").output.splitlines()
    assert len(told) == 3
    assert told[0].startswith("partition signals_")
    assert told[1] == "signals, plan free: 1 rows"
    done = run("retain").output.splitlines()
    assert done[0] == told[0].replace("partition", "dropped").split(":")[0]
    assert done[1:3] == ["deleted 1 rows of signals", "deleted 1 rows of audit_logs"]
    assert run("retain", "--dry-run").output == "nothing is due\n"


def test_retain_beside_another_says_so(run: Run, database_url: str) -> None:
    """It exits with an error: what was asked for was not done here."""

    async def beside() -> Result:
        async with connected(database_url) as other:
            await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
            return await asyncio.to_thread(run, "retain")

    result = run_apart(beside())
    assert (result.exit_code, "another process" in result.output) == (1, True)


@pytest.mark.parametrize("words", [("ensure",), ("retain",), ("retain", "--dry-run")])
def test_errors_say_what_to_do(run: Run, words: tuple[str, ...], database_url: str) -> None:
    """A database without tables, or none at all."""
    empty = run(*words, SINK_OWNER_URL=database_url.rsplit("/", 1)[0] + "/postgres")
    assert (empty.exit_code, "run `alerts migrate` first" in empty.output) == (1, True)
    away = run(*words, SINK_OWNER_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (away.exit_code, "running?" in away.output) == (1, True)


@pytest.mark.parametrize("word", ["ensure", "retain"])
def test_help_shows_an_example(run: Run, word: str) -> None:
    """Without any setting."""
    assert f"alerts partitions {word}" in run(word, "--help").output


def test_a_wrong_width_is_a_problem_of_the_settings(run: Run) -> None:
    """Named by its variable."""
    with pytest.raises(SettingsError, match="SINK_PARTITION_WIDTH"):
        run("ensure", SINK_PARTITION_WIDTH="year")
