"""The whole pipeline, as `make run` starts it: what it promises, and whatever dies."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import pytest
import pytest_asyncio

from api.tenants import Tenants
from api.users import NewUser
from capture.session import SessionStore, TradingViewSession
from deploy.local.settings import INSTANCES
from runtime.backlog import CAPTURE_GROUP
from runtime.clock import SystemClock
from runtime.encryption import KeyRing, parse_keys
from runtime.postgres import open_pool
from runtime.settings import EncryptionSettings, PostgresSettings, load_section
from schemas.plans import PLAN_TERMS, Plan
from schemas.topics import CAPTURES, TOPICS
from tests.support.broker import group_state, lag, read_all
from tests.support.pipeline import Client, Pipeline, alert_text, client_of, temporary_pipeline
from tests.support.processes import descendants
from tests.support.waiting import eventually

SOAK = bool(os.environ.get("ALERTS_SOAK"))  # noqa: TID251 - chosen by `make soak`
PICTURES = 100 if SOAK else 30
LOAD = 100 if SOAK else 12
OUTAGE_S = 20 if SOAK else 5
BURST = PLAN_TERMS[Plan.FREE].burst


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    with temporary_pipeline() as pipeline:
        yield pipeline


@pytest_asyncio.fixture
async def client(pipeline: Pipeline) -> AsyncIterator[Client]:
    async with client_of(pipeline) as client:
        yield client


def symbols(count: int) -> list[str]:
    run = secrets.token_hex(3).upper()
    return [f"BINANCE:{run}N{number}USDT" for number in range(count)]


async def test_alerts_posted_at_once_become_rows_and_right_pictures(client: Client) -> None:
    """Each accepted alert is one row with a completed picture of its own symbol, interval and user."""
    wanted = symbols(PICTURES)
    ids = await asyncio.gather(*(client.alert(symbol) for symbol in wanted))
    rows = await client.settled(set(ids), 120)
    assert len(rows) == PICTURES
    assert {row["screenshot_status"] for row in rows} == {"completed"}
    by_id = {row["signal_id"]: row for row in rows}
    for signal_id, symbol in zip(ids, wanted, strict=True):
        shown = await client.picture(by_id[signal_id])
        assert (shown.symbol, shown.interval, shown.user) == (symbol, "15", "demo")
        assert by_id[signal_id]["ticker"] == symbol


@pytest.mark.parametrize("name", INSTANCES)
async def test_kill_9_of_a_role_under_load_loses_and_doubles_nothing(
    pipeline: Pipeline, client: Client, name: str
) -> None:
    """Whatever dies with work in both lanes, every alert that got a 200 is one row, and all is committed."""
    crowd = await crowded(pipeline, client)
    back = pipeline.output.count(f"{name} is back")
    posting = asyncio.gather(post_all(client, LOAD), post_all(crowd, LOAD))
    await asyncio.sleep(0.5)
    pipeline.kill(" ".join(("alerts", *INSTANCES[name])))
    ids, crowd_ids = await posting
    await pipeline.said(f"{name} is back", back + 1)
    rows = await client.settled(set(ids), 120)
    assert sorted(row["signal_id"] for row in rows) == sorted(ids)
    assert {row["screenshot_status"] for row in rows} == {"completed"}
    rows = await crowd.settled(set(crowd_ids), 120)
    assert sorted(row["signal_id"] for row in rows) == sorted(crowd_ids)
    assert "overflow" in {row["lane"] for row in rows}
    await all_committed(pipeline)


@pytest.mark.parametrize("part", ["kafka.Kafka", "postgres -D"])
async def test_kill_9_of_a_server_under_load_loses_and_doubles_nothing(
    pipeline: Pipeline, client: Client, part: str
) -> None:
    """Kafka and Postgres come back with their data and the roles go on by themselves."""
    ids = await asyncio.gather(*(client.alert(symbol) for symbol in symbols(5)))
    pipeline.kill(part)
    ids += await asyncio.gather(*(client.alert(symbol) for symbol in symbols(10)))
    rows = await client.settled(set(ids), 120)
    assert sorted(row["signal_id"] for row in rows) == sorted(ids)
    await all_committed(pipeline)


async def test_an_alert_of_an_outage_is_accepted_and_one_row(pipeline: Pipeline, client: Client) -> None:
    """While Kafka is frozen the webhook says 200 in time, since the spool has the alert."""
    symbol = symbols(1)[0]
    pipeline.kill("kafka.Kafka", signal.SIGSTOP)
    try:
        async with asyncio.timeout(2.5):
            status, answer = await client.post(alert_text(symbol))
        await asyncio.sleep(OUTAGE_S)
    finally:
        pipeline.kill("kafka.Kafka", signal.SIGCONT)
    assert status == 200
    signal_id = answer["signal_id"]
    await client.settled({signal_id}, 60)
    assert [row["signal_id"] for row in await client.signals() if row["ticker"] == symbol] == [signal_id]


async def test_no_secret_is_in_any_log_topic_metric_or_process(pipeline: Pipeline, client: Client) -> None:
    """Of a full run, refused calls included, only the banner and demo.json show a secret."""
    signal_id = await client.alert(symbols(1)[0])
    await client.settled({signal_id}, 60)
    url, key = client.demo["webhook_url"], client.demo["api_key"]
    calls = [
        client.http.get(url),
        client.http.post(url + "x", data=b"wrong token"),
        client.http.get(client.demo["api_url"] + f"/api/{key}", headers={"Authorization": f"Bearer {key}x"}),
    ]
    pages = [await (await call).read() for call in calls]
    values = await secret_values(pipeline, client)
    seen = [("an error page", page) for page in pages] + [item async for item in places(pipeline, client)]
    for place, text in seen:
        for name, value in values.items():
            assert value.encode() not in text, f"{name} is in {place}"


async def test_every_record_of_every_topic_has_its_envelope(pipeline: Pipeline, client: Client) -> None:
    """CloudEvents in binary mode, a schema version and a trace, whichever role published it."""
    signal_id = await client.alert(symbols(1)[0])
    await client.settled({signal_id}, 60)
    envelope = {"ce_id", "ce_type", "ce_source", "ce_time", "ce_specversion", "content-type"}
    seen = set()
    for topic in TOPICS:
        for record in await read_all(pipeline.environment["KAFKA_BOOTSTRAP"], topic.name):
            seen.add(topic.name)
            assert {*envelope, "schema_version", "traceparent"} <= {name for name, _value in record.headers}
    assert seen >= {
        "webhooks.raw",
        "signals",
        "signals.stored",
        "captures.premium",
        "captures.events",
        "tenants",
    }


async def crowded(pipeline: Pipeline, client: Client) -> Client:
    """A new tenant without captures whose burst is spent: what it sends overflows."""
    environment = pipeline.environment
    keyring = KeyRing(parse_keys(load_section(EncryptionSettings, environment).keys))
    async with open_pool(load_section(PostgresSettings, environment), "test") as pool:
        created = await Tenants(pool, keyring, SystemClock()).create_user(NewUser("crowd", Plan.FREE))
    origin = client.demo["webhook_url"].rpartition("/")[0]
    own = {"webhook_url": f"{origin}/{created.token.get_secret_value()}", "user_id": str(created.user_id)}
    crowd = Client(client.http, {**client.demo, **own})
    await eventually(lambda: knows(crowd))
    await asyncio.gather(*(crowd.post(alert_text(symbol)) for symbol in symbols(BURST)))
    return crowd


async def knows(client: Client) -> bool:
    """The relay takes a moment to tell of a new tenant."""
    status, _answer = await client.post(alert_text(symbols(1)[0]))
    return status == 200


async def post_all(client: Client, count: int) -> list[str]:
    wanted = symbols(count)
    return await asyncio.gather(*(post_slowly(client, symbol, index) for index, symbol in enumerate(wanted)))


async def post_slowly(client: Client, symbol: str, index: int) -> str:
    await asyncio.sleep(index * 0.05)
    return await client.alert(symbol)


async def all_committed(pipeline: Pipeline) -> None:
    """Until no group has anything left to commit."""
    bootstrap = pipeline.environment["KAFKA_BOOTSTRAP"]
    places = [
        ("alerts.process.main", "webhooks.raw"),
        ("alerts.process.overflow", "webhooks.overflow"),
        ("alerts.sink", "signals"),
        ("alerts.sink", "captures.events"),
    ]
    places += [(CAPTURE_GROUP, topic.name) for topic in CAPTURES.values()]
    group, topic = places[0]
    try:
        async with asyncio.timeout(30):
            for group, topic in places:
                while await lag(bootstrap, group, topic):  # noqa: ASYNC110 - the broker has no event for it
                    await asyncio.sleep(0.2)
    except TimeoutError:
        state = await group_state(bootstrap, group)
        raise AssertionError(f"{group}, {state}, does not commit {topic}") from None


async def secret_values(pipeline: Pipeline, client: Client) -> dict[str, str]:
    """Every secret of the run by name."""
    environment = pipeline.environment
    hidden = {
        name: value for name, value in environment.items() if name.endswith(("_SECRET", "_KEYS", "_URL"))
    }
    token = client.demo["webhook_url"].rsplit("/", 1)[1]
    keys = {"api_key": client.demo["api_key"], "user_api_key": client.demo["user_api_key"]}
    session = await demo_session(environment, UUID(client.demo["user_id"]))
    cookies = {
        "sessionid": session.sessionid.get_secret_value(),
        "sessionid_sign": session.sessionid_sign.get_secret_value(),
    }
    return {**hidden, **keys, **cookies, "token": token}


async def demo_session(environment: dict[str, str], user_id: UUID) -> TradingViewSession:
    keyring = KeyRing(parse_keys(load_section(EncryptionSettings, environment).keys))
    async with open_pool(load_section(PostgresSettings, environment), "test") as pool:
        return await SessionStore(pool, keyring).read(user_id)


async def places(pipeline: Pipeline, client: Client) -> AsyncIterator[tuple[str, bytes]]:
    """Everything that a run writes or shows."""
    for path in pipeline.layout.logs.iterdir():
        yield str(path), path.read_bytes()
    for topic in TOPICS:
        for record in await read_all(pipeline.environment["KAFKA_BOOTSTRAP"], topic.name):
            yield topic.name, b"%r %r %r" % (record.key, record.value, record.headers)
    for pid, command in descendants(pipeline.process.pid).items():
        yield f"arguments of {pid}", command.encode()
    for name in INSTANCES:
        port = pipeline.ports[f"{name}_operations_port".replace("-", "_").upper()]
        async with client.http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            yield f"metrics of {name}", await answer.read()
    yield "said without the banner", without_banner(pipeline.output).encode()


def without_banner(output: str) -> str:
    start, end = output.index("Webhook  "), output.index("Logs  ")
    return output[:start] + output[end:]
