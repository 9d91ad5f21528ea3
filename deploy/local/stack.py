"""The whole pipeline on one machine: what is started, with which variables, in which order."""

import asyncio
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from deploy.local.addresses import Addresses
from deploy.local.browser import browser_user, find_browser
from deploy.local.child import Program
from deploy.local.demo import Demo, ensure_demo
from deploy.local.files import rotate, write_private
from deploy.local.kafka import KafkaNode
from deploy.local.keychain import Keychain
from deploy.local.layout import Layout
from deploy.local.logins import chosen_urls, embedded_logins, ensure_logins
from deploy.local.part import HttpPart, Part
from deploy.local.postgres import PostgresCluster
from deploy.local.settings import INSTANCES, LocalSettings
from deploy.local.supervisor import KeptPart, Say
from deploy.local.variables import (
    Variables,
    account_variables,
    address_variables,
    browser_variables,
    chart_site_variables,
    default_variables,
    external_variables,
    inherited_variables,
    process_variables,
    unless_chosen,
)
from runtime.clock import Clock
from runtime.environment import format_environment
from runtime.settings import KafkaSettings, load_section
from runtime.topics import create_topics
from sinks.migrate import migrate

ROLE_STOP_DEADLINE_S: Final = 8.0
SERVICE_STOP_DEADLINE_S: Final = 5.0

_MIGRATE_DEADLINE_S: Final = 120
_TOPICS_DEADLINE_S: Final = 60


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The database for its owner, and for each process that needs it."""

    owner: str
    by_instance: Mapping[str, str]

    def variables(self, instance: str) -> Variables:
        """Empty, which counts as unset, for a process that has no use for the database."""
        own = {"DATABASE_URL": self.by_instance.get(instance, "")}
        # retention is the owner's, and the sink's to do
        return {**own, "SINK_OWNER_URL": self.owner} if instance == "sink" else own


@dataclass(frozen=True, slots=True)
class StackPlan:
    """All that is decided before anything starts. `values` are a person's variables."""

    layout: Layout
    values: Mapping[str, str]
    settings: LocalSettings
    addresses: Addresses
    keychain: Keychain
    command: tuple[str, ...]

    def variables(self, database_url: str) -> Variables:
        """What finds and joins this stack: the roles' variables and the content of `.local/env`."""
        defaults = default_variables(self.layout, self.addresses, self.keychain)
        browser = browser_variables(find_browser(), browser_user())
        accounts = account_variables(self.settings)
        return {
            **external_variables(self.values),
            **unless_chosen({**defaults, **browser, **accounts}, self.values),
            **address_variables(self.settings, self.addresses),
            "DATABASE_URL": database_url,
        }

    def role(self, instance: str, variables: Variables) -> HttpPart:
        """A process of one of the roles, by its name among `INSTANCES`."""
        port = self.addresses.operations_port(instance)
        own = {**process_variables(), **self._member(instance), "OPERATIONS_PORT": str(port)}
        program = self._program(instance, INSTANCES[instance], {**variables, **own})
        return HttpPart(instance, program, f"http://127.0.0.1:{port}/ready")

    def chart_site(self) -> HttpPart:
        variables = chart_site_variables(self.layout, self.addresses, self.keychain)
        program = self._program("chart-site", ("chart-site",), {**variables, **process_variables()})
        return HttpPart("chart-site", program, f"{self.addresses.chart_origin}/health")

    def kafka(self) -> KafkaNode:
        ports = self.addresses.ports
        return KafkaNode(
            folder=self.layout.kafka,
            libraries=self.layout.kafka_libraries,
            port=ports["kafka_port"],
            controller_port=ports["kafka_controller_port"],
            log=self.layout.log("kafka"),
        )

    def postgres(self) -> PostgresCluster:
        """An open cluster: the caller closes it when its server has ended."""
        port = self.addresses.ports["postgres_port"]
        password = self.keychain.postgres_password
        return PostgresCluster.open(self.layout.postgres, port, password, self.layout.log("postgres"))

    def _member(self, instance: str) -> Variables:
        # A named member takes its place back at once; a nameless one waits until its dead self is given up.
        # On real brokers somebody else's local stack may go by the same name, and two would oust each other.
        return {} if self.settings.kafka_bootstrap else {"KAFKA_GROUP_INSTANCE_ID": f"local-{instance}"}

    def _program(self, name: str, arguments: tuple[str, ...], variables: Variables) -> Program:
        return Program(
            name=name,
            arguments=(*self.command, *arguments),
            environment={**inherited_variables(self.values), **variables},
            log=self.layout.log(name),
            folder=self.layout.root,
            death_signal=signal.SIGKILL,
        )


class LocalStack:
    """One run of everything. `start` once; then `failed` may be awaited; `stop` always."""

    def __init__(self, plan: StackPlan, clock: Clock, say: Say) -> None:
        self._plan = plan
        self._clock = clock
        self._say = say
        self._services: list[KeptPart] = []
        self._roles: list[KeptPart] = []
        self._cluster: PostgresCluster | None = None

    async def start(self) -> Demo:
        """Start everything and return when every role is ready.

        Raises, in an `ExceptionGroup`, what kept it from that: `LocalError` when a part was given up.
        """
        self._plan.layout.demo.unlink(missing_ok=True)
        self._plan.layout.environment.unlink(missing_ok=True)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_kafka())
            group.create_task(self._start_chart_site())
            database = group.create_task(self._start_database())
        variables = self._plan.variables(database.result().owner)
        look_alike = not self._plan.settings.chart_origin
        demo = await ensure_demo(self._plan.keychain, variables, self._clock, look_alike=look_alike)
        write_private(self._plan.layout.environment, format_environment(variables))
        await self._start_roles(variables, database.result())
        write_private(self._plan.layout.demo, demo.to_json(self._plan.addresses))
        return demo

    async def failed(self) -> None:
        """Never returns; raises what made it impossible to keep a part running."""
        async with asyncio.TaskGroup() as group:
            for part in (*self._services, *self._roles):
                group.create_task(part.failed())

    async def stop(self) -> None:
        """Let the roles finish, then end the rest. Cancelled: what is being ended is killed at once."""
        self._plan.layout.demo.unlink(missing_ok=True)
        try:
            await _stop(self._roles)
        finally:
            try:
                await _stop(self._services)
            finally:
                self._plan.layout.environment.unlink(missing_ok=True)
                if self._cluster is not None:
                    self._cluster.close()

    async def _start_kafka(self) -> None:
        settings = self._plan.settings
        if not settings.kafka_bootstrap:
            await self._keep(self._plan.kafka(), self._services, SERVICE_STOP_DEADLINE_S).ready()
        variables = {**self._plan.values, **address_variables(settings, self._plan.addresses)}
        async with asyncio.timeout(_TOPICS_DEADLINE_S):
            await create_topics(load_section(KafkaSettings, variables))

    async def _start_chart_site(self) -> None:
        if not self._plan.settings.chart_origin:
            await self._keep(self._plan.chart_site(), self._services, SERVICE_STOP_DEADLINE_S).ready()

    async def _start_database(self) -> DatabaseUrls:
        chosen = self._plan.settings.database_url
        url = await self._start_cluster() if chosen is None else chosen.get_secret_value()
        async with asyncio.timeout(_MIGRATE_DEADLINE_S):
            await migrate(url)
            if chosen is not None:
                return DatabaseUrls(url, chosen_urls(self._plan.settings, url))
            logins = embedded_logins(self._plan.keychain)
            await ensure_logins(url, logins.values())
        return DatabaseUrls(url, {name: login.url(url) for name, login in logins.items()})

    async def _start_cluster(self) -> str:
        self._cluster = self._plan.postgres()
        await self._keep(self._cluster, self._services, SERVICE_STOP_DEADLINE_S).ready()
        return self._cluster.url()

    async def _start_roles(self, variables: Variables, database: DatabaseUrls) -> None:
        roles = [
            self._keep(
                self._plan.role(name, {**variables, **database.variables(name)}),
                self._roles,
                ROLE_STOP_DEADLINE_S,
            )
            for name in INSTANCES
        ]
        async with asyncio.TaskGroup() as group:
            for role in roles:
                group.create_task(role.ready())

    def _keep(self, part: Part, parts: list[KeptPart], stop_deadline_s: float) -> KeptPart:
        kept = KeptPart(part, self._clock, self._say, stop_deadline_s)
        parts.append(kept)
        rotate(self._plan.layout.log(part.name))
        kept.start()
        return kept


async def _stop(parts: Iterable[KeptPart]) -> None:
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(part.stop())
