"""Chart ids. Pure."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final
from urllib.parse import unquote_plus

from processors.characters import bare, trimmed
from processors.patterns import atomic
from processors.reading import Outcome
from schemas.records import Warning_

_ID: Final = re.compile(r"[A-Za-z0-9]{4,32}")
# `/chart/<symbol>/<id>-<title>/` is a published idea, not a chart
_LINK: Final = re.compile(
    r"(?<![\w-])tradingview\.com/chart/" + atomic(r"[\w%-]{1,256}", "id") + r"(?!/[\w%-])",
    re.IGNORECASE | re.ASCII,
)
_MOST_LINKS: Final = 64


def choose_chart(query: str, keys: Iterable[str], texts: Iterable[str], default: str | None) -> Outcome[str]:
    """The first valid id of `?chart=`, a chart key, a chart's link in the text and the tenant's default.

    `query` is the raw query string. `invalid_chart` if anything was passed over.
    """
    warning = None
    for candidate in _candidates(query, keys, texts, default):
        if _ID.fullmatch(candidate):
            return Outcome(candidate, warning)
        warning = Warning_.INVALID_CHART
    return Outcome(None, warning)


def _candidates(query: str, keys: Iterable[str], texts: Iterable[str], default: str | None) -> Iterator[str]:
    for value in _charts_of_query(query):
        yield _id_of(value)
    for value in keys:
        yield _id_of(bare(value))
    for text in texts:
        if "/chart/" in text:
            yield from (found[1] for found in islice(_LINK.finditer(text), _MOST_LINKS))
    if default:
        yield default


def _charts_of_query(query: str) -> Iterator[str]:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) == "chart" and (chart := trimmed(unquote_plus(value))):
            yield chart


def _id_of(value: str) -> str:
    found = _LINK.search(value)
    return found[1] if found else value
