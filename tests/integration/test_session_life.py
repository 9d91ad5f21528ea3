"""From a session that the site refuses to the row that says so, and back: real browser, site and database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.chart.strip import decode
from runtime.postgres import open_pool
from runtime.settings import PostgresSettings
from schemas.records import CaptureEventKind
from tests.support.capture_pages import browser_of, engine_with
from tests.support.capture_parts import look_alike, name_of, signed_in
from tests.support.session_life import SessionLife, refused_session

pytestmark = pytest.mark.usefixtures("profiles")

EXPIRED = ("skipped", "session_expired")
FLAGGED_CHART = "StateFlagged"


@pytest_asyncio.fixture
async def life(database_url: str, tmp_path: Path) -> AsyncIterator[SessionLife]:
    async with open_pool(PostgresSettings.model_validate({"url": database_url}), "test") as pool:
        yield SessionLife(pool, tmp_path)


async def test_an_expired_session_stops_captures_until_it_is_renewed(
    life: SessionLife, browser_path: Path
) -> None:
    """The site is asked in vain once; what comes later is skipped unseen, until a renewal."""
    user_id = await life.customer(refused_session())
    requests = [await life.alert(user_id) for _ in range(3)]
    async with engine_with(look_alike(), browser_path) as engine:
        await life.capture(engine, requests[0])
        assert await life.outcome(requests[0]) == EXPIRED
        assert not (await life.config(user_id))["tv_cookies_valid"]
        opened = browser_of(engine).captures
        await life.capture(engine, requests[1])
        assert await life.outcome(requests[1]) == EXPIRED
        assert browser_of(engine).captures == opened
        await life.renew(user_id, signed_in("ana"))
        # what an event of the old session says is nothing against the new one
        await life.publish(life.events[1])
        await life.capture(engine, requests[2])
    assert life.kinds == [
        CaptureEventKind.SESSION_EXPIRED,
        CaptureEventKind.SKIPPED,
        CaptureEventKind.SESSION_EXPIRED,
        CaptureEventKind.COMPLETED,
    ]
    assert life.events[1].session_version == 1
    assert await life.outcome(requests[2]) == ("completed", None)
    shown = decode((life.folder / name_of(requests[2])).read_bytes())
    assert (shown.user, shown.symbol) == ("ana", requests[2].ticker)
    config = await life.config(user_id)
    assert (config["tv_cookies_valid"], config["session_version"]) == (True, 2)


async def test_captures_of_a_flagged_account_stop_by_themselves(
    life: SessionLife, browser_path: Path
) -> None:
    """Until the operator switches them on again; other users go on."""
    user_id, other = [await life.customer(signed_in(name)) for name in ("ana", "bob")]
    before = await life.config(user_id)
    flagged = await life.alert(user_id, FLAGGED_CHART)
    ordinary, of_other, after = await life.alert(user_id), await life.alert(other), await life.alert(user_id)
    async with engine_with(look_alike(), browser_path) as engine:
        await life.capture(engine, flagged)
        stopped = await life.config(user_id)
        assert (stopped["captures_stopped"], stopped["captures_stopped_reason"]) == (True, "account_flagged")
        assert stopped["tv_cookies_valid"]
        assert stopped["revision"] == before["revision"] + 1
        await life.capture(engine, ordinary, of_other)
        await life.tenants.set_captures(user_id, consented=True)
        await life.capture(engine, after)
    assert await life.outcome(flagged) == ("skipped", "account_flagged")
    assert await life.outcome(ordinary) == ("skipped", "captures_stopped")
    assert await life.outcome(of_other) == ("completed", None)
    assert await life.outcome(after) == ("completed", None)
