"""`alerts deadletters` on a real broker, with real processors, sink and database."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from click.testing import CliRunner

from deploy.cli import main
from processors.parse import parse_webhook
from runtime.clock import SystemClock
from runtime.deadletter_postmark import postmark_headers
from runtime.deadletters import DeadLetter, deadletter_message
from runtime.errors import InvalidError
from runtime.publisher import Message, sent_bytes
from runtime.streams.record import StreamRecord, TopicPartition
from runtime.streams.settle import BUG_TRIES
from schemas.records import Lane
from schemas.topics import (
    DEADLETTERS,
    LARGE_MESSAGE_BYTES,
    SIGNALS,
    WEBHOOKS_OVERFLOW,
    WEBHOOKS_RAW,
    WEBHOOKS_REFUSED,
)
from tests.support.broker import read_all
from tests.support.buried import OLD, BuriedPipeline, buried_pipeline, letter_of, webhook
from tests.support.deadletters import postmark_of
from tests.support.role_process import RoleProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pipeline(own_bootstrap: str, postgres_url: str) -> AsyncIterator[BuriedPipeline]:
    async with buried_pipeline(own_bootstrap, postgres_url) as pipeline:
        yield pipeline


def break_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of the processors that bodies with `bug` in them meet."""

    def parse(value: bytes, *rest: Any) -> Any:
        if b"bug" in value:
            raise ZeroDivisionError
        return parse_webhook(value, *rest)

    monkeypatch.setattr("processors.stage.parse_webhook", parse)


async def test_a_poison_record_is_found_by_every_filter_and_redriven_once(
    pipeline: BuriedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From letter to row: seen, its cause fixed, put back, stored once, also after a second redrive."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    begun = datetime.fromtimestamp(SystemClock().unix_ms() / 1000, UTC).isoformat()
    with monkeypatch.context() as broken:
        break_parser(broken)
        async with pipeline.workers():
            await pipeline.publisher.publish([webhook(customer, b"BINANCE:BTCUSDT 1 LONG")])
            await pipeline.publisher.publish([webhook(customer, b"BINANCE:ETHUSDT 2 LONG bug")])
            [letter] = await pipeline.until_listed(1, "--tenant", tenant)
            await pipeline.until_rows(customer, 1)
    assert (letter["stage"], letter["reason"], letter["attempts"]) == ("process", "ZeroDivisionError", 3)
    await check_filters(pipeline, letter, tenant, begun)
    await check_dry_run(pipeline, tenant)
    for _ in range(2):
        result = await pipeline.run("redrive", "--tenant", tenant, "--yes")
        assert (result.exit_code, "1 put back" in result.output) == (0, True), result.output
    async with pipeline.workers():
        rows = await pipeline.until_rows(customer, 2)
        last = webhook(customer, b"BINANCE:SOLUSDT 3 LONG")
        await pipeline.publisher.publish([last])
        rows = await pipeline.until_rows(customer, 3)
    assert [row["message"][8:11] for row in rows] == ["BTC", "ETH", "SOL"]
    assert await pipeline.audited(customer) == 3
    assert len(await pipeline.listed("--tenant", tenant)) == 1


async def check_filters(pipeline: BuriedPipeline, letter: dict[str, Any], tenant: str, begun: str) -> None:
    """Each alone finds the letter, or excludes it."""
    mine = ("--tenant", tenant)
    finding = [
        ("--reason", "ZeroDivisionError"),
        ("--stage", "process"),
        ("--topic", WEBHOOKS_RAW.name),
        ("--since", begun),
        ("--since", "1h"),
        ("--from", letter["place"]),
        ("--limit", "1"),
    ]
    missing = [
        ("--reason", "unfit"),
        ("--stage", "sink"),
        ("--topic", SIGNALS.name),
        ("--until", begun),
        ("--since", "2100-01-01"),
        ("--from", "{}:{}".format(*_after(letter["place"]))),
    ]
    for words in finding:
        assert [found["place"] for found in await pipeline.listed(*mine, *words)] == [letter["place"]], words
    for words in missing:
        assert await pipeline.listed(*mine, *words) == [], words
    assert await pipeline.listed("--tenant", str(UUID(int=1))) == []
    shown = await pipeline.run("show", letter["place"])
    assert "BINANCE:ETHUSDT 2 LONG bug" in shown.output
    assert (await pipeline.run("show", letter["place"], "--output", "-")).stdout_bytes == (
        b"BINANCE:ETHUSDT 2 LONG bug"
    )
    table = (await pipeline.run("list", *mine)).output.splitlines()
    assert [line.split()[0] for line in table] == ["place", letter["place"]]


def _after(place: str) -> tuple[int, int]:
    partition, offset = map(int, place.split(":"))
    return partition, offset + 1


async def check_dry_run(pipeline: BuriedPipeline, tenant: str) -> None:
    """It says what would be done, and neither it nor a no nor its question changes a topic."""
    before = await pipeline.held(WEBHOOKS_RAW.name)
    planned = await pipeline.run("redrive", "--tenant", tenant, "--dry-run")
    assert planned.output.splitlines()[1].split() == ["webhooks.raw", "process", "ZeroDivisionError", "1"]
    refused = await pipeline.run("redrive", "--tenant", tenant, text="n\n")
    assert (planned.exit_code, refused.exit_code) == (0, 1)
    assert "Put 1 letters back?" in refused.output
    assert await pipeline.held(WEBHOOKS_RAW.name) == before


async def test_a_letter_that_dies_again_counts_on(
    pipeline: BuriedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redriven before the cause is fixed: a second letter with the first time and all attempts."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    with monkeypatch.context() as broken:
        break_parser(broken)
        async with pipeline.workers():
            await pipeline.publisher.publish([webhook(customer, b"bug")])
            [first] = await pipeline.until_listed(1, "--tenant", tenant)
            assert (await pipeline.run("redrive", "--tenant", tenant, "--yes")).exit_code == 0
            letters = await pipeline.until_listed(2, "--tenant", tenant)
    second = max(letters, key=lambda letter: letter["failed_at"])
    assert (second["attempts"], second["redrives"]) == (first["attempts"] + BUG_TRIES, 1)
    assert (second["first_seen"], second["topic"]) == (first["first_seen"], WEBHOOKS_RAW.name)
    assert second["offset"] != first["offset"] or second["partition"] != first["partition"]


async def test_each_stage_gets_its_own_records_back(
    pipeline: BuriedPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the sink could not store goes to the sink, what a lane could not read to that lane."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)

    def refuse(_headers: object) -> None:
        raise InvalidError("broken_sink")

    with monkeypatch.context() as broken:
        broken.setattr("sinks.stages.read_webhook_metadata", refuse)
        async with pipeline.workers(Lane.OVERFLOW):
            await pipeline.publisher.publish([webhook(customer, b"X:ONE 1 LONG", WEBHOOKS_OVERFLOW.name)])
            [letter] = await pipeline.until_listed(1, "--tenant", tenant)
    assert (letter["stage"], letter["reason"], letter["topic"]) == ("sink", "broken_sink", SIGNALS.name)
    overflown = webhook(customer, b"X:TWO 2 LONG", WEBHOOKS_OVERFLOW.name)
    await pipeline.publisher.publish([letter_of(overflown, "process-overflow")])
    counts = [await pipeline.held(topic) for topic in (SIGNALS.name, WEBHOOKS_OVERFLOW.name)]
    result = await pipeline.run("redrive", "--tenant", tenant, "--yes")
    assert (result.exit_code, "2 put back" in result.output) == (0, True), result.output
    after = [await pipeline.held(topic) for topic in (SIGNALS.name, WEBHOOKS_OVERFLOW.name)]
    assert after == [count + 1 for count in counts]
    async with pipeline.workers(Lane.OVERFLOW):
        rows = await pipeline.until_rows(customer, 2)
    assert sorted(row["message"] for row in rows) == ["X:ONE 1 LONG", "X:TWO 2 LONG"]
    assert await pipeline.audited(customer) == 2


async def test_a_redrive_killed_in_the_middle_is_done_by_another(
    pipeline: BuriedPipeline, tmp_path: Path
) -> None:
    """`kill -9`, then all of it again: every alert has exactly one row."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    count = 120
    originals = [webhook(customer, b"X:A%d 1 LONG" % number) for number in range(count)]
    await pipeline.publisher.publish([letter_of(original) for original in originals])
    words = ("deadletters", "redrive", "--tenant", tenant, "--yes", "--rate", "40")
    values = {"KAFKA_BOOTSTRAP": pipeline.bootstrap}
    killed = RoleProcess("redrive", words, values, tmp_path)
    before = await pipeline.held(WEBHOOKS_RAW.name)
    try:
        killed.start()
        first = await eventually(lambda: _more_than(pipeline, before + 10))
        killed.kill()
    finally:
        killed.close()
    assert before < first < before + count
    async with pipeline.workers():
        result = await pipeline.run("redrive", "--tenant", tenant, "--yes", "--rate", "1000")
        assert f"{count} put back" in result.output
        rows = await pipeline.until_rows(customer, count)
        await pipeline.publisher.publish([webhook(customer, b"X:LAST 1 LONG")])
        rows = await pipeline.until_rows(customer, count + 1)
    assert await pipeline.held(WEBHOOKS_RAW.name) > before + count + 1
    assert len({row["id"] for row in rows}) == len(rows) == await pipeline.audited(customer) == count + 1


@pytest.mark.usefixtures("interruptible")
async def test_an_interrupted_redrive_says_how_to_go_on(pipeline: BuriedPipeline, tmp_path: Path) -> None:
    """From that place on everything is put back that was not; nothing is left out."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    bodies = [b"X:I%d 1 LONG" % number for number in range(300)]
    await pipeline.publisher.publish([letter_of(webhook(customer, body)) for body in bodies])
    words = ("deadletters", "redrive", "--tenant", tenant, "--yes", "--rate", "20")
    interrupted = RoleProcess("redrive", words, {"KAFKA_BOOTSTRAP": pipeline.bootstrap}, tmp_path)
    before = await pipeline.held(WEBHOOKS_RAW.name)
    try:
        interrupted.start()
        await eventually(lambda: _more_than(pipeline, before + 10))
        assert interrupted.process is not None
        interrupted.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(interrupted.process.wait, 20) == 1
    finally:
        interrupted.close()
    [told] = [line for line in interrupted.log().splitlines() if "not finished" in line]
    place = told.split("--from ")[1].split(",")[0]
    result = await pipeline.run("redrive", "--tenant", tenant, "--yes", "--rate", "1000", "--from", place)
    assert (result.exit_code, f"{len(bodies)} put back" in result.output) == (0, False)
    raw = await read_all(pipeline.bootstrap, WEBHOOKS_RAW.name)
    assert {record.value for record in raw if record.key == customer.key} == set(bodies)


async def _more_than(pipeline: BuriedPipeline, count: int) -> int:
    held = await pipeline.held(WEBHOOKS_RAW.name)
    return held if held > count else 0


async def test_the_largest_bodies_of_the_worst_bytes_go_all_the_way(pipeline: BuriedPipeline) -> None:
    """As letters, put back, parsed and stored; 256 KiB of what grows most in JSON and UTF-8."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    worst = (b"\x01", b"\\", b'"', b"\xff", b"\x00", b"\xf0\x9f\x98\x80")
    bodies = [piece * (256 * 1024 // len(piece)) for piece in worst]
    await pipeline.publisher.publish([letter_of(webhook(customer, body)) for body in bodies])
    letters = await pipeline.listed("--tenant", tenant)
    for letter, body in zip(letters, bodies, strict=True):
        shown = await pipeline.run("show", letter["place"])
        raw = await pipeline.run("show", letter["place"], "--output", "-")
        assert (shown.exit_code, raw.stdout_bytes == body) == (0, True)
    assert (await pipeline.run("redrive", "--tenant", tenant, "--yes")).exit_code == 0
    async with pipeline.workers():
        rows = await pipeline.until_rows(customer, len(worst))
    assert {len(row["message"]) for row in rows} == {65_536}
    assert len(await pipeline.listed("--tenant", tenant)) == len(worst)


async def test_a_value_near_the_topics_limit_becomes_a_letter_and_comes_back(
    pipeline: BuriedPipeline,
) -> None:
    """Its headers need more room than the original took; the value is whole."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    value = b"v" * (LARGE_MESSAGE_BYTES - 1_000)
    await pipeline.publisher.publish([Message(SIGNALS.name, customer.key, value, [("ce_id", b"h" * 700)])])
    async with pipeline.workers():
        [letter] = await pipeline.until_listed(1, "--tenant", tenant)
    assert (letter["stage"], letter["reason"], letter["lost_headers"]) == ("sink", "bad_record", 1)
    raw = await pipeline.run("show", letter["place"], "--output", "-")
    assert raw.stdout_bytes == value
    result = await pipeline.run("redrive", "--tenant", tenant, "--yes")
    assert (result.exit_code, result.output.splitlines()[0]) == (
        1,
        "1 refused: headers of the original are lost",
    )
    await pipeline.publisher.publish([letter_of(Message(SIGNALS.name, customer.key, value), "sink")])
    result = await pipeline.run("redrive", "--tenant", tenant, "--reason", "unfit", "--yes")
    assert (result.exit_code, "1 put back" in result.output) == (0, True), result.output


async def test_a_value_that_leaves_no_room_for_headers_is_kept(pipeline: BuriedPipeline) -> None:
    """The broker takes not a byte more: the sink goes on, and the letter is the bare value."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    largest = b"v" * (2 * LARGE_MESSAGE_BYTES - sent_bytes(customer.key, b"v" * LARGE_MESSAGE_BYTES, []))
    await pipeline.publisher.publish([Message(SIGNALS.name, customer.key, largest)])
    async with pipeline.workers():
        [letter] = await pipeline.until_listed(1, "--tenant", tenant)
    assert letter["problem"].startswith("no header")
    raw = await pipeline.run("show", letter["place"], "--output", "-")
    assert raw.stdout_bytes == largest


async def test_a_broker_that_is_away_is_told_in_a_line() -> None:
    """No traceback, no waiting without end."""
    environment = {"KAFKA_BOOTSTRAP": "127.0.0.1:1", "ALERTS_ENV_FILE": ""}
    runner = CliRunner(env=environment)
    result = await asyncio.to_thread(runner.invoke, main, ["deadletters", "list"])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: ")


async def test_foreign_and_homeless_letters_are_told_and_left(pipeline: BuriedPipeline) -> None:
    """They are listed and shown, a redrive says why they stay, takes their neighbours and exits with 1."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    refused = webhook(customer, b"{}", WEBHOOKS_REFUSED.name)
    elsewhere = postmark_headers(postmark_of(topic="no-such-topic", partition=None, offset=None))
    foreign = [
        Message(DEADLETTERS.name, customer.key, b"\x1b[2J", [("dl_stage", b"\xff"), ("a", None)]),  # type: ignore[list-item]  # as another client may write it
        Message(DEADLETTERS.name, customer.key, b"", elsewhere),
        letter_of(refused, "sink-refusals"),
    ]
    await pipeline.publisher.publish(foreign)
    listed = await pipeline.listed("--tenant", tenant)
    assert [letter.get("problem", letter.get("topic")) for letter in listed] == [
        "no header dl_failed_at",
        "no-such-topic",
        WEBHOOKS_REFUSED.name,
    ]
    for letter in listed:
        shown = await pipeline.run("show", letter["place"])
        assert (shown.exit_code, "\x1b" in shown.output) == (0, False)
    result = await pipeline.run("redrive", "--tenant", tenant, "--yes")
    assert result.exit_code == 1
    for line in (
        "1 refused: of a topic that takes no letters back",
        "1 refused: unreadable: no header dl_failed_at",
        "1 put back",
    ):
        assert line in result.output
    assert (await pipeline.run("show", "0:999999")).exit_code == 1
    [back] = await read_all(pipeline.bootstrap, WEBHOOKS_REFUSED.name)
    assert back.value == b"{}"


async def test_letters_are_paged_by_their_places(pipeline: BuriedPipeline) -> None:
    """With a limit and a place to go on from, every letter is seen once."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    await pipeline.publisher.publish([letter_of(webhook(customer, b"%d" % number)) for number in range(7)])
    seen: list[str] = []
    words: Sequence[str] = ()
    while True:
        result = await pipeline.run("list", "--json", "--tenant", tenant, "--limit", "3", *words)
        seen += [json.loads(line)["place"] for line in result.stdout.splitlines()]
        if "--from" not in result.stderr:
            break
        words = result.stderr.split()[-2:]
    assert len(seen) == len(set(seen)) == 7


async def test_what_the_ingress_buries_has_no_place_and_goes_back(pipeline: BuriedPipeline) -> None:
    """A record that never was on its topic is read, shown and redriven like any other."""
    customer = await pipeline.customer()
    tenant = str(customer.tenant.user_id)
    original = webhook(customer, b"X:SPOOLED 1 LONG")
    place = TopicPartition(original.topic, -1)
    record = StreamRecord(place, -1, 0, 0, original.key, original.value, tuple(original.headers))
    letter = DeadLetter(record, "ingest", InvalidError("refused_by_topic"), 1, OLD)
    await pipeline.publisher.publish([deadletter_message(letter)])
    [listed] = await pipeline.listed("--stage", "ingest")
    assert (listed["partition"], listed["offset"]) == (None, None)
    assert (await pipeline.run("show", listed["place"])).exit_code == 0
    assert (await pipeline.run("redrive", "--tenant", tenant, "--yes")).exit_code == 0
    async with pipeline.workers():
        [row] = await pipeline.until_rows(customer, 1)
    assert row["message"] == "X:SPOOLED 1 LONG"
