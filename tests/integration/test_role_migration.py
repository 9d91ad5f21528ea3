"""Migrations by an owner who is no superuser, on a server that has other roles than we would make."""

import asyncio
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.keys import Access
from deploy.local.logins import Login, ensure_logins
from deploy.local.postgres import PostgresCluster
from sinks.migrate import migrate
from tests.support.api import pool_of
from tests.support.database_roles import (
    PASSWORD,
    furnished_tenant,
    visible_rows,
)
from tests.support.stack import ROOT, postgres_cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def bare_server() -> Iterator[PostgresCluster]:
    """A server on which nothing was migrated yet: it has none of the roles."""
    with postgres_cluster() as cluster:
        yield cluster


async def make_database(server: PostgresCluster, owner_options: str) -> str:
    """The URL of an empty database for its owner, who is new and no superuser."""
    name = f"owner_{secrets.token_hex(4)}"
    login = Login(name, "pg_monitor", PASSWORD)
    await ensure_logins(server.url("postgres"), [login])
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        await connection.execute(f"ALTER ROLE {name} {owner_options}")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(server.url(name))
    try:
        await connection.execute(f"ALTER SCHEMA public OWNER TO {name}")
    finally:
        await connection.close()
    return login.url(server.url(name))


async def administer(server: PostgresCluster, *statements: str) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def forget_roles(server: PostgresCluster) -> None:
    """Take the roles and every database that uses them away."""
    connection = await asyncpg.connect(server.url("postgres"))
    try:
        query = "SELECT datname FROM pg_database WHERE datname ~ '^owner_'"
        for row in await connection.fetch(query):
            await connection.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")
        for row in await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname ~ '^alerts_'"):
            await connection.execute(f"DROP ROLE {row['rolname']}")
    finally:
        await connection.close()


def statements_for_administrators(owner: str) -> list[str]:
    """What docs/database-roles.md tells an administrator to run when the owner may not make roles."""
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/database-roles.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "CREATE ROLE alerts_sink NOLOGIN" in block]
    return [line.replace("OWNER", owner) for line in block.strip().splitlines()]


async def migrate_apart(url: str) -> None:
    """In a process of its own: Alembic migrates one database at a time in a process."""
    alerts = str(Path(sys.executable).with_name("alerts"))
    environment = {"ALERTS_ENV_FILE": "", "DATABASE_URL": url}
    process = await asyncio.create_subprocess_exec(alerts, "migrate", env=environment)
    assert await process.wait() == 0


async def test_databases_of_one_server_may_migrate_at_once(bare_server: PostgresCluster) -> None:
    """None of them has the roles yet, and their owners may only make roles."""
    await forget_roles(bare_server)
    urls = [await make_database(bare_server, "CREATEROLE") for _database in range(3)]
    await asyncio.gather(*(migrate_apart(url) for url in urls))
    for url in urls:
        async with pool_of(url) as pool:
            assert await pool.fetchval("SELECT sees_every_tenant()")
            user_id = await furnished_tenant(pool)
            rows = await visible_rows(pool, Access(user_id), "SELECT user_id FROM signals")
            assert [row["user_id"] for row in rows] == [user_id]


async def test_an_owner_who_may_not_make_roles_is_told_what_to_do(bare_server: PostgresCluster) -> None:
    """Where the roles are missing, and where they are somebody else's; following it is enough."""
    await forget_roles(bare_server)
    url = await make_database(bare_server, "NOCREATEROLE")
    owner = urlsplit(url).username or ""
    *roles, to_owner = statements_for_administrators(owner)
    for missing, remedy in (("there is no role alerts_sink", roles), ("may not grant role", [to_owner])):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=missing) as error:
            await migrate(url)
        assert "docs/database-roles.md" in str(error.value)
        await administer(bare_server, *remedy)
    await migrate(url)
    async with pool_of(url) as pool:
        user_id = await furnished_tenant(pool)
        rows = await visible_rows(pool, Access(user_id), "SELECT user_id FROM signals")
        assert [row["user_id"] for row in rows] == [user_id]


@pytest.mark.parametrize(
    "made_before",
    [
        "CREATE ROLE alerts_reader BYPASSRLS",
        "CREATE ROLE alerts_sink SUPERUSER",
        "CREATE ROLE alerts_api INHERIT",
        "CREATE ROLE alerts_platform_reader; CREATE ROLE alerts_reader IN ROLE alerts_platform_reader",
    ],
)
async def test_a_role_that_sees_too_much_is_not_taken(bare_server: PostgresCluster, made_before: str) -> None:
    """A role of that name that was made otherwise would be a hole nobody notices."""
    await forget_roles(bare_server)
    url = await make_database(bare_server, "CREATEROLE")
    await administer(bare_server, made_before)
    with pytest.raises(asyncpg.InvalidRoleSpecificationError, match="then migrate again"):
        await migrate(url)
