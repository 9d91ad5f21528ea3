"""What the bucket's client does about a server that fails, refuses or keeps silent."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from capture.storage_bucket import PictureBucket
from capture.storage_choice import open_picture_store
from runtime import s3
from runtime.clock import SystemClock
from runtime.ids import SignalIds
from runtime.process import ProcessContext
from runtime.s3 import Bucket, BucketError, NewObject, open_bucket
from schemas.records import Picture
from tests.support.capture_parts import png_of
from tests.support.clock import START_MS
from tests.support.s3_faults import Break, Fault, MoodyS3, Refusal, moody_s3
from tests.support.s3proxy import BUCKET, SECRET, S3Server
from tests.support.waiting import eventually

KEY = "free/2026/03/14/abc.png"
PNG = png_of()

_IDS = SignalIds(SystemClock())


@dataclass(frozen=True)
class Shop:
    """A bucket behind a server with moods, in a place of its own."""

    bucket: Bucket
    moody: MoodyS3
    prefix: str

    @property
    def pictures(self) -> PictureBucket:
        return PictureBucket(self.bucket)

    async def put(self) -> Picture:
        return await self.pictures.put(KEY, PNG, START_MS)

    def methods(self) -> list[str]:
        return [seen.method for seen in self.moody.seen]


@pytest_asyncio.fixture
async def shop(s3_server: S3Server) -> AsyncIterator[Shop]:
    prefix = f"faults/{_IDS.mint()}"
    async with (
        moody_s3(s3_server.endpoint) as moody,
        open_bucket(s3_server.settings(prefix, s3_endpoint=moody.endpoint)) as bucket,
    ):
        yield Shop(bucket, moody, prefix)


async def test_a_put_says_all_that_readers_need(shop: Shop) -> None:
    """Exact headers, the condition, a signed body, and nothing that R2 refuses."""
    await shop.put()
    [seen] = shop.moody.seen
    assert (seen.method, seen.path) == ("PUT", f"/{BUCKET}/{shop.prefix}/{KEY}")
    assert seen.headers["if-none-match"] == "*"
    assert seen.headers["content-type"] == "image/png"
    assert seen.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert seen.headers["content-disposition"] == "inline"
    assert seen.headers["x-amz-content-sha256"] == hashlib.sha256(PNG).hexdigest()
    assert seen.headers["x-amz-meta-taken-at-ms"] == str(START_MS)


async def test_no_request_has_a_checksum_header(shop: Shop) -> None:
    """R2 answers 501 to them, and so does this server; every kind of request goes through."""
    await shop.put()
    await shop.put()
    assert await shop.bucket.read(KEY) == PNG
    assert await shop.bucket.head(KEY) is not None
    await shop.bucket.delete(KEY)
    assert shop.methods() == ["PUT", "PUT", "HEAD", "GET", "HEAD", "DELETE"]
    names = {name for seen in shop.moody.seen for name in seen.headers}
    assert [name for name in names if "checksum" in name or name == "x-amz-trailer"] == []


@pytest.mark.parametrize(
    "fault",
    [Refusal(500, "InternalError"), Refusal(503, "SlowDown"), Break.BEFORE, Break.AFTER],
    ids=["500", "503", "reset before", "reset after"],
)
async def test_a_passing_fault_is_tried_again(shop: Shop, fault: Fault) -> None:
    """The picture is stored once, also when the answer to the first try was lost: the second finds it."""
    shop.moody.faults.append(fault)
    picture = await shop.put()
    assert await shop.pictures.find(KEY) == picture
    assert await shop.bucket.read(KEY) == PNG


async def test_after_a_lost_answer_what_is_told_is_what_is_stored(shop: Shop) -> None:
    """The store is asked: another worker may have been the one."""
    shop.moody.faults.append(Break.AFTER)
    await shop.put()
    assert shop.methods()[:3] == ["PUT", "PUT", "HEAD"]


async def test_tries_end(shop: Shop) -> None:
    """A server that goes on failing is told of after three requests."""
    shop.moody.faults.extend([Refusal(500, "InternalError")] * 5)
    with pytest.raises(BucketError) as caught:
        await shop.put()
    assert (caught.value.errno, caught.value.reason) == (errno.EIO, "InternalError")
    assert shop.methods() == ["PUT"] * s3.TRIES


@pytest.mark.parametrize(
    ("refusal", "number"),
    [
        (Refusal(403, "AccessDenied"), errno.EACCES),
        (Refusal(409, "ConditionalRequestConflict"), errno.EBUSY),
        (Refusal(501, "NotImplemented"), errno.EIO),
        (Refusal(404, "NoSuchBucket"), errno.ENOENT),
    ],
)
async def test_a_refusal_is_told_at_once(shop: Shop, refusal: Refusal, number: int) -> None:
    """With a number for logs; asking again would not change it."""
    shop.moody.faults.append(refusal)
    with pytest.raises(BucketError) as caught:
        await shop.put()
    assert (caught.value.errno, caught.value.reason) == (number, refusal.code)
    assert shop.methods() == ["PUT"]


async def test_a_key_written_too_often_is_busy(shop: Shop) -> None:
    """R2 takes one write a second of the same key; who comes a moment later finds it done."""
    first = await shop.put()
    shop.moody.faults.extend([Refusal(429, "TooManyRequests")] * s3.TRIES)
    with pytest.raises(BucketError) as caught:
        await shop.put()
    assert caught.value.errno == errno.EBUSY
    shop.moody.faults.clear()
    assert await shop.put() == first


@pytest.mark.parametrize(
    "work",
    [
        lambda bucket: bucket.put_new(KEY, NewObject(PNG, "image/png", "private", {})),
        lambda bucket: bucket.head(KEY),
        lambda bucket: bucket.read(KEY),
        lambda bucket: bucket.delete(KEY),
    ],
    ids=["put", "head", "read", "delete"],
)
async def test_silence_ends(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, work: Callable[[Bucket], Awaitable[object]]
) -> None:
    """A server that never answers costs the deadline, and the client works on."""
    with monkeypatch.context() as patch:
        patch.setattr(s3, "CALL_DEADLINE_S", 0.2)
        shop.moody.faults.append(Break.NEVER)
        with pytest.raises(BucketError) as caught:
            await work(shop.bucket)
    assert caught.value.errno == errno.ETIMEDOUT
    # on a busy machine the deadline may have come before the request was out
    shop.moody.faults.clear()
    assert (await shop.put()).size_bytes == len(PNG)


async def test_nobody_there_is_an_error_of_the_store(s3_server: S3Server) -> None:
    """Like a disk that is gone: to be tried again."""
    async with open_bucket(s3_server.settings("none", s3_endpoint="http://127.0.0.1:1")) as bucket:
        with pytest.raises(BucketError) as caught:
            await bucket.head(KEY)
    assert caught.value.reason == "EndpointConnectionError"


async def test_a_wrong_secret_is_refused(s3_server: S3Server) -> None:
    """The server checks signatures; what is told names neither the secret nor the key."""
    wrong = s3_server.settings("wrong", s3_secret_access_key="not-" + SECRET)
    async with open_bucket(wrong) as bucket:
        with pytest.raises(BucketError) as caught:
            await PictureBucket(bucket).put(KEY, PNG, START_MS)
        with pytest.raises(BucketError):
            await bucket.head(KEY)
    assert (caught.value.errno, caught.value.reason) == (errno.EACCES, "SignatureDoesNotMatch")
    assert SECRET not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("wrong", "unready"),
    [
        ({}, set()),
        ({"s3_bucket": "missing"}, {"bucket"}),
        ({"s3_secret_access_key": "not-" + SECRET}, {"bucket"}),
        ({"s3_endpoint": "http://127.0.0.1:1"}, {"bucket"}),
    ],
    ids=["readable", "no such bucket", "wrong secret", "nobody there"],
)
async def test_a_worker_is_ready_while_its_bucket_can_be_read(
    s3_server: S3Server, wrong: dict[str, str], unready: set[str]
) -> None:
    """Also an empty one: that no picture is there is no fault."""
    context = ProcessContext()
    async with open_picture_store(s3_server.settings("ready", **wrong), context):
        assert set(await context.readiness.problems()) == unready


async def test_somebody_elses_object_is_no_picture(shop: Shop) -> None:
    """It has no measures; neither is it told as a picture nor written over."""
    await shop.bucket.put_new(KEY, NewObject(b"theirs", "text/plain", "private", {}))
    with pytest.raises(OSError, match="no picture of ours"):
        await shop.put()
    assert await shop.bucket.read(KEY) == b"theirs"


async def test_bodies_are_read_to_their_end(shop: Shop) -> None:
    """More reads than connections: none is kept by an earlier one, whatever the answer was."""
    await shop.put()
    for _turn in range(s3.CONNECTIONS + 4):
        assert await shop.bucket.read("free/2026/03/14/none.png") is None
        assert await shop.bucket.read(KEY) == PNG
    reads = (shop.bucket.read(KEY) for _number in range(3 * s3.CONNECTIONS))
    assert set(await asyncio.gather(*reads)) == {PNG}


async def test_a_cancelled_put_leaves_a_client_that_works(shop: Shop) -> None:
    """The slot that gave up is not told anything, and the next one is served."""
    shop.moody.faults.append(Break.NEVER)
    put = asyncio.create_task(shop.put())
    await shop.moody.arrived.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert (await shop.put()).size_bytes == len(PNG)


@dataclass(frozen=True)
class Fetched:
    status: int
    content_type: str
    cache_control: str | None
    body: bytes


async def fetch(url: str) -> Fetched:
    async with ClientSession() as http, http.get(url) as answer:
        body = await answer.read()
        return Fetched(answer.status, answer.content_type, answer.headers.get("Cache-Control"), body)


async def test_a_link_reads_one_object_for_a_while(shop: Shop) -> None:
    """No other object, not with another signature, not later."""
    await shop.put()
    link = await shop.bucket.link(KEY, 60, "private, max-age=60, immutable")
    assert await fetch(link) == Fetched(200, "image/png", "private, max-age=60, immutable", PNG)
    assert (await fetch(link.replace("abc.png", "abd.png"))).status == 403
    assert (await fetch(link.replace("Signature=", "Signature=0"))).status == 403
    assert (await fetch(link.split("?")[0])).status == 403
    short = await shop.bucket.link(KEY, 1, "private")

    async def refused() -> bool:
        return (await fetch(short)).status == 403

    assert await eventually(refused)
