"""The read side on a real database."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import pytest
import pytest_asyncio
import structlog

from api import app
from api.keys import ApiKeys, NewApiKey
from runtime.clock import SystemClock
from runtime.ids import lowest_id_at, unix_ms_of, uuid7
from runtime.postgres import Pool
from runtime.sql import load_queries
from schemas.records import CaptureEventKind, Picture, Signal
from sinks.capture_store import CaptureStore
from tests.support.api import ReadSide, new_signal, pool_of, serve_read_side, store
from tests.support.signals import new_event
from tests.support.tenants import insert_tenant, new_customer
from tests.support.wire import open_wire

PICTURE = b"\x89PNG picture"
PICTURE_KEY = "ab/Unguessable_key-1.png"
ANSWER_DEADLINE_S = 5
MONTH_MS = 31 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Scene:
    """An API, two tenants and their keys."""

    api: ReadSide
    pool: Pool
    ana: UUID
    bob: UUID
    platform_key: str
    ana_key: str

    async def list_of(self, user_id: UUID, query: str = "", key: str | None = None) -> tuple[int, Any]:
        return await self.api.get(f"/api/users/{user_id}/signals{query}", key or self.platform_key)

    async def signal(self, signal_id: object, key: str | None = None) -> tuple[int, Any]:
        return await self.api.get(f"/api/signals/{signal_id}", key or self.platform_key)

    async def walk(self, user_id: UUID, limits: list[int]) -> AsyncIterator[list[str]]:
        """The ids of page after page, each of the next limit."""
        cursor: str | None = ""
        for limit in limits:
            _status, page = await self.list_of(user_id, f"?limit={limit}&cursor={cursor}")
            yield [item["signal_id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return


@pytest_asyncio.fixture
async def scene(postgres_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """Two new tenants in the database of all tests."""
    async with open_scene(postgres_url, tmp_path) as scene:
        yield scene


@pytest_asyncio.fixture
async def lone_scene(database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    """A database for one test: nobody else's rows, and it may be broken."""
    async with open_scene(database_url, tmp_path) as scene:
        yield scene


@asynccontextmanager
async def open_scene(url: str, folder: Path) -> AsyncIterator[Scene]:
    (folder / "ab").mkdir()
    (folder / PICTURE_KEY).write_bytes(PICTURE)
    async with pool_of(url) as pool, serve_read_side(pool, folder) as api:
        yield await make_scene(api, pool)


async def make_scene(api: ReadSide, pool: Pool) -> Scene:
    ana, bob = new_customer(), new_customer()
    await insert_tenant(pool, ana)
    await insert_tenant(pool, bob)
    keys = ApiKeys(pool, SystemClock())
    platform_key = await keys.create_api_key(NewApiKey("platform"))
    ana_key = await keys.create_api_key(NewApiKey("ana", ana.tenant.user_id))
    return Scene(
        api,
        pool,
        ana.tenant.user_id,
        bob.tenant.user_id,
        platform_key.get_secret_value(),
        ana_key.get_secret_value(),
    )


async def complete(pool: Pool, signal: Signal, key: str = PICTURE_KEY) -> None:
    """What the sink does when the picture is there."""
    picture = Picture(key=key, size_bytes=1, width_px=1, height_px=1, captured_at=signal.received_at)
    event = new_event(signal, CaptureEventKind.COMPLETED, picture=picture)
    await CaptureStore(pool).apply([event])


async def test_an_item_is_the_signal_as_it_was_stored(scene: Scene) -> None:
    """Every field of the record comes back, and the list and the single answer show the same."""
    signal = new_signal(scene.ana)
    await store(scene.pool, signal)
    status, item = await scene.signal(signal.signal_id)
    assert status == 200
    assert (await scene.list_of(scene.ana))[1] == {"items": [item], "next_cursor": None}
    received_at = signal.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert item == item | {
        "signal_id": str(signal.signal_id),
        "user_id": str(scene.ana),
        "received_at": received_at,
        "timestamp": received_at,
        "price": "67890.50",
        "fields": {"RSI": "31.5", "TP": None},
        "message": "línea 🟢\n{}",
        "warnings": ["naive_time"],
        "source": {"format": "json", "indicator_file": "adx.toml", "parse_revision": 3},
        "bar_time": received_at[:19] + "Z",
        "triggered_at": received_at[:19] + ".000250Z",
        "lane": "main",
        "replay_id": None,
        "disposition": "stored",
        "result": "pending",
        "profit_loss": None,
        "screenshot_status": "pending",
        "screenshot_url": None,
    }


@pytest.mark.parametrize("seed", range(3))
async def test_a_walk_shows_what_was_there_once_and_in_order(scene: Scene, seed: int) -> None:
    """Whatever the page sizes and what arrives meanwhile, no row of the start is missed or doubled."""
    chance = random.Random(seed)
    start_ms = SystemClock().unix_ms()
    ids = [uuid7(start_ms + chance.randrange(50), chance.randrange(4096), n) for n in range(60)]
    await store(scene.pool, *(new_signal(scene.ana, signal_id) for signal_id in ids), new_signal(scene.bob))
    seen: list[str] = []
    async for page in scene.walk(scene.ana, [chance.randint(1, 20) for _page in range(200)]):
        seen += page
        late = [uuid7(start_ms + moved_ms, 0, chance.getrandbits(60)) for moved_ms in (-1, 1000)]
        await store(scene.pool, *(new_signal(scene.ana, signal_id) for signal_id in late))
        if len(seen) > 2 * len(ids):
            break
    at_start = sorted(map(str, ids), reverse=True)
    assert [signal_id for signal_id in seen if signal_id in at_start] == at_start
    assert seen == sorted(set(seen), reverse=True)


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 200])
async def test_the_last_page_has_no_cursor(scene: Scene, limit: int) -> None:
    """Also when the rows fill the last page exactly; no page is empty."""
    await store(scene.pool, *(new_signal(scene.ana) for _signal in range(8)))
    pages = [page async for page in scene.walk(scene.ana, [limit] * 20)]
    assert [len(page) for page in pages] == [limit] * (8 // limit) + [8 % limit] * (8 % limit > 0)


async def test_fifty_are_shown_unless_asked_otherwise(scene: Scene) -> None:
    """The default and the empty parameters are the same."""
    await store(scene.pool, *(new_signal(scene.ana) for _signal in range(51)))
    for query in ("", "?limit=&cursor="):
        _status, page = await scene.list_of(scene.ana, query)
        assert (len(page["items"]), page["next_cursor"] is None) == (50, False)


async def test_a_cursor_needs_no_escaping(scene: Scene) -> None:
    """It can be put into a URL as it is."""
    await store(scene.pool, new_signal(scene.ana), new_signal(scene.ana))
    _status, page = await scene.list_of(scene.ana, "?limit=1")
    assert quote(page["next_cursor"], safe="") == page["next_cursor"]


@pytest.mark.parametrize(
    "limit", ["0", "201", "-1", "1.5", "ten", "1e1", "%201", "+5", "٣", "9" * 50, "1&limit=2"]
)
async def test_a_wrong_limit_is_400(scene: Scene, limit: str) -> None:
    """Nothing is guessed."""
    status, problem = await scene.list_of(scene.ana, f"?limit={limit}")
    assert (status, problem["type"]) == (400, "urn:problem-type:alerts:invalid-limit")


async def test_a_wrong_cursor_is_400(scene: Scene) -> None:
    """One made up, changed, given twice, or of another user's list."""
    await store(scene.pool, *(new_signal(user) for user in (scene.ana, scene.ana, scene.bob, scene.bob)))
    cursor = (await scene.list_of(scene.ana, "?limit=1"))[1]["next_cursor"]
    foreign = (await scene.list_of(scene.bob, "?limit=1"))[1]["next_cursor"]
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for wrong in ("x", "%00", changed, foreign, cursor[:-1], f"{cursor}&cursor={cursor}"):
        status, problem = await scene.list_of(scene.ana, f"?cursor={wrong}")
        assert (status, problem["type"]) == (400, "urn:problem-type:alerts:invalid-cursor"), wrong


async def test_parked_signals_are_not_listed_and_can_be_read(scene: Scene) -> None:
    """What is above the quota stays out of lists; its id still shows it."""
    parked, stored = new_signal(scene.ana), new_signal(scene.ana)
    await store(scene.pool, parked, stored)
    await scene.pool.execute("UPDATE signals SET disposition = 'parked' WHERE id = $1", parked.signal_id)
    _status, page = await scene.list_of(scene.ana)
    assert [item["signal_id"] for item in page["items"]] == [str(stored.signal_id)]
    status, item = await scene.signal(parked.signal_id)
    assert (status, item["disposition"]) == (200, "parked")


async def test_a_user_key_sees_its_own_tenant_only(scene: Scene) -> None:
    """Another's signals and list look exactly like what does not exist; the platform sees both."""
    own, foreign = new_signal(scene.ana), new_signal(scene.bob)
    await store(scene.pool, own, foreign)
    assert (await scene.signal(own.signal_id, scene.ana_key))[0] == 200
    assert (await scene.list_of(scene.ana, key=scene.ana_key))[0] == 200
    unknown = await scene.signal(lowest_id_at(unix_ms_of(own.signal_id)), scene.ana_key)
    assert unknown[0] == 404
    assert await scene.signal(foreign.signal_id, scene.ana_key) == unknown
    assert await scene.signal("not-an-id", scene.ana_key) == unknown
    assert await scene.list_of(scene.bob, key=scene.ana_key) == unknown
    for signal in (own, foreign):
        assert (await scene.signal(signal.signal_id))[0] == 200
        assert len((await scene.list_of(signal.user_id))[1]["items"]) == 1


@pytest.mark.parametrize("user_id", ["019a0000-0000-7000-8000-00000000000a", "x", "1", "{019a}", "%2e%2e"])
async def test_a_user_who_is_not_known_is_404(scene: Scene, user_id: str) -> None:
    """A mistyped id does not look like a user without signals."""
    assert (await scene.api.get(f"/api/users/{user_id}/signals", scene.platform_key))[0] == 404
    assert await scene.list_of(scene.bob) == (200, {"items": [], "next_cursor": None})


@pytest.mark.parametrize("form", [str.upper, lambda text: text.replace("-", ""), lambda text: f"{{{text}}}"])
async def test_an_id_has_one_form(scene: Scene, form: Any) -> None:
    """The hyphenated form in either case, and none of the others a UUID library reads."""
    signal = new_signal(scene.ana)
    await store(scene.pool, signal)
    text = form(str(signal.signal_id))
    assert (await scene.signal(text))[0] == (200 if "-" in text and "{" not in text else 404)


async def test_a_wrong_or_revoked_key_is_401_at_once(scene: Scene) -> None:
    """Nothing is remembered of a key: the request after its revocation is refused."""
    assert (await scene.list_of(scene.ana, key="tvk_" + "x" * 32))[0] == 401
    assert (await scene.list_of(scene.ana, key=scene.ana_key))[0] == 200
    await scene.pool.execute("UPDATE api_keys SET revoked_at = now() WHERE user_id = $1", scene.ana)
    status, problem = await scene.list_of(scene.ana, key=scene.ana_key)
    assert (status, problem["type"]) == (401, "urn:problem-type:alerts:unauthorized")


async def test_the_link_of_a_completed_screenshot_shows_it(scene: Scene) -> None:
    """No key is needed, reading again gives the same link, and the link ends."""
    signal = new_signal(scene.ana)
    await store(scene.pool, signal)
    await complete(scene.pool, signal)
    _status, item = await scene.signal(signal.signal_id)
    assert item["screenshot_status"] == "completed"
    assert (await scene.signal(signal.signal_id))[1] == item
    url = urlsplit(item["screenshot_url"])
    path = f"{url.path}?{url.query}"
    async with scene.api.client.get(path) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PICTURE)
    scene.api.clock.move(3600)
    assert (await scene.api.get(path))[0] == 403
    assert (await scene.signal(signal.signal_id))[1]["screenshot_url"] != item["screenshot_url"]


async def test_a_head_request_is_a_get_without_a_body(scene: Scene) -> None:
    """Status and headers are those of the GET."""
    headers = {"Authorization": f"Bearer {scene.platform_key}"}
    path = f"/api/users/{scene.ana}/signals"
    async with scene.api.client.get(path, headers=headers) as get:
        length = len(await get.read())
    async with scene.api.client.head(path, headers=headers) as head:
        assert (head.status, head.headers["Content-Length"]) == (200, str(length))


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_the_list_reads_an_index_and_no_table_from_end_to_end(lone_scene: Scene, mode: str) -> None:
    """A page costs a page, also for a user with a large share of the rows, whatever the kind of plan.

    With few users the planner is tempted to read the primary key and drop what belongs to others.
    """
    now_ms = SystemClock().unix_ms()
    others = [new_customer() for _other in range(9)]
    for other in others:
        await insert_tenant(lone_scene.pool, other)
    users = [lone_scene.ana, *(other.tenant.user_id for other in others)]
    times = [now_ms - month * MONTH_MS + n for month in range(3) for n in range(2000)]
    await store(
        lone_scene.pool, *(new_signal(users[n % 10], uuid7(time, 0, n)) for n, time in enumerate(times))
    )
    await lone_scene.pool.execute("VACUUM ANALYZE signals")
    query = load_queries("api", "signals.sql")["signals_of_user"]
    async with lone_scene.pool.acquire() as connection:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE page (uuid, uuid, bigint) AS {query}")
        for before in (UUID(int=2**128 - 1), lowest_id_at(now_ms - MONTH_MS)):
            values = f"'{lone_scene.ana}', '{before}', 51"
            plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE page ({values})")
            nodes = list(plan_nodes(json.loads(plan)[0]["Plan"]))
            scans = [node for node in nodes if str(node.get("Relation Name", "")).startswith("signals_")]
            assert {node["Node Type"] for node in scans} == {"Index Scan"}
            assert [node["Index Name"] for node in scans if "user_id" not in node["Index Name"]] == []
            assert not [node for node in nodes if node["Node Type"] in ("Sort", "Seq Scan")]


def plan_nodes(node: dict[str, Any]) -> Any:
    yield node
    for child in node.get("Plans", ()):
        yield from plan_nodes(child)


@pytest.mark.parametrize("warm", [True, False])
async def test_a_database_that_hangs_is_503_in_time(postgres_url: str, tmp_path: Path, *, warm: bool) -> None:
    """Neither an open connection nor a new one makes the client wait, and all is well again afterwards."""
    async with pool_of(postgres_url) as pool, serve_read_side(pool, tmp_path) as api:
        scene = await make_scene(api, pool)
    async with (
        open_wire(postgres_url) as (wire, url),
        pool_of(url) as pool,
        serve_read_side(pool, tmp_path) as api,
    ):
        path = f"/api/users/{scene.ana}/signals"
        if warm:
            assert (await api.get(path, scene.ana_key))[0] == 200
        wire.freeze()
        async with asyncio.timeout(ANSWER_DEADLINE_S):
            answers = await asyncio.gather(*(api.get(path, scene.ana_key) for _request in range(12)))
        assert {status for status, _problem in answers} == {503}
        wire.thaw()
        assert (await api.get(path, scene.ana_key))[0] == 200


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """What the API's own logger writes, tracebacks included."""
    stream = StringIO()
    processors: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    monkeypatch.setattr(app, "log", structlog.wrap_logger(structlog.PrintLogger(stream), processors))
    return stream


async def test_no_log_line_holds_a_key_or_a_link(
    lone_scene: Scene, printed: StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even of requests that fail, and not from the libraries either."""
    scene = lone_scene
    caplog.set_level(logging.DEBUG)
    signal = new_signal(scene.ana)
    await store(scene.pool, signal)
    await complete(scene.pool, signal)
    link = urlsplit((await scene.signal(signal.signal_id))[1]["screenshot_url"])
    await scene.api.get(f"{link.path}?{link.query}x")
    await scene.list_of(scene.ana, key=scene.ana_key)
    await scene.pool.execute("ALTER TABLE signals RENAME COLUMN notes TO remarks")
    assert (await scene.signal(signal.signal_id, scene.ana_key))[0] == 500
    text = printed.getvalue() + caplog.text
    assert "request_failed" in text
    secrets = (scene.platform_key, scene.ana_key, PICTURE_KEY, link.query)
    assert [secret for secret in secrets if secret in text] == []
