"""The look-alike as a process of its own."""

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import Final

import click
from aiohttp import web

from deploy.local.chart.settings import ChartSiteSettings
from deploy.local.chart.site import create_app
from runtime.errors import FatalError
from runtime.examples import example
from runtime.logging import get_logger, setup_logging
from runtime.settings import LoggingSettings, load_settings

ROLE: Final = "chart-site"

_REQUEST_DEADLINE_S: Final = 0.5

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChartSiteProcess:
    """Settings of the process."""

    site: ChartSiteSettings
    logging: LoggingSettings


@click.command("chart-site", epilog=example("chart-site"))
def chart_site() -> None:
    """Serve the chart look-alike on loopback until SIGTERM or SIGINT."""
    try:
        settings = load_settings(ChartSiteProcess, os.environ)  # noqa: TID251 - the process's edge
        setup_logging(settings.logging, ROLE)
        asyncio.run(serve(settings.site))
    except FatalError as error:
        raise click.ClickException(str(error)) from error


async def serve(settings: ChartSiteSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises `FatalError` when the address is taken or the library missing."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    runner = web.AppRunner(create_app(settings), access_log=None, shutdown_timeout=_REQUEST_DEADLINE_S)
    await runner.setup()
    try:
        await _listen(runner, settings)
        await stop.wait()
    finally:
        await runner.cleanup()
    logger.info("chart_site_stopped")


async def _listen(runner: web.AppRunner, settings: ChartSiteSettings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        raise FatalError(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from error
    host, port = runner.addresses[0][:2]
    logger.info("chart_site_started", host=host, port=port)
