"""The look-alike's routes. Reads no environment; time comes from the clock it is given."""

from typing import Final

from aiohttp import web

from deploy.local.chart import answers, bulk, sessions
from deploy.local.chart.assets import Assets
from deploy.local.chart.feed import Feed
from deploy.local.chart.interval import interval_or_default
from deploy.local.chart.pages import ChartView, Pages
from deploy.local.chart.settings import ChartSiteSettings
from deploy.local.chart.states import ORDINARY, Answer, ChartState, state_of
from runtime.clock import Clock, SystemClock

DEFAULT_SYMBOL: Final = "DEMO:LAYOUT"

_CHART: Final = r"/chart/{chart_id:[A-Za-z0-9]{4,32}}"


def create_app(settings: ChartSiteSettings, clock: Clock | None = None) -> web.Application:
    """The site as an application. Raises `FatalError` without the chart library; open sockets end with it."""
    clock = clock or SystemClock()
    assets = Assets(settings.library)
    feed = Feed(settings, clock)
    charts = Charts(settings, Pages(assets.urls), clock)
    app = web.Application()
    app.router.add_get("/health", _health)
    app.router.add_get("/data", feed.serve)
    app.router.add_get("/static/bulk/{path:.+}", bulk.serve)
    app.router.add_get("/static/{path:.+}", assets.serve)
    app.router.add_get("/worker.js", assets.serve_worker)
    app.router.add_get("/accounts/signin/", charts.sign_in)
    for path in ("/chart", "/chart/"):
        app.router.add_get(path, charts.own_layout)
    for path in (_CHART, f"{_CHART}/"):
        app.router.add_get(path, charts.chart)
    app.router.add_get("/{path:.*}", charts.missing)
    app.on_shutdown.append(feed.close)
    return app


class Charts:
    """Pages of charts, for the user whose session the request's cookies hold."""

    def __init__(self, settings: ChartSiteSettings, pages: Pages, clock: Clock) -> None:
        self._secret = settings.secret
        self._pages = pages
        self._clock = clock

    async def chart(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, state_of(request.match_info["chart_id"]))

    async def own_layout(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, ORDINARY)

    async def sign_in(self, _request: web.Request) -> web.Response:
        return self._pages.sign_in()

    async def missing(self, request: web.Request) -> web.Response:
        return self._pages.missing(self._user(request))

    async def _answer(self, request: web.Request, state: ChartState) -> web.StreamResponse:
        user = self._user(request)
        if user is None:
            return self._show(request, state, None) if state.anonymous else self._pages.sign_in()
        match state.answer:
            case Answer.OFF_SITE:
                return await answers.off_site()
            case Answer.SILENCE:
                return await answers.silence(request, self._clock)
            case Answer.DRIP:
                return await answers.drip(request, self._clock)
            case Answer.STATUS:
                return web.Response(status=state.status)
            case _:
                return self._page(request, state, user)

    def _page(self, request: web.Request, state: ChartState, user: str) -> web.StreamResponse:
        match state.answer:
            case Answer.SIGNED_OUT:
                return self._show(request, state, None)
            case Answer.SIGN_IN:
                raise web.HTTPFound("/accounts/signin/")
            case Answer.PRIVATE:
                return self._pages.private(user)
            case Answer.CAPTCHA:
                return self._pages.captcha(user)
            case Answer.MISSING:
                return self._pages.missing(user)
            case _:
                return self._show(request, state, user)

    def _show(self, request: web.Request, state: ChartState, user: str | None) -> web.Response:
        symbol = request.query.get("symbol") or DEFAULT_SYMBOL
        interval = interval_or_default(request.query.get("interval", ""))
        return self._pages.chart(ChartView(symbol, interval, user, state))

    def _user(self, request: web.Request) -> str | None:
        cookies = request.cookies
        return sessions.read(self._secret, cookies.get("sessionid", ""), cookies.get("sessionid_sign", ""))


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
