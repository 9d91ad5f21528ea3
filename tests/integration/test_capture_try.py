"""`alerts capture try` as an operator calls it: on the look-alike, with a real browser and database."""

import asyncio
import base64
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from pydantic import SecretStr

from api.captures import CaptureSwitch
from api.tenants import Tenants
from api.users import NewUser
from capture.command import command
from capture.session import TradingViewSession
from deploy.local.chart import sessions
from deploy.local.chart.strip import decode
from runtime.clock import SystemClock
from runtime.encryption import KeyRing, parse_keys
from runtime.environment import Environment
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from schemas.plans import PLAN_TERMS, Plan
from tests.support.capture_parts import CHART_ID, look_alike, serving, signed_in
from tests.support.stack import ROOT, run_apart
from tests.support.tenants import new_user_id

KEYS: Final = f"k1:{base64.b64encode(bytes(32)).decode()}"
ALERTS: Final = str(Path(sys.executable).with_name("alerts"))
PHASES: Final = ["session", "browser", "account", "navigate", "ready", "settle", "shoot"]
DEADLINE_S: Final = 80


@dataclass(frozen=True)
class Place:
    """Where the command runs."""

    database_url: str
    browser: Path
    folder: Path

    def values(self, origin: str = "http://127.0.0.1:1") -> dict[str, str]:
        return {
            "ALERTS_ENV_FILE": "",
            "DATABASE_URL": self.database_url,
            "CHART_ORIGIN": origin,
            "KAFKA_BOOTSTRAP": "127.0.0.1:1",
            "STORAGE_DIRECTORY": str(self.folder / "pictures"),
            "STORAGE_KEY_SECRET": "a secret of the picture names",
            "ENCRYPTION_KEYS": KEYS,
            "CAPTURE_BROWSER": str(self.browser),
        }

    def pool(self) -> AbstractAsyncContextManager[Pool]:
        return open_pool(PostgresSettings.model_validate({"url": self.database_url}), "test")

    @property
    def output(self) -> Path:
        return self.folder / "picture.png"

    async def customer(self, session: TradingViewSession | None, **changes: Any) -> UUID:
        """Consents; on plan basic with a default chart unless changed."""
        values: dict[str, Any] = {"name": "ana", "plan": Plan.BASIC, "default_chart_id": CHART_ID, **changes}
        async with self.pool() as pool:
            tenants = tenants_of(pool)
            user = await tenants.create_user(NewUser(**values))
            await tenants.set_captures(user.user_id, consented=True)
            if session is not None:
                await tenants.set_session(user.user_id, session.sessionid, session.sessionid_sign)
        return user.user_id

    async def fetchval(self, query: str, *values: object) -> Any:
        async with self.pool() as pool:
            return await pool.fetchval(query, *values)


@pytest.fixture
def place(postgres_url: str, browser_path: Path, tmp_path: Path) -> Place:
    return Place(postgres_url, browser_path, tmp_path)


def tenants_of(pool: Pool) -> Tenants:
    return Tenants(pool, KeyRing(parse_keys(SecretStr(KEYS))), SystemClock())


def words(place: Place, user_id: UUID, *more: str) -> list[str]:
    output = ["--output", str(place.output)]
    return ["try", "--user", str(user_id), "--symbol", "BINANCE:BTCUSDT", *output, *more]


async def alerts(values: dict[str, str], arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of `alerts capture …` as a process of its own."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        ALERTS, "capture", *arguments, env=values, cwd=ROOT, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_a_picture_with_all_its_phases(place: Place) -> None:
    """It shows what was asked for as that user; no cookie is printed, and the account is free again."""
    session = signed_in("ana")
    user_id = await place.customer(session)
    async with serving(look_alike()) as origin:
        code, output, errors = await alerts(place.values(origin), words(place, user_id, "--interval", "15m"))
    assert (code, errors) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    assert [name for name, *_ in lines] == [*PHASES, "outcome", "picture"]
    assert all(unit == "ms" and spent.isdigit() for _, spent, unit in lines[: len(PHASES)])
    shown = decode(place.output.read_bytes())
    assert (shown.symbol, shown.interval, shown.user) == ("BINANCE:BTCUSDT", "15", "ana")
    with Image.open(place.output) as image:
        terms = PLAN_TERMS[Plan.BASIC]
        assert image.size == (terms.picture_width_px, terms.picture_height_px)
    assert not any(
        value.get_secret_value() in output for value in (session.sessionid, session.sessionid_sign)
    )
    assert not await place.fetchval(
        "SELECT count(*) FROM capture_leases WHERE expires_at > clock_timestamp()"
    )


async def test_a_session_that_the_site_refuses(place: Place) -> None:
    """The outcome comes with what to do, and only an event of the pipeline marks the row."""
    foreign = sessions.mint(SecretStr("of another site"), "ana", sessions.new_session_id())
    user_id = await place.customer(TradingViewSession(foreign.sessionid, foreign.sessionid_sign, 1))
    async with serving(look_alike()) as origin:
        code, output, errors = await alerts(place.values(origin), words(place, user_id))
    assert code == 1
    assert output.splitlines()[-1].split() == ["outcome", "session_expired"]
    assert f"alerts users set-session {user_id}" in errors
    assert foreign.sessionid_sign.get_secret_value() not in output + errors
    assert not place.output.exists()
    valid = "SELECT tv_cookies_valid FROM user_config WHERE user_id = $1"
    assert await place.fetchval(valid, user_id)


@pytest.fixture
def refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call the command here, where it must fail before a browser is needed."""
    # the stream that logs would go to is gone after the call
    monkeypatch.setattr("capture.try_command.setup_logging", lambda *_arguments: None)

    def call(user_id: UUID, *more: str, **variables: str) -> Result:
        environment = Environment({**place.values(), **variables})
        result = CliRunner().invoke(command, words(place, user_id, *more), obj=environment)
        assert result.exit_code == 1
        assert not place.output.exists()
        return result

    return call


def customer(place: Place, session: TradingViewSession | None = None, **changes: Any) -> UUID:
    return run_apart(place.customer(session, **changes))


def change(place: Place, work: Callable[[Tenants], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with place.pool() as pool:
            await work(tenants_of(pool))

    run_apart(run())


def test_a_user_without_a_session(place: Place, refused: Callable[..., Result]) -> None:
    """The command that stores one is named."""
    user_id = customer(place)
    result = refused(user_id)
    assert "session_missing" in result.stdout
    assert f"`alerts users set-session {user_id}`" in result.stderr


def test_a_user_who_has_not_agreed(place: Place, refused: Callable[..., Result]) -> None:
    """Not even one picture is taken without consent."""
    user_id = customer(place, signed_in("ana"))
    change(place, lambda tenants: tenants.set_captures(user_id, consented=False))
    assert f"`alerts users captures {user_id} --on`" in refused(user_id).stderr


def test_captures_that_are_stopped(place: Place, refused: Callable[..., Result]) -> None:
    """Both switches hold for it too."""
    user_id = customer(place, signed_in("ana"))
    change(place, lambda tenants: tenants.stop_captures(user_id, "test"))
    assert "captures_stopped" in refused(user_id).stdout
    change(place, lambda tenants: tenants.set_captures(user_id, consented=True))

    async def stop_all(*, stopped: bool) -> None:
        async with place.pool() as pool:
            switch = CaptureSwitch(pool, SystemClock())
            await (switch.stop("test") if stopped else switch.start())

    run_apart(stop_all(stopped=True))
    try:
        assert "`alerts captures start`" in refused(user_id).stderr
    finally:
        run_apart(stop_all(stopped=False))


def test_what_was_asked_for_wrongly(place: Place, refused: Callable[..., Result]) -> None:
    """Each mistake is told with what to do."""
    assert "`alerts users list`" in refused(new_user_id()).stderr
    user_id = customer(place, signed_in("ana"), default_chart_id=None)
    assert "say which one with --chart" in refused(user_id).stderr
    assert "4 to 32 letters and digits" in refused(user_id, "--chart", "../x").stderr
    missing = refused(user_id, "--chart", CHART_ID, CAPTURE_BROWSER="/nowhere/chromium")
    assert "install chromium-headless-shell" in missing.stderr


def test_a_database_that_is_away(refused: Callable[..., Result]) -> None:
    """One line of advice instead of a traceback."""
    result = refused(new_user_id(), DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert "is the database of DATABASE_URL running" in result.stderr
