"""What one user's page cannot do to another's, to the machine, or to the rest of the world."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from deploy.local.chart.strip import decode
from tests.support.capture_pages import (
    Waiting,
    browser_of,
    engine_with,
    page_app,
    page_response,
    redirecting_app,
    renderer_states,
)
from tests.support.capture_parts import (
    CHART_ID,
    a_session,
    look_alike,
    order_of,
    outcome_of,
    serving,
    signed_in,
)

pytestmark = pytest.mark.usefixtures("profiles")


async def test_one_users_cookies_are_nobody_elses(browser_path: Path) -> None:
    """Two users at once and in turns, on one browser: each picture is of its own user."""
    users = {1: signed_in("Ana"), 2: signed_in("Ben")}
    async with engine_with(look_alike(), browser_path) as engine:
        for _round in range(2):
            shots = await asyncio.gather(*(engine.capture(order_of(users[n], n)) for n in users))
            assert [decode(shot.png).user for shot in shots] == ["Ana", "Ben"]


class StoringSite:
    """A chart that leaves something in storage and cookies, and tells what it found there."""

    def __init__(self) -> None:
        body = """
        const found = { stored: localStorage.mark ?? "", cookie: document.cookie };
        navigator.sendBeacon(`/note?${new URLSearchParams(found)}`);
        localStorage.mark = "left"; document.cookie = "mark=left";
        """
        self.found: list[tuple[str, str]] = []
        self.app = page_app({CHART_ID: body})
        self.app.router.add_post("/note", self._note)

    async def _note(self, request: web.Request) -> web.Response:
        self.found.append((request.query["stored"], request.query["cookie"]))
        return web.Response()


async def test_what_a_page_stores_is_invisible_to_other_users(browser_path: Path) -> None:
    """The first user's storage, kept warm, is not there for the second, but is for the first's next page."""
    site = StoringSite()
    async with engine_with(site.app, browser_path) as engine:
        for user in (1, 2, 1):
            await engine.capture(order_of(a_session(), user))
    assert site.found == [("", ""), ("", ""), ("left", "mark=left")]


async def test_nothing_is_kept_for_longer_than_told(browser_path: Path) -> None:
    """A context that has become too old is not used again."""
    site = StoringSite()
    async with engine_with(site.app, browser_path, warm_s=0.001) as engine:
        for _capture in range(2):
            await engine.capture(order_of(a_session()))
    assert site.found == [("", ""), ("", "")]


async def test_a_failed_capture_leaves_nothing_warm(browser_path: Path) -> None:
    """Whatever made it fail may sit in cache or storage: the next try begins from nothing."""
    site = StoringSite()
    async with engine_with(site.app, browser_path) as engine:
        order = order_of(a_session())
        assert await outcome_of(engine.capture(replace(order, width_px=640, height_px=0))) != "completed"
        await engine.capture(order)
    assert site.found[-1] == ("", "")


async def test_renewed_cookies_start_from_nothing(browser_path: Path) -> None:
    """The warm context ends with its session's version."""
    async with engine_with(look_alike(), browser_path) as engine:
        await engine.capture(order_of(signed_in("Ana", version=1)))
        shot = await engine.capture(order_of(signed_in("Renewed", version=2)))
    assert decode(shot.png).user == "Renewed"


async def test_scripts_cannot_read_the_session(browser_path: Path) -> None:
    """The site gets both cookies, the page none."""
    got: list[tuple[str, ...]] = []

    async def chart(request: web.Request) -> web.Response:
        got.append((request.cookies["sessionid"], request.cookies["sessionid_sign"]))
        return page_response("if (document.cookie) chart.dataReady = () => false;")

    app = web.Application()
    app.router.add_get("/chart/{chart_id}/", chart)
    async with engine_with(app, browser_path) as engine:
        await engine.capture(order_of(a_session()))
    assert got == [("s" * 32, "v3:sign")]


async def test_nothing_but_the_site_is_reached(browser_path: Path) -> None:
    """Neither by name nor by address, by request, image, frame, beacon, socket or navigation."""
    touched: list[str] = []

    async def touch(request: web.Request) -> web.Response:
        touched.append(request.path)
        return web.Response()

    outside = web.Application()
    outside.router.add_route("*", "/{path:.*}", touch)
    async with serving(outside) as elsewhere:
        port = elsewhere.rpartition(":")[2]
        hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "any.example")]
        bodies = {"reaching": "".join(map(reaching, hosts)), "leaving1": f'location = "{elsewhere}/leave";'}
        site = page_app(bodies)
        site.router.add_get("/away", away)
        async with engine_with(site, browser_path) as engine:
            await engine.capture(order_of(a_session(), chart_id="reaching"))
            left = await outcome_of(engine.capture(order_of(a_session(), chart_id="leaving1")))
        assert left == "off_site"
    assert touched == []


class EveryStore:
    """A chart that leaves a mark wherever pages can, and tells which marks it found there."""

    def __init__(self) -> None:
        self.found: list[set[str]] = []
        self.fetched = 0
        self.app = page_app({CHART_ID: _MARKS + _READY, "Crash001": _MARKS + _CRASH})
        self.app.router.add_post("/note", self._note)
        self.app.router.add_get("/kept.txt", self._kept)
        self.app.router.add_get("/worker.js", self._worker)

    async def _note(self, request: web.Request) -> web.Response:
        self.found.append(set(filter(None, request.query["found"].split(","))))
        return web.Response()

    async def _kept(self, _request: web.Request) -> web.Response:
        self.fetched += 1
        return web.Response(text="kept", headers={"Cache-Control": "public, max-age=31536000, immutable"})

    async def _worker(self, _request: web.Request) -> web.Response:
        return web.Response(text="addEventListener('fetch', () => {});", content_type="text/javascript")


# The chart is ready when all that has been told; only then may it crash.
_MARKS = """
const real = chart.dataReady; chart.dataReady = () => false;
const opened = new Promise((done) => {
  const opening = indexedDB.open("marks");
  let isNew = false;
  opening.onupgradeneeded = () => { isNew = true; };
  opening.onsuccess = () => done(!isNew);
});
const look = async () => {
  const found = {
    storage: Boolean(localStorage.mark), session: Boolean(sessionStorage.mark),
    cookie: document.cookie !== "",
    database: await opened, cache: await caches.has("marks"),
    worker: (await navigator.serviceWorker.getRegistrations()).length > 0,
    files: await (await navigator.storage.getDirectory()).getFileHandle("mark").then(() => true, () => false),
  };
  localStorage.mark = sessionStorage.mark = "left"; document.cookie = "mark=left; max-age=9999";
  await caches.open("marks");
  await navigator.serviceWorker.register("/worker.js");
  await (await navigator.storage.getDirectory()).getFileHandle("mark", { create: true });
  await fetch("/kept.txt");
  const names = Object.keys(found).filter((name) => found[name]);
  await fetch(`/note?found=${names}`, { method: "POST" });
};
"""
_READY = "look().finally(() => { chart.dataReady = real; });"
# Deeper than the layout engine's stack.
_CRASH = """
look().finally(() => {
  let at = document.body;
  for (let depth = 0; depth < 60000; depth += 1) at = at.appendChild(document.createElement("div"));
});
"""


async def test_no_store_is_shared(browser_path: Path) -> None:
    """Neither cookies, storage, databases, files, caches nor workers, also when the user before crashed."""
    site = EveryStore()
    async with engine_with(site.app, browser_path) as engine:
        order = order_of(a_session(), 1)
        assert await outcome_of(engine.capture(order)) == "completed"
        assert await outcome_of(engine.capture(order)) == "completed"
        assert (
            await outcome_of(engine.capture(order_of(a_session(), 2, chart_id="Crash001"))) == "page_crashed"
        )
        assert await outcome_of(engine.capture(order_of(a_session(), 3))) == "completed"
        browser_of(engine).process.popen.kill()
        await browser_of(engine).connection.closed.wait()
        for user in (1, 2):
            assert await outcome_of(engine.capture(order_of(a_session(), user))) == "completed"
    kept = {"storage", "cookie", "database", "cache", "worker", "files"}
    assert site.found == [set(), kept, set(), set(), set(), set()]
    # the second visit of the first user found it in the browser's own cache
    assert site.fetched == len(site.found) - 1


async def test_no_datagram_leaves(browser_path: Path) -> None:
    """WebRTC and WebTransport ask no resolver; nothing may come of them all the same."""
    heard: list[bytes] = []

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _address: object) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Listener, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    body = f"""
    const real = chart.dataReady; chart.dataReady = () => false;
    const done = () => setTimeout(() => {{ chart.dataReady = real; }}, 400);
    new WebTransport("https://127.0.0.1:{port}/").ready.catch(() => {{}});
    const peer = new RTCPeerConnection({{ iceServers: [{{ urls: "stun:127.0.0.1:{port}" }}] }});
    peer.createDataChannel("out");
    peer.createOffer().then((offer) => peer.setLocalDescription(offer)).finally(done);
    """
    async with engine_with(page_app({"datagram": body}), browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(a_session(), chart_id="datagram"))) == "completed"
    transport.close()
    assert heard == []


async def away(request: web.Request) -> web.Response:
    """A subresource of the site that leads off it."""
    raise web.HTTPFound(f"http://{request.query['to']}/redirected")


def reaching(host: str) -> str:
    """A script that tries to reach a host in every way."""
    return f"""
    {{
    fetch("http://{host}/fetch", {{ mode: "no-cors" }}).catch(() => {{}});
    new Image().src = "http://{host}/image";
    new WebSocket("ws://{host}/socket");
    navigator.sendBeacon("http://{host}/beacon");
    document.body.append(Object.assign(document.createElement("iframe"), {{ src: "http://{host}/frame" }}));
    new EventSource("http://{host}/events");
    fetch("/away?to={host}", {{ mode: "no-cors" }}).catch(() => {{}});
    const inside = 'fetch("http://{host}/worker").catch(() => {{}}); new WebSocket("ws://{host}/worker");';
    new Worker(URL.createObjectURL(new Blob([inside])));
    window.open("http://{host}/popup");
    for (const rel of ["preconnect", "dns-prefetch", "prefetch", "preload", "stylesheet", "modulepreload"]) {{
      document.head.append(Object.assign(document.createElement("link"),
        {{ rel, href: "http://{host}/link", as: "script" }}));
    }}
    const form = document.createElement("form");
    Object.assign(form, {{ action: "http://{host}/form", target: "f" }});
    document.body.append(Object.assign(document.createElement("iframe"), {{ name: "f" }}), form);
    form.submit();
    }}
    """


async def test_a_redirect_off_the_site_has_a_name(browser_path: Path) -> None:
    """The cookies do not follow it."""
    async with engine_with(redirecting_app("http://elsewhere.example/chart/"), browser_path) as engine:
        assert await outcome_of(engine.capture(order_of(a_session()))) == "off_site"


async def test_the_sandbox_is_on(browser_path: Path) -> None:
    """Pages run under system call filters, as an unprivileged user."""
    waiting = Waiting(users=1)
    async with engine_with(waiting.app, browser_path) as engine:
        capture = asyncio.create_task(engine.capture(order_of(a_session())))
        await waiting.all_asked.wait()
        states = await asyncio.to_thread(renderer_states, engine)
        waiting.release.set()
        await capture
    assert states
    assert all("Seccomp:\t2" in state and "NoNewPrivs:\t1" in state for state in states)
    assert all("\nUid:\t0\t" not in state for state in states)


async def test_without_user_namespaces_the_sandbox_is_left_off_loudly(
    browser_path: Path, profiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A system that refuses it still gets pictures, and its log a warning."""
    stubborn = profiles / "browser"
    refusal = 'echo "FATAL: No usable sandbox! Update your kernel" >&2; exit 1'
    stubborn.write_text(
        f'#!/bin/sh\ncase "$*" in *--no-sandbox*) ;; *) {refusal};; esac\nexec {browser_path} "$@"\n'
    )
    stubborn.chmod(0o755)
    async with engine_with(look_alike(), stubborn) as engine:
        shot = await engine.capture(order_of(signed_in("Ana")))
    assert decode(shot.png).user == "Ana"
    assert "browser_sandbox_unavailable" in capsys.readouterr().out
