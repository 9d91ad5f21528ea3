"""`alerts api`: the read side as a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from api.app import create_app
from api.cursor import CursorSeal
from api.dependencies import ApiDependencies
from api.links import PictureLinks
from api.picture_sources import open_picture_source
from api.settings import ApiSettings
from runtime.backlog import open_backlog
from runtime.environment import Environment
from runtime.examples import example
from runtime.logging import get_logger
from runtime.operations import Listener, serve_http
from runtime.postgres import open_pool, ping
from runtime.process import ProcessContext, run_command

log = get_logger(__name__)


@click.command("api", epilog=example("api"))
@click.pass_obj
def command(environment: Environment) -> None:
    """Serve the read side."""
    run_command("api", ApiSettings, serve_api, environment.values)


@asynccontextmanager
async def serve_api(settings: ApiSettings, context: ProcessContext) -> AsyncIterator[None]:
    """Listens at once, also while Postgres and Kafka are away. On exit: stop accepting, finish requests."""
    async with (
        open_pool(settings.postgres, "api") as pool,
        open_backlog(settings.kafka, context) as backlog,
        open_picture_source(settings.storage) as pictures,
    ):
        context.readiness.add("postgres", lambda: ping(pool))
        section = settings.api
        dependencies = ApiDependencies(
            pool=pool,
            cursors=CursorSeal(section.link_secret),
            links=PictureLinks(section.link_secret, section.origin(), section.link_lifetime_s, context.clock),
            pictures=pictures,
            pipeline_health=backlog.health,
            clock=context.clock,
            metrics=context.metrics,
        )
        async with serve_http(create_app(dependencies), Listener(section.host, section.port)) as port:
            log.info("api_port_open", host=section.host, port=port)
            yield
