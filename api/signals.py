"""`GET /api/users/{user_id}/signals` and `GET /api/signals/{signal_id}`."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from api.database import read_visible_rows, reading
from api.dependencies import DEPENDENCIES, ApiDependencies
from api.items import item_of
from api.keys import Access, find_access, key_hash
from api.problems import INVALID_CURSOR, INVALID_LIMIT, NOT_FOUND, UNAUTHORIZED, Problem, RefusedError
from runtime.errors import InvalidError
from runtime.operations import json_response
from runtime.postgres import Connection
from runtime.sql import load_queries

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200

_QUERIES: Final = load_queries("api", "signals.sql")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LIMIT: Final = re.compile(r"[0-9]{1,3}")
_ABOVE_EVERY_ID: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Reader:
    """The holder of a key, on a connection: whatever is read shows no more than the key allows."""

    connection: Connection
    access: Access

    async def rows(self, query: str, *values: object) -> Sequence[Any]:
        return await read_visible_rows(self.connection, self.access.opening, _QUERIES[query], *values)


async def list_signals(request: web.Request) -> web.Response:
    """One page of a user's stored signals, newest first. Raises `RefusedError`."""
    dependencies = request.app[DEPENDENCIES]
    async with _reader(request, dependencies) as reader:
        user_id = _path_id(request, "user_id")
        if not reader.access.covers(user_id):
            raise RefusedError(NOT_FOUND)
        limit, before = _limit(request), _position(request, dependencies, user_id)
        # one row more than asked for tells whether there is another page
        rows = await reader.rows("signals_of_user", user_id, before, limit + 1)
        if not rows and not await reader.rows("known_user", user_id):
            raise RefusedError(NOT_FOUND)
    return json_response(_page(rows, limit, dependencies))


async def show_signal(request: web.Request) -> web.Response:
    """One signal, parked or not. Raises `RefusedError`: 404 alike for unknown, malformed and not allowed."""
    dependencies = request.app[DEPENDENCIES]
    async with _reader(request, dependencies) as reader:
        rows = await reader.rows("signal_by_id", _path_id(request, "signal_id"), reader.access.user_id)
    if not rows:
        raise RefusedError(NOT_FOUND)
    return json_response(item_of(rows[0], dependencies.links.mint_kept))


@asynccontextmanager
async def _reader(request: web.Request, dependencies: ApiDependencies) -> AsyncIterator[Reader]:
    """Raises `RefusedError` for a missing or wrong key; what cannot be a key takes no connection."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    hashed = key_hash(key.strip()) if scheme.lower() == "bearer" else None
    if hashed is None:
        raise RefusedError(UNAUTHORIZED)
    async with reading(dependencies.pool) as connection:
        access = await find_access(connection, hashed)
        if access is None:
            raise RefusedError(UNAUTHORIZED)
        yield Reader(connection, access)


def _page(rows: Sequence[Any], limit: int, dependencies: ApiDependencies) -> dict[str, object]:
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return {
        "items": [item_of(row, dependencies.links.mint_kept) for row in shown],
        "next_cursor": dependencies.cursors.seal(last["user_id"], last["id"]) if last else None,
    }


def _path_id(request: web.Request, name: str) -> UUID:
    text = request.match_info[name]
    if _UUID.fullmatch(text) is None:
        raise RefusedError(NOT_FOUND)
    return UUID(text)


def _limit(request: web.Request) -> int:
    text = _parameter(request, "limit", INVALID_LIMIT)
    if not text:
        return LIMIT_DEFAULT
    if _LIMIT.fullmatch(text) is None or not 1 <= int(text) <= LIMIT_MAX:
        raise RefusedError(INVALID_LIMIT)
    return int(text)


def _position(request: web.Request, dependencies: ApiDependencies, user_id: UUID) -> UUID:
    """The id before which the page begins."""
    cursor = _parameter(request, "cursor", INVALID_CURSOR)
    if not cursor:
        return _ABOVE_EVERY_ID
    try:
        return dependencies.cursors.open(cursor, user_id)
    except InvalidError as error:
        raise RefusedError(INVALID_CURSOR) from error


def _parameter(request: web.Request, name: str, problem: Problem) -> str:
    """The value of a parameter, empty when it is absent. Given twice, it is a mistake."""
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise RefusedError(problem)
    return values[0] if values else ""
