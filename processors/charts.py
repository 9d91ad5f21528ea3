"""Chart ids. Pure."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
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
_LONGEST_KEPT: Final = 256


def choose_chart(query: str, keys: Iterable[str], texts: Iterable[str], default: str | None) -> Outcome[str]:
    """The first valid id of `?chart=`, a chart key, a chart's link in the text and the tenant's default.

    `query` is the raw query string. `invalid_chart` if anything was passed over.
    """
    chosen = _kept_query(query) if len(query) <= _LONGEST_KEPT else _first_valid(_ids_of_query(query))
    if chosen.value is not None:
        return chosen
    found = _first_valid(_candidates(keys, texts, default))
    return found if chosen.warning is None else Outcome(found.value, chosen.warning)


def _first_valid(candidates: Iterable[str]) -> Outcome[str]:
    warning = None
    for candidate in candidates:
        if _ID.fullmatch(candidate):
            return Outcome(candidate, warning)
        warning = Warning_.INVALID_CHART
    return Outcome(None, warning)


def _candidates(keys: Iterable[str], texts: Iterable[str], default: str | None) -> Iterator[str]:
    for value in keys:
        yield _id_of(bare(value))
    for text in texts:
        if "/chart/" in text:
            yield from (found[1] for found in islice(_LINK.finditer(text), _MOST_LINKS))
    if default:
        yield default


def _ids_of_query(query: str) -> Iterator[str]:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if unquote_plus(name) == "chart" and (chart := trimmed(unquote_plus(value))):
            yield _id_of(chart)


@lru_cache(maxsize=4096)
def _kept_query(query: str) -> Outcome[str]:
    """A tenant's alerts come to few addresses."""
    return _first_valid(_ids_of_query(query))


def _id_of(value: str) -> str:
    found = _LINK.search(value)
    return found[1] if found else value
