"""The API without a database: errors, methods, headers, pictures and health."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from api import app
from runtime.backlog import PipelineHealth
from tests.support.api import ReadSide, picture_links, pool_of, serve_read_side

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
KEY = "tvk_an-api-key-that-nobody-must-see-0123"
PICTURE = b"\x89PNG picture"
LIST = "/api/users/019a0000-0000-7000-8000-00000000000a/signals"


class FailingPictures:
    """A source with a bug, or one that never answers."""

    def __init__(self, *, hangs: bool = False) -> None:
        self._hangs = hangs

    async def find(self, key: str, remaining_s: int) -> bytes | None:
        if self._hangs:
            await asyncio.Event().wait()
        raise RuntimeError(f"secret text about {key} for {remaining_s} s")


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[ReadSide]:
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab/cd.png").write_bytes(PICTURE)
    async with pool_of(NOWHERE) as pool, serve_read_side(pool, tmp_path) as api:
        yield api


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nothing/here?token=hidden-value", 404),
        ("GET", "/api/signals/", 404),
        ("GET", "/pictures/", 404),
        ("GET", "/api/users//signals", 404),
        ("POST", LIST, 405),
        ("DELETE", "/health", 405),
        ("PUT", "/pictures/ab/cd.png", 405),
        ("GET", LIST, 401),
        ("GET", "/api/signals/hidden-value", 401),
        ("GET", "/pictures/ab/cd.png", 403),
    ],
)
async def test_every_error_is_a_problem_that_repeats_nothing(
    api: ReadSide, method: str, path: str, status: int
) -> None:
    """RFC 9457 with constant texts; neither the path nor anything else of the request comes back."""
    async with api.client.request(method, path) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        body = await answer.json(content_type=None)
    assert (body["status"], set(body)) == (status, {"type", "title", "status", "detail"})
    assert not [part for part in ("hidden-value", "cd.png", "019a0000") if part in str(body)]
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_is_allowed_is_told_with_405(api: ReadSide) -> None:
    """The answer to a wrong method lists the right ones."""
    async with api.client.post("/health") as answer:
        assert answer.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer short", f"Basic {KEY}", KEY, "Bearer tvk_ñññññññññññññññññññññññññññññ"]
)
async def test_what_cannot_be_a_key_is_refused_without_the_database(api: ReadSide, header: str) -> None:
    """401 with the scheme to use, also while the database is away."""
    async with api.client.get(LIST, headers={"Authorization": header}) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="alerts"')


async def test_the_database_away_is_503(api: ReadSide) -> None:
    """A request that needs it is told to come again, by the answer and by its header."""
    async with api.client.get(LIST, headers={"Authorization": f"Bearer {KEY}"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert (await answer.json(content_type=None))["type"] == "urn:problem-type:alerts:unavailable"


async def test_a_link_shows_the_picture_without_a_key(api: ReadSide) -> None:
    """The bytes as stored, named as what they are, kept by the browser for as long as the link works."""
    path = link(api, "ab/cd.png")
    async with api.client.get(path) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PICTURE)
    remaining_s = picture_links(api.clock).check(
        "ab/cd.png", *(path.split("=")[i].split("&")[0] for i in (1, 2))
    )
    assert answer.headers["Cache-Control"] == f"private, max-age={remaining_s}, immutable"
    assert (answer.headers["Content-Disposition"], answer.headers["X-Content-Type-Options"]) == (
        "inline",
        "nosniff",
    )
    async with api.client.head(path) as head:
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(PICTURE)))
        assert await head.read() == b""


async def test_a_link_ends(api: ReadSide) -> None:
    """The same link is 403 when its time is over."""
    path = link(api, "ab/cd.png")
    api.clock.move(2 * 3600)
    assert (await api.get(path))[0] == 403


async def test_a_good_link_to_a_picture_that_is_gone_is_404(api: ReadSide) -> None:
    """Only who holds a right link learns that there is nothing behind it."""
    assert (await api.get(link(api, "ab/gone.png")))[0] == 404
    assert (await api.get("/pictures/ab/gone.png?expires=1&signature=2"))[0] == 403


@pytest.mark.parametrize(
    "path", ["/pictures/../ab/cd.png", "/pictures/ab%2F..%2Fab%2Fcd.png", "/pictures/%00.png"]
)
async def test_no_path_leads_out_of_the_folder(api: ReadSide, path: str) -> None:
    """Whatever the path, without a signature for it there is no picture."""
    status, _body = await api.get(path + "?expires=9999999999&signature=" + "0" * 64)
    assert status in (403, 404)


async def test_health_tells_of_the_pipeline_without_a_key(api: ReadSide) -> None:
    """Backlog, workers and uptime in seconds; degraded while the broker does not tell."""
    api.pipeline.value = PipelineHealth(17, 3, known=True)
    api.clock.move(61.9)
    healthy = {"status": "ok", "queue_length": 17, "active_workers": 3, "uptime": 61}
    assert await api.get("/health") == (200, healthy)
    api.pipeline.value = PipelineHealth(0, 0, known=False)
    assert (await api.get("/health"))[1]["status"] == "degraded"
    async with api.client.head("/health") as head:
        assert head.status == 200


async def test_a_bug_is_a_500_that_says_nothing() -> None:
    """The exception's text goes to the log, not to the client."""
    async with pool_of(NOWHERE) as pool, serve_read_side(pool, FailingPictures()) as api:
        status, body = await api.get(link(api, "ab/cd.png"))
    assert (status, body["type"]) == (500, "urn:problem-type:alerts:internal")
    assert "secret" not in str(body)


async def test_what_never_answers_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency that hangs does not make the client hang."""
    monkeypatch.setattr(app, "REQUEST_DEADLINE_S", 0.05)
    async with pool_of(NOWHERE) as pool, serve_read_side(pool, FailingPictures(hangs=True)) as api:
        assert (await api.get(link(api, "ab/cd.png")))[0] == 503


async def test_requests_are_counted_by_route_and_never_by_path(api: ReadSide) -> None:
    """Labels come from a closed set, whatever is asked for."""
    await api.get(LIST)
    await api.get("/health")
    await api.get("/some/path")
    text = api.metrics.exposition().decode()
    assert 'alerts_api_requests_total{route="user-signals",status="401"} 1.0' in text
    assert 'alerts_api_requests_total{route="unmatched",status="404"} 1.0' in text
    assert not [part for part in ("some/path", "019a0000") if part in text]


def link(api: ReadSide, key: str) -> str:
    """Path and query of a picture's link."""
    url = picture_links(api.clock).mint(key)
    return url[url.index("/pictures/") :]
