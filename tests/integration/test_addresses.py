"""Lists of addresses on their way from the operator through Postgres and Kafka to the ingress."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from click.testing import CliRunner
from structlog.testing import capture_logs

from api.tenants import Tenants
from api.users import CreatedUser, NewUser
from api.users_command import command
from runtime.clock import SystemClock
from runtime.encryption import KeyRing
from runtime.environment import Environment
from runtime.process import ProcessContext
from runtime.settings import LoggingSettings, OperationsSettings, PostgresSettings
from schemas.plans import Plan
from sinks.command import serve_sink
from sinks.settings import SinkSettings
from tests.support.api import pool_of
from tests.support.http import Answer, post
from tests.support.ingress import RunningIngress, running_ingress
from tests.support.tenants import create_local_topics, kafka_settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = bytes(32)
REFUSED = (403, "address_not_allowed")
ACCEPTED = (200, None)


@dataclass(frozen=True)
class Site:
    """A running sink and a running ingress, and an office where users are changed."""

    database_url: str
    ingress: RunningIngress
    tenants: Tenants

    async def create(self) -> CreatedUser:
        """A user whom the ingress accepts."""
        user = await self.tenants.create_user(NewUser(name="ana", plan=Plan.BASIC))
        await self.until(user, ACCEPTED)
        return user

    async def until(self, user: CreatedUser, expected: tuple[int, str | None]) -> None:
        """Until a call from 127.0.0.1 is answered so."""

        async def look() -> bool:
            answer = await self.post(user)
            return (answer.status, answer.json.get("error")) == expected

        await eventually(look)

    async def post(self, user: CreatedUser) -> Answer:
        return await post(self.ingress.port, f"/webhook/u/{user.token.get_secret_value()}", b"alert")

    async def command(self, *words: str) -> str:
        """Run `alerts users <words>` as an operator does; what it prints."""
        values = {
            "DATABASE_URL": self.database_url,
            "ENCRYPTION_KEYS": f"one:{base64.b64encode(KEY).decode()}",
        }
        runner = CliRunner(catch_exceptions=False)
        result = await asyncio.to_thread(runner.invoke, command, words, obj=Environment(values))
        assert result.exit_code == 0
        return result.output


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(kafka_bootstrap: str, postgres_url: str) -> AsyncIterator[Site]:
    await create_local_topics(kafka_bootstrap)
    sink = SinkSettings(
        kafka=kafka_settings(kafka_bootstrap),
        postgres=PostgresSettings.model_validate({"url": postgres_url}),
        operations=OperationsSettings.model_validate({}),
        logging=LoggingSettings.model_validate({}),
    )
    # the roles share the process with the command, whose output is read
    with capture_logs():
        async with (
            pool_of(postgres_url) as pool,
            serve_sink(sink, ProcessContext()),
            running_ingress(kafka_bootstrap) as ingress,
        ):
            await ingress.until_ready()
            clock = SystemClock()
            yield Site(postgres_url, ingress, Tenants(pool, KeyRing({"one": KEY}), clock))


async def test_an_operators_list_is_in_force_at_the_ingress(site: Site) -> None:
    """Set by the command, stored, published and enforced; an alert from elsewhere is refused for good."""
    user = await site.create()
    user_id = str(user.user_id)
    await site.command("set-addresses", user_id, "tradingview", "::1")
    await site.until(user, REFUSED)
    answer = await site.post(user)
    assert (answer.status, answer.json) == (403, {"success": False, "error": "address_not_allowed"})
    assert await site.command("set-addresses", user_id, "127.0.0.0/8") == "addresses 127.0.0.0/8\n"
    await site.until(user, ACCEPTED)
    await site.tenants.set_allowed_addresses(user.user_id, ["203.0.113.7"])
    await site.until(user, REFUSED)
    await site.command("set-addresses", user_id)
    await site.until(user, ACCEPTED)


async def test_the_list_of_one_tenant_is_nobody_elses(site: Site) -> None:
    """The neighbour is accepted while the other is refused."""
    listed, neighbour = await site.create(), await site.create()
    await site.tenants.set_allowed_addresses(listed.user_id, ["tradingview"])
    await site.until(listed, REFUSED)
    assert (await site.post(neighbour)).status == 200


async def test_a_change_in_postgres_is_in_force_at_the_ingress(site: Site) -> None:
    """Through the sink's relay, each kind of change and one after the other."""
    user = await site.create()
    for enabled, expected in ((False, (403, "webhook_disabled")), (True, ACCEPTED)):
        await site.tenants.set_webhook_enabled(user.user_id, enabled=enabled)
        await site.until(user, expected)
    await site.tenants.delete_user(user.user_id)
    await site.until(user, (404, "not_found"))


async def test_a_bad_list_written_past_the_command_is_no_final_answer(site: Site) -> None:
    """What nobody can read says nothing about the sender, who is asked to come again."""
    user = await site.create()
    async with pool_of(site.database_url) as pool:
        await pool.execute(
            "UPDATE users SET allowed_addresses = '{local host}', revision = revision + 1 WHERE id = $1",
            user.user_id,
        )
    await site.until(user, (503, "unavailable"))
    await site.tenants.set_allowed_addresses(user.user_id, ["127.0.0.1"])
    await site.until(user, ACCEPTED)
