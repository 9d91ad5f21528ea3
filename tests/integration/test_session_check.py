"""Who is asked about, under the login of the capture role; and what follows from the answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest_asyncio

from api.captures import CaptureSwitch
from capture.chart import Origin
from capture.session import SessionStore
from capture.session_check import CheckClaims, CheckParts, SessionCheck
from capture.session_page import Verdict, open_session_page
from capture.site import load_site
from deploy.local.keychain import Keychain
from deploy.local.logins import embedded_logins, ensure_logins
from runtime.postgres import Pool, open_pool
from runtime.settings import PostgresSettings
from schemas.records import CaptureEventKind
from tests.support.capture_parts import MemoryAccounts, look_alike, serving, signed_in
from tests.support.session_life import CLOCK, RING, SessionLife, refused_session

DAY_S = 24 * 3600.0


@dataclass
class Place:
    """`pool` has the rights of the capture role, `life.pool` those of the owner."""

    life: SessionLife
    pool: Pool

    def claims(self, spacing_s: float = 0.0) -> CheckClaims:
        return CheckClaims(self.pool, CLOCK, DAY_S, spacing_s)

    async def claimed(self, spacing_s: float = 0.0) -> UUID | None:
        found = await self.claims(spacing_s).claim()
        return found.user_id if found else None

    async def customer(self, age: str = "2 days") -> UUID:
        """Whose session was renewed so long ago."""
        user_id = await self.life.customer(signed_in("ana"))
        await self.execute(
            "UPDATE user_config SET tv_cookies_updated_at = now() - $2::text::interval WHERE user_id = $1",
            user_id,
            age,
        )
        return user_id

    async def execute(self, query: str, *values: object) -> Any:
        return await self.life.pool.execute(query, *values)


@pytest_asyncio.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    login = embedded_logins(Keychain())["capture"]
    await ensure_logins(database_url, [login])
    owner, worker = (
        PostgresSettings.model_validate({"url": url}) for url in (database_url, login.url(database_url))
    )
    async with open_pool(owner, "test") as pool, open_pool(worker, "test") as restricted:
        yield Place(SessionLife(pool, tmp_path), restricted)


async def test_each_is_asked_about_once_a_period(place: Place) -> None:
    """The one who has waited longest first; a renewed session counts as just checked."""
    second, first, third = [await place.customer(f"{days} days") for days in (3, 4, 2)]
    await place.customer("1 hour")
    assert [await place.claimed() for _ in range(4)] == [first, second, third, None]
    await place.execute("UPDATE session_checks SET checked_at = now() - interval '25 hours'")
    await place.life.renew(second, refused_session())
    assert {await place.claimed() for _ in range(3)} == {first, third, None}


async def test_the_group_asks_seldom(place: Place) -> None:
    """One question in the spacing, whichever worker wants to ask, also when all want it at once."""
    ids = {await place.customer() for _ in range(4)}
    claims = place.claims(spacing_s=60)
    found = [claimed for claimed in await asyncio.gather(*(claims.claim() for _ in range(4))) if claimed]
    assert len(found) == 1
    assert await place.claimed(spacing_s=60) is None
    await place.execute("UPDATE session_checks SET checked_at = now() - interval '61 seconds'")
    assert await place.claimed(spacing_s=60) in ids - {found[0].user_id}


async def test_who_had_a_picture_is_not_asked_about(place: Place) -> None:
    """A completed capture of the period has shown that the session is valid; another outcome has not."""
    pictured, failed = await place.customer("3 days"), await place.customer("2 days")
    for user_id, status in ((pictured, "completed"), (failed, "failed")):
        request = await place.life.alert(user_id)
        await place.execute(
            "UPDATE signals SET screenshot_status = $2 WHERE id = $1", request.signal_id, status
        )
    assert [await place.claimed() for _ in range(2)] == [failed, None]


async def test_who_gets_no_captures_is_not_asked_about(place: Place) -> None:
    """Without consent, when stopped, signed out or deleted there is nothing to find out."""
    tenants = place.life.tenants
    for_each = [await place.customer() for _ in range(4)]
    await tenants.set_captures(for_each[0], consented=False)
    await tenants.stop_captures(for_each[1], "test")
    await place.execute("UPDATE user_config SET tv_cookies_valid = false WHERE user_id = $1", for_each[2])
    await tenants.delete_user(for_each[3])
    assert await place.claimed() is None
    user_id = await place.customer()
    switch = CaptureSwitch(place.life.pool, CLOCK)
    await switch.stop("test")
    assert await place.claimed() is None
    await switch.start()
    assert await place.claimed() == user_id


async def test_an_expired_session_is_found_and_marked(place: Place) -> None:
    """The user's row is marked by the sink, no alert of the user's is; a valid session stays as it is."""
    valid, expired = await place.customer("3 days"), await place.customer("4 days")
    request = await place.life.alert(expired)
    await place.life.renew(expired, refused_session())
    await place.execute("UPDATE user_config SET tv_cookies_updated_at = now() - interval '4 days'")
    async with (
        serving(look_alike()) as origin,
        open_session_page(Origin.parse(origin), load_site(None)) as page,
    ):
        sessions = SessionStore(place.pool, RING)
        parts = CheckParts(
            place.claims(), sessions, MemoryAccounts(), page, place.life.publish, CLOCK, lambda: 0.5
        )
        verdicts = [await SessionCheck(parts).check_next() for _ in range(3)]
    assert sorted(filter(None, verdicts)) == [Verdict.EXPIRED, Verdict.VALID]
    assert place.life.kinds == [CaptureEventKind.SESSION_EXPIRED]
    assert place.life.events[0].user_id == expired
    assert not (await place.life.config(expired))["tv_cookies_valid"]
    assert (await place.life.config(valid))["tv_cookies_valid"]
    assert await place.life.outcome(request) == ("pending", None)
