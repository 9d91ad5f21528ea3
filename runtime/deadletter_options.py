"""Which dead letters a command is about, as options of the command line."""

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Final
from uuid import UUID

import click

from runtime.clock import SystemClock, utc_now
from runtime.deadletter_log import DeadLetterLog, LetterFilter, Place, Span, StoredLetter

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class MomentType(click.ParamType):
    """A time, UTC unless it says otherwise, or an age such as `90m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if age := re.fullmatch(r"(\d{1,6})([smhd])", value, re.ASCII):
                return utc_now(SystemClock()) - timedelta(**{_UNITS[age[2]]: int(age[1])})
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time (2026-03-14T09:26) nor an age (90m, 2h, 7d)", param, ctx)


class PlaceType(click.ParamType):
    """PARTITION:OFFSET, as the list shows it."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, Place):
            return value
        if not (place := re.fullmatch(r"(\d{1,9}):(\d{1,18})", value, re.ASCII)):
            self.fail(f"{value!r} is not PARTITION:OFFSET", param, ctx)
        return Place(int(place[1]), int(place[2]))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters a command is about."""

    wanted: LetterFilter
    first: Place | None
    limit: int | None

    async def spans(self, log: DeadLetterLog) -> list[Span]:
        """Where such letters may lie now."""
        return await log.spans(self.first, self.wanted.since)

    async def letters(self, log: DeadLetterLog, spans: Iterable[Span]) -> AsyncGenerator[StoredLetter, None]:
        left = self.limit
        async with aclosing(log.read(list(spans))) as read:
            async for letter in read:
                if not self.wanted.matches(letter):
                    continue
                yield letter
                left = None if left is None else left - 1
                if left == 0:
                    return


_FILTERS: Final = (
    click.option("--reason", "reasons", multiple=True, help="reason code; may be repeated"),
    click.option("--stage", "stages", multiple=True, help="stage that failed; may be repeated"),
    click.option("--topic", "topics", multiple=True, help="topic of the original; may be repeated"),
    click.option("--since", type=MomentType(), help="died at or after this time, or at most this long ago"),
    click.option("--until", type=MomentType(), help="died before this time, or longer ago than this"),
    click.option("--tenant", type=click.UUID, metavar="USER_ID", help="whose record it was"),
    click.option("--from", "first", type=PlaceType(), help="skip all letters before this place"),
)


def selecting(limit: int | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that select letters, handed on as one `Selection`. `limit` is the default of --limit."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def collect(*args: Any, **options: Any) -> None:
            names = ("reasons", "stages", "topics", "since", "until", "tenant", "first", "limit")
            function(*args, selection=_selection({name: options.pop(name) for name in names}), **options)

        decorated = click.option(
            "--limit",
            type=click.IntRange(1),
            default=limit,
            show_default=True,
            help="at most so many letters",
        )(collect)
        for option in reversed(_FILTERS):
            decorated = option(decorated)
        return decorated

    return decorate


def _selection(options: Mapping[str, Any]) -> Selection:
    since, until = options["since"], options["until"]
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    user_id: UUID | None = options["tenant"]
    kinds = {name: frozenset(options[name]) for name in ("reasons", "stages", "topics")}
    wanted = LetterFilter(**kinds, since=since, until=until, user_id=user_id)
    return Selection(wanted, options["first"], options["limit"])
