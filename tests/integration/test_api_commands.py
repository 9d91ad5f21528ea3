"""`alerts users` and `alerts keys` as an operator calls them, and `alerts api` as a process runs it."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession
from click.testing import CliRunner, Result

from api.command import serve_api
from api.keys_command import command as keys_command
from api.settings import ApiSettings
from api.users_command import command as users_command
from deploy.local.ports import Ports
from runtime.encryption import KeyRing, parse_keys
from runtime.environment import Environment
from runtime.errors import InvalidError
from runtime.process import ProcessContext
from runtime.sessions import session_owner
from runtime.settings import EncryptionSettings, load_section, load_settings
from runtime.tokens import token_hash
from tests.support.stack import free_port, run_apart
from tests.support.tenants import new_user_id

ORIGIN = "https://in.test"
Run = Callable[..., Result]


@pytest.fixture
def values(database_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "ENCRYPTION_KEYS": f"one:{base64.b64encode(bytes(32)).decode()}",
        "INGEST_PUBLIC_ORIGIN": ORIGIN,
    }


@pytest.fixture
def run(values: dict[str, str]) -> Run:
    """Call `alerts <words>`; errors are raised."""

    def call(words: str, text: str | None = None, **more: str) -> Result:
        group, *arguments = words.split()
        command = {"users": users_command, "keys": keys_command}[group]
        environment = Environment({**values, **more})
        runner = CliRunner(catch_exceptions=False)
        return runner.invoke(command, arguments, obj=environment, input=text)

    return call


def fetchrow(values: Mapping[str, str], query: str) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(values["DATABASE_URL"])
        try:
            return await connection.fetchrow(query)
        finally:
            await connection.close()

    return run_apart(fetch())


def fields(result: Result) -> dict[str, str]:
    """What `show` and `create` print, by name."""
    return dict(line.split(maxsplit=1) for line in result.output.splitlines())


def create(run: Run) -> dict[str, str]:
    return fields(run("users add --name ana --plan free --chart Ab3dE9xZ"))


def test_a_created_user_can_be_used_and_is_shown(run: Run, values: dict[str, str]) -> None:
    """The webhook URL is printed on creation and later on request only."""
    created = create(run)
    prefix = f"{ORIGIN}/webhook/u/"
    assert created["webhook_url"].startswith(prefix)
    token = created["webhook_url"].removeprefix(prefix)
    row = fetchrow(values, "SELECT id, plan, webhook_token_hash FROM users")
    assert (str(row["id"]), row["plan"]) == (created["user_id"], "free")
    assert row["webhook_token_hash"].hex() == token_hash(token)
    shown = run(f"users show {created['user_id']}")
    assert (fields(shown)["name"], fields(shown)["default_chart_id"]) == ("ana", "Ab3dE9xZ")
    assert token not in shown.output + run("users list").output
    assert fields(run(f"users show {created['user_id']} --reveal"))["webhook_url"] == created["webhook_url"]


def test_users_are_listed_with_their_captures(run: Run) -> None:
    """Switching captures on, stopping them and switching them off is seen in the list."""
    user_id = create(run)["user_id"]
    states = {}
    for switch in ("on", "stop", "on", "off"):
        run(f"users captures {user_id} --{switch}")
        states[switch] = run("users list").output.splitlines()[1].split()[3]
    assert states == {"on": "on", "stop": "stopped", "off": "off"}
    assert run(f"users captures {user_id}").exit_code == 2


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("first-cookie\nsecond-cookie\n", {}),
        (None, {"TV_SESSIONID": "first-cookie", "TV_SESSIONID_SIGN": "second-cookie"}),
    ],
)
def test_cookies_come_from_input_or_variables(
    run: Run, values: dict[str, str], text: str | None, variables: dict[str, str]
) -> None:
    """They are stored encrypted and not printed."""
    user_id = create(run)["user_id"]
    result = run(f"users set-session {user_id}", text, **variables)
    assert (result.exit_code, result.output) == (0, "stored\n")
    row = fetchrow(values, "SELECT * FROM user_config")
    ring = KeyRing(parse_keys(load_section(EncryptionSettings, values).keys))
    columns = ("tv_sessionid", "tv_sessionid_sign")
    stored = [ring.decrypt(row[column], session_owner(column, row["user_id"])) for column in columns]
    assert [cookie.get_secret_value() for cookie in stored] == ["first-cookie", "second-cookie"]


def test_missing_cookies_are_refused(run: Run) -> None:
    """Half a session would fail at its first use."""
    user_id = create(run)["user_id"]
    with pytest.raises(InvalidError, match="invalid_cookie"):
        run(f"users set-session {user_id}", "only-one\n")


def test_a_rotated_token_is_printed(run: Run, values: dict[str, str]) -> None:
    """The new URL is shown, the old token kept for a day."""
    created = create(run)
    rotated = fields(run(f"users rotate-token {created['user_id']}"))
    row = fetchrow(values, "SELECT encode(previous_token_hash, 'hex') AS previous FROM users")
    assert rotated["webhook_url"] != created["webhook_url"]
    assert row["previous"] == token_hash(created["webhook_url"].rsplit("/", 1)[1])


def test_plan_and_webhook_are_switched(run: Run, values: dict[str, str]) -> None:
    """Each change raises the revision, by which ingress and processors learn of it; no change does not."""
    user_id = create(run)["user_id"]
    seen = []
    for words in ("set-plan USER pro", "disable USER", "disable USER", "enable USER"):
        run("users " + words.replace("USER", user_id))
        row = fetchrow(values, "SELECT plan, webhook_enabled, revision FROM users")
        seen.append(tuple(row.values()))
    assert seen == [("pro", True, 3), ("pro", False, 4), ("pro", False, 4), ("pro", True, 5)]
    assert run(f"users set-plan {user_id} gold").exit_code == 2


def test_addresses_are_set_and_shown(run: Run) -> None:
    """Those given replace those before; none at all lets alerts come from anywhere."""
    user_id = create(run)["user_id"]
    seen = []
    for entries in ("", " TradingView 203.0.113.0/24", ""):
        told = run(f"users set-addresses {user_id}{entries}").output
        shown = fields(run(f"users show {user_id}"))["allowed_addresses"]
        listed = run("users list").output.splitlines()[1].split()[5]
        seen.append((told, shown, listed))
    expected = "TradingView 203.0.113.0/24"
    anybody = ("addresses any\n", "any", "any")
    assert seen == [anybody, (f"addresses {expected}\n", expected, "listed"), anybody]


def test_a_bad_address_is_named_and_nothing_is_set(run: Run) -> None:
    """A wrong way to call the command, not a fault of the user's."""
    user_id = create(run)["user_id"]
    run(f"users set-addresses {user_id} tradingview")
    result = run(f"users set-addresses {user_id} 203.0.113.7 203.0.113.7/24 ::1")
    assert (result.exit_code, "'203.0.113.7/24'" in result.output) == (2, True)
    assert fields(run(f"users show {user_id}"))["allowed_addresses"] == "tradingview"


def test_deleting_asks_first(run: Run) -> None:
    """Without a yes nothing happens."""
    user_id = create(run)["user_id"]
    assert run(f"users delete {user_id}", "n\n").exit_code == 1
    assert user_id in run("users list").output
    assert run(f"users delete {user_id} --yes").exit_code == 0
    assert user_id not in run("users list").output


def test_a_key_is_printed_once_and_can_be_revoked(run: Run, values: dict[str, str]) -> None:
    """Only its creation shows it; the list has its id, scope and label."""
    user_id = create(run)["user_id"]
    key = run(f"keys create --scope user --user {user_id} --label laptop").output.strip()
    row = fetchrow(values, "SELECT id, encode(key_hash, 'hex') AS hash FROM api_keys")
    assert (key[:4], row["hash"]) == ("tvk_", token_hash(key))
    listed = run("keys list").output.splitlines()[1]
    assert listed.split() == [str(row["id"]), "user", user_id, "-", "laptop"]
    run(f"keys revoke {row['id']}")
    assert run("keys list").output.splitlines()[1].split()[3] != "-"


@pytest.mark.parametrize(
    "words",
    ["--scope user", f"--scope platform --user {new_user_id()}", "--scope all"],
    ids=["without a user", "with a foreign user", "unknown"],
)
def test_a_scope_and_its_user_go_together(run: Run, words: str) -> None:
    """A key never sees more than was meant."""
    assert run(f"keys create {words}").exit_code == 2
    assert len(run("keys list").output.splitlines()) == 1


def test_help_needs_no_settings() -> None:
    """One can read what a command does before anything is set up."""
    for command, words in ((users_command, ["add", "--help"]), (keys_command, ["create", "--help"])):
        assert CliRunner().invoke(command, words, obj=Environment({})).exit_code == 0


async def test_the_role_serves_while_the_broker_is_away(postgres_url: str, tmp_path: Path) -> None:
    """It listens at once, is ready with its database alone, and says that the backlog is not known."""
    ports = Ports()
    port = free_port(ports)
    ports.close()
    values = {
        "DATABASE_URL": postgres_url,
        "KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "API_PORT": str(port),
        "API_LINK_SECRET": "a-secret-of-sixteen-and-more",
        "STORAGE_DIRECTORY": str(tmp_path),
        "STORAGE_KEY_SECRET": "a-secret-of-sixteen-and-more",
    }
    context = ProcessContext()
    async with serve_api(load_settings(ApiSettings, values), context), ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{port}/health") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "degraded")
        assert await context.readiness.problems() == {}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
