from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.unit.deploy.chart.conftest import StepClock

Site = TestClient[Any, Any]


@pytest.mark.parametrize(
    "path", ["/chart/abcd1234/", "/chart/abcd1234", "/chart/", "/chart", "/chart/" + "x" * 32]
)
async def test_a_signed_in_user_sees_charts(site: Site, cookies: dict[str, str], path: str) -> None:
    """With and without layout or trailing slash, and without a redirect."""
    answer = await site.get(path, params={"symbol": "NASDAQ:AAPL"}, cookies=cookies, allow_redirects=False)
    page = await answer.text()
    assert answer.status == 200
    assert 'class="is-authenticated' in page
    assert 'data-name="user-name">Ana<' in page
    assert 'data-name="legend-source-title">NASDAQ:AAPL<' in page
    assert 'data-name="legend-source-interval">60<' in page
    assert 'class="loaderItem-' in page


async def test_a_layout_has_a_symbol_of_its_own(site: Site, cookies: dict[str, str]) -> None:
    """Without parameters the layout's symbol and interval are shown."""
    page = await (await site.get("/chart/abcd1234/", cookies=cookies)).text()
    assert 'data-name="legend-source-title">DEMO:LAYOUT<' in page
    assert 'data-name="legend-source-interval">60<' in page


async def test_an_unknown_interval_shows_the_layouts(site: Site, cookies: dict[str, str]) -> None:
    """The page tells the interval it shows, not the one asked for."""
    page = await (await site.get("/chart/abcd1234/?interval=1H", cookies=cookies)).text()
    assert 'data-name="legend-source-interval">60<' in page


@pytest.mark.parametrize("path", ["/chart/abcd1234/", "/chart/abcd1234", "/chart/"])
async def test_the_signed_out_are_asked_to_sign_in(site: Site, path: str) -> None:
    """A private chart answers 403 with the real page's signs."""
    answer = await site.get(path)
    page = await answer.text()
    assert answer.status == 403
    assert "Denied" in page.split("<title>")[1].split("</title>")[0]
    assert 'class="is-not-authenticated' in page
    assert 'data-dialog-name="sign-in"' in page


@pytest.mark.parametrize("missing", ["sessionid", "sessionid_sign"])
async def test_both_cookies_are_needed(site: Site, cookies: dict[str, str], missing: str) -> None:
    """One of the two signs nobody in."""
    del cookies[missing]
    assert (await site.get("/chart/abcd1234/", cookies=cookies)).status == 403


async def test_public_charts_load_for_the_signed_out(site: Site) -> None:
    """Anonymously, and saying so."""
    answer = await site.get("/chart/Public01/")
    page = await answer.text()
    assert answer.status == 200
    assert 'class="is-not-authenticated' in page
    assert 'data-name="user-name">Not signed in<' in page
    assert '"user": null' in page


@pytest.mark.parametrize("chart_id", ["abc", "x" * 33, "ab-cd", "abcd1234/more", "ñandú", "%2e%2e"])
async def test_malformed_ids_are_no_charts(site: Site, cookies: dict[str, str], chart_id: str) -> None:
    """404, whoever asks."""
    answer = await site.get(f"/chart/{chart_id}/", cookies=cookies)
    assert answer.status == 404
    assert 'data-name="not-found"' in await answer.text()


async def test_pages_are_never_kept(site: Site, cookies: dict[str, str]) -> None:
    """Neither a chart nor the way to it may come from a cache."""
    for path, status in (("/chart/abcd1234/", 200), ("/chart/x/", 404)):
        answer = await site.get(path, cookies=cookies)
        assert answer.status == status
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_page_does_not_show_its_session(site: Site, cookies: dict[str, str]) -> None:
    """Cookie values appear nowhere in the answer."""
    answer = await site.get("/chart/abcd1234/", cookies=cookies)
    shown = await answer.text() + str(answer.headers)
    assert not any(value in shown for value in cookies.values())


async def test_files_are_kept_for_ever(site: Site, cookies: dict[str, str]) -> None:
    """Scripts and styles are addressed by content, so that no browser asks twice."""
    page = await (await site.get("/chart/abcd1234/", cookies=cookies)).text()
    paths = [part.split('"')[0] for part in page.split('="/static/')[1:]]
    assert len(paths) == 4  # an ordinary page gets no pranks and no weight
    for path in paths:
        answer = await site.get(f"/static/{path}")
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]


async def test_other_files_are_not_served(site: Site) -> None:
    """Only what the pages use has an address."""
    for path in ("/static/page.html", "/static/0000000000000000/chart.js", "/static/..%2fsite.py"):
        assert (await site.get(path)).status == 404


async def test_health_answers_json(site: Site) -> None:
    """What the supervisor asks before it calls the site started."""
    answer = await site.get("/health")
    assert answer.status == 200
    assert await answer.json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("chart_id", "status", "sign"),
    [
        ("StateSignedOut", 200, 'class="is-not-authenticated'),
        ("StateSignIn", 302, ""),
        ("StatePrivate", 403, 'data-name="access-denied"'),
        ("StateCaptcha", 403, 'data-name="captcha"'),
        ("StateMissing", 404, 'data-name="not-found"'),
        ("StateForbidden", 403, ""),
        ("StateTooMany", 429, ""),
        ("StateBroken", 503, ""),
        ("StateOffSite", 302, ""),
        ("StatePromo", 200, '"prank": "promo"'),
    ],
)
async def test_states_answer_as_the_real_site_would(
    site: Site, cookies: dict[str, str], chart_id: str, status: int, sign: str
) -> None:
    """For the signed-in; status and marks are those of the real page."""
    answer = await site.get(f"/chart/{chart_id}/", cookies=cookies, allow_redirects=False)
    assert answer.status == status
    assert sign in await answer.text()


async def test_states_are_for_the_signed_in(site: Site) -> None:
    """Whoever has no session gets no further, whatever the state."""
    for chart_id in ("StatePromo", "StateOffSite", "StateDrip"):
        assert (await site.get(f"/chart/{chart_id}/")).status == 403


async def test_a_slow_drip_has_no_end(site: Site, cookies: dict[str, str], clock: StepClock) -> None:
    """Each byte comes after a pause, for as long as somebody reads."""
    async with site.get("/chart/StateDrip/", cookies=cookies) as answer:
        assert answer.status == 200
        await answer.content.readuntil(b"<!-- ")
        for _byte in range(3):
            assert await answer.content.readexactly(1) == b"."
            await clock.sleeps.get()
            clock.step()


async def test_heavy_pages_bring_megabytes(site: Site, cookies: dict[str, str]) -> None:
    """Two dozen scripts of real size, before the chart's own, each kept for ever."""
    page = await (await site.get("/chart/Heavy001/", cookies=cookies)).text()
    urls = [part.split('"')[0] for part in page.split('<script defer src="')[1:]]
    bulk = [url for url in urls if "/bulk/" in url]
    size_bytes = 0
    for url in bulk:
        answer = await site.get(url)
        assert "immutable" in answer.headers["Cache-Control"]
        size_bytes += len(await answer.read())
    assert (len(bulk), urls.index(bulk[-1])) == (24, len(urls) - 2)
    assert size_bytes > 5_000_000
    assert (await site.get("/static/bulk/1/24.js")).status == 404
