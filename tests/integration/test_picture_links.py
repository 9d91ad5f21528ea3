"""A link to a picture that is in a bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from aiohttp import ClientSession

from api.picture_sources import open_picture_source
from capture.storage_bucket import PictureBucket
from runtime.clock import SystemClock
from runtime.ids import SignalIds
from runtime.s3 import open_bucket
from runtime.settings import StorageSettings
from tests.support.api import ReadSide, picture_links, pool_of, serve_read_side
from tests.support.capture_parts import png_of
from tests.support.clock import START_MS, FakeClock
from tests.support.s3proxy import S3Server

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
KEY = "free/2026/03/14/abc.png"
PNG = png_of()

_IDS = SignalIds(SystemClock())


@asynccontextmanager
async def serving(settings: StorageSettings) -> AsyncIterator[ReadSide]:
    async with (
        open_picture_source(settings) as source,
        pool_of(NOWHERE) as pool,
        serve_read_side(pool, source) as api,
    ):
        yield api


def path_of(key: str, clock: FakeClock) -> str:
    """The link as the API asked at `clock` mints it, without its origin."""
    url = urlsplit(picture_links(clock).mint(key))
    return f"{url.path}?{url.query}"


async def put(settings: StorageSettings) -> None:
    async with open_bucket(settings) as bucket:
        await PictureBucket(bucket).put(KEY, PNG, START_MS)


async def test_a_link_leads_to_the_bucket(s3_server: S3Server) -> None:
    """302 to a URL that gives the picture with the headers of a file's; cached for less than it lives."""
    settings = s3_server.settings(f"links/{_IDS.mint()}")
    await put(settings)
    async with serving(settings) as api:
        link = path_of(KEY, api.clock)
        async with api.client.get(link, allow_redirects=False) as answer:
            assert (answer.status, await answer.read()) == (302, b"")
            assert answer.headers["Cache-Control"] == "private, max-age=50"
            target = answer.headers["Location"]
        async with ClientSession() as reader, reader.get(target) as picture:
            assert (picture.status, picture.content_type) == (200, "image/png")
            assert await picture.read() == PNG
            assert picture.headers["Content-Disposition"] == "inline"
            assert picture.headers["Cache-Control"].startswith("private, max-age=9")
        api.clock.move(3600)
        assert (await api.get(link, allow_redirects=False))[0] == 403


async def test_what_is_gone_is_not_found_behind_the_link(s3_server: S3Server) -> None:
    """The bucket says so; whoever has no link learns nothing."""
    settings = s3_server.settings(f"links/{_IDS.mint()}")
    async with serving(settings) as api:
        async with api.client.get(path_of(KEY, api.clock)) as answer:
            assert answer.status == 404
        assert (await api.get(f"/pictures/{KEY}", allow_redirects=False))[0] == 403


async def test_the_api_can_read_for_its_readers(s3_server: S3Server) -> None:
    """For a bucket that only we can reach: like a file."""
    settings = s3_server.settings(f"links/{_IDS.mint()}", s3_links="stream")
    await put(settings)
    async with serving(settings) as api:
        async with api.client.get(path_of(KEY, api.clock), allow_redirects=False) as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PNG)
        assert (await api.get(path_of("free/2026/03/14/none.png", api.clock)))[0] == 404


async def test_a_bucket_that_is_away_makes_the_picture_unavailable(s3_server: S3Server) -> None:
    """503, as for every dependency; not a bug of ours."""
    settings = s3_server.settings("none", s3_links="stream", s3_endpoint="http://127.0.0.1:1")
    async with serving(settings) as api:
        assert (await api.get(path_of(KEY, api.clock)))[0] == 503
