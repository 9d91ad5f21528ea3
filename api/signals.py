"""`GET /api/users/{user_id}/signals` and `GET /api/signals/{signal_id}`."""

import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from aiohttp import web

from api.database import read_visible_rows
from api.dependencies import DEPENDENCIES, ApiDependencies
from api.items import item_of
from api.keys import Access
from api.problems import INVALID_CURSOR, INVALID_LIMIT, NOT_FOUND, UNAUTHORIZED, Problem, RefusedError
from runtime.errors import InvalidError
from runtime.operations import json_response
from runtime.sql import load_queries

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200

_QUERIES: Final = load_queries("api", "signals.sql")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LIMIT: Final = re.compile(r"[0-9]{1,3}")
_ABOVE_EVERY_ID: Final = UUID(int=2**128 - 1)


async def list_signals(request: web.Request) -> web.Response:
    """One page of a user's stored signals, newest first. Raises `RefusedError`."""
    dependencies = request.app[DEPENDENCIES]
    access = await _access(request, dependencies)
    user_id = _path_id(request, "user_id")
    if not access.covers(user_id):
        raise RefusedError(NOT_FOUND)
    limit, before = _limit(request), _position(request, dependencies, user_id)
    # one row more than asked for tells whether there is another page
    rows = await _read(dependencies, access, "signals_of_user", user_id, before, limit + 1)
    if not rows and not await _read(dependencies, access, "known_user", user_id):
        raise RefusedError(NOT_FOUND)
    return json_response(_page(rows, limit, dependencies))


async def show_signal(request: web.Request) -> web.Response:
    """One signal, parked or not. Raises `RefusedError`: 404 alike for unknown, malformed and not allowed."""
    dependencies = request.app[DEPENDENCIES]
    access = await _access(request, dependencies)
    signal_id = _path_id(request, "signal_id")
    rows = await _read(dependencies, access, "signal_by_id", signal_id, access.user_id)
    if not rows:
        raise RefusedError(NOT_FOUND)
    return json_response(item_of(rows[0], dependencies.links.mint))


async def _access(request: web.Request, dependencies: ApiDependencies) -> Access:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    access = await dependencies.keys.access(key.strip()) if scheme.lower() == "bearer" else None
    if access is None:
        raise RefusedError(UNAUTHORIZED)
    return access


async def _read(dependencies: ApiDependencies, access: Access, query: str, *values: object) -> Sequence[Any]:
    return await read_visible_rows(dependencies.pool, access.opening, _QUERIES[query], *values)


def _page(rows: Sequence[Any], limit: int, dependencies: ApiDependencies) -> dict[str, object]:
    shown = rows[:limit]
    last = shown[-1] if len(rows) > limit else None
    return {
        "items": [item_of(row, dependencies.links.mint) for row in shown],
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
