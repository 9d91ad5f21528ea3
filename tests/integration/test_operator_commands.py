"""`alerts keys rotate` and `alerts captures` as an operator calls them."""

import base64
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from deploy.cli import main
from tests.support.stack import run_apart

COOKIES = ("the-first-cookie", "the-second-cookie")
Run = Callable[..., Result]


def key(name: str) -> str:
    return f"{name}:{base64.b64encode(name.ljust(32).encode()).decode()}"


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call `alerts <words>`."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def call(words: str, keys: str = "old", reason: str | None = None, **variables: str) -> Result:
        ring = ",".join(key(name) for name in keys.split())
        more = ["--reason", reason] if reason is not None else []
        environment = {"ENCRYPTION_KEYS": ring, **variables}
        return CliRunner().invoke(main, [*words.split(), *more], env=environment)

    return call


def execute(database_url: str, query: str, *values: object) -> Any:
    async def once() -> Any:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    return run_apart(once())


def create(run: Run) -> str:
    """A user with a session under the key `old`."""
    user_id = run("users add --name ana --plan free").output.split()[1]
    result = run(f"users set-session {user_id}", TV_SESSIONID=COOKIES[0], TV_SESSIONID_SIGN=COOKIES[1])
    assert result.output == "stored\n"
    return user_id


def table(result: Result) -> dict[str, list[str]]:
    """The keys in the printed table."""
    lines = result.stdout.splitlines()
    rows = lines[next(number for number, line in enumerate(lines) if line.startswith("key ")) + 1 :]
    return {row.split()[0]: row.split(maxsplit=2)[1:] for row in rows}


def test_all_values_move_to_the_first_key(run: Run) -> None:
    """The report tells when the old key may go; a dry run tells before what would be done."""
    create(run)
    dry = run("keys rotate --dry-run", keys="new old")
    assert (dry.exit_code, dry.stdout.splitlines()[0]) == (0, "would re-encrypt 3")
    assert table(dry) == {"old": ["3", "old"]}
    done = run("keys rotate", keys="new old")
    assert (done.exit_code, done.stdout.splitlines()[:2]) == (
        0,
        ["re-encrypted 3", "still under an old key 0"],
    )
    assert table(done) == {"new": ["3", "current"]}
    again = run("keys rotate", keys="new")
    assert (again.exit_code, again.stdout.splitlines()[0]) == (0, "re-encrypted 0")


def test_users_whose_values_cannot_be_read_are_named(run: Run) -> None:
    """Exit code 1; nothing of a value is shown. A new session and token make them readable again."""
    user_id = create(run)
    result = run("keys rotate", keys="new")
    assert result.exit_code == 1
    assert table(result) == {"old": ["3", "not in ENCRYPTION_KEYS"]}
    for secret in ("webhook_token", "tv_sessionid", "tv_sessionid_sign"):
        assert f"cannot decrypt {secret} of user {user_id}: unknown_key" in result.stderr
    assert not any(cookie in result.output for cookie in COOKIES)
    assert run(f"users rotate-token {user_id}", keys="new").exit_code == 0
    assert (
        run(f"users set-session {user_id}", keys="new", TV_SESSIONID="a", TV_SESSIONID_SIGN="b").exit_code
        == 0
    )
    assert run("keys rotate", keys="new").exit_code == 0


def test_the_switch_of_all_captures(run: Run) -> None:
    """It is shown with its reason and its time, and can be used again and again."""
    assert run("captures status").output.splitlines()[0].split() == ["captures", "on"]
    assert run("captures stop", reason="the site has asked for a pause").exit_code == 0
    shown = run("captures status").output
    assert shown.splitlines()[0].split() == ["captures", "stopped"]
    assert "the site has asked for a pause" in shown
    assert "since" in shown
    assert run("captures stop", reason="  ").exit_code == 1
    assert run("captures stop").exit_code == 2
    for _time in range(2):
        assert run("captures start").output == "captures started\n"
    assert "pause" not in run("captures status").output


def test_status_counts_who_gets_no_pictures(run: Run, database_url: str) -> None:
    """Of the users who have agreed; others and deleted ones are not asked for."""
    ids = [create(run) for _ in range(5)]
    for user_id in ids[:4]:
        run(f"users captures {user_id} --on")
    run(f"users captures {ids[0]} --stop")
    execute(database_url, "UPDATE user_config SET tv_cookies_valid = false WHERE user_id = $1", ids[1])
    no_cookies = "tv_sessionid = NULL, tv_sessionid_sign = NULL"
    execute(database_url, f"UPDATE user_config SET {no_cookies} WHERE user_id = $1", ids[2])  # noqa: S608 - from above
    run(f"users delete {ids[3]} --yes")
    shown = dict(line.split(maxsplit=1) for line in run("captures status").output.splitlines())
    assert {name: value for name, value in shown.items() if name.startswith("users_")} == {
        "users_consented": "3",
        "users_stopped": "1",
        "users_without_session": "1",
        "users_expired": "1",
    }


@pytest.mark.parametrize("words", ["keys rotate", "captures status"])
def test_a_database_that_is_away_is_told_with_advice(
    words: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what to look at, no traceback."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    result = run(words)
    assert result.exit_code == 1
    assert "is the database of DATABASE_URL running?" in result.output
    assert result.output.count("\n") == 1


def test_a_database_that_is_too_old_is_told_with_advice(run: Run, database_url: str) -> None:
    """Nobody has to know which table the command needs."""
    execute(database_url, "DROP TABLE capture_settings")
    result = run("captures status")
    assert "run `alerts migrate` first" in result.output
