"""A capture worker without a browser: reports a picture for each request."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer

from runtime.publisher import Message, Publisher
from schemas.codec import decode, encode
from schemas.headers import CAPTURE_EVENT_TYPE, CloudEvent, event_headers
from schemas.records import CaptureEvent, CaptureEventKind, CaptureRequest, Picture
from schemas.topics import CAPTURE_EVENTS, CAPTURES
from tests.support.broker import consumer_of, partitions_of


@asynccontextmanager
async def answering_captures(
    bootstrap: str, publisher: Publisher, silent: Collection[UUID]
) -> AsyncIterator[None]:
    """While the block lasts, requests that come in it are answered, but of tenants that are `silent`."""
    topics = [topic.name for topic in CAPTURES.values()]
    places = [place for topic in topics for place in await partitions_of(bootstrap, topic)]
    async with consumer_of(bootstrap) as consumer:
        consumer.assign(places)
        for place, end in (await consumer.end_offsets(places)).items():
            consumer.seek(place, end)
        async with beside(_answer(consumer, publisher, silent)):
            yield


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs while the block lasts; its failure is the block's."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def event_message(event: CaptureEvent) -> Message:
    """As a capture worker publishes it."""
    envelope = CloudEvent(
        f"{event.signal_ids[0]}/{event.kind}", CAPTURE_EVENT_TYPE, "test", event.occurred_at
    )
    return Message(CAPTURE_EVENTS.name, str(event.user_id).encode(), encode(event), event_headers(envelope))


async def _answer(consumer: AIOKafkaConsumer, publisher: Publisher, silent: Collection[UUID]) -> None:
    while True:
        batches = await consumer.getmany(timeout_ms=200)
        requests = [decode(one.value, CaptureRequest) for batch in batches.values() for one in batch]
        wanted = [request for request in requests if request.user_id not in silent]
        await publisher.publish([message for request in wanted for message in _reports(request)])


def _reports(request: CaptureRequest) -> list[Message]:
    picture = Picture(
        key=f"{request.signal_id}-{request.request_no}",
        size_bytes=1000,
        width_px=1920,
        height_px=1080,
        captured_at=request.received_at,
    )
    return [
        event_message(_event(request, CaptureEventKind.COMPLETED, picture)),
        # late and out of order
        event_message(_event(request, CaptureEventKind.STARTED)),
    ]


def _event(request: CaptureRequest, kind: CaptureEventKind, picture: Picture | None = None) -> CaptureEvent:
    return CaptureEvent(
        kind=kind,
        signal_ids=[request.signal_id],
        user_id=request.user_id,
        plan=request.plan,
        request_no=request.request_no,
        occurred_at=request.received_at + timedelta(seconds=1),
        tries=1,
        fence=1,
        picture=picture,
    )
