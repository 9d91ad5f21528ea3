"""The address of the client behind the proxies that are trusted."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from runtime.addresses import AddressList, parse_address

MAX_HOPS: Final = 16
MAX_ITEM_CHARACTERS: Final = 64
_MAX_PORT: Final = 65_535
_BLANKS: Final = " \t"
_ITEMS_KEPT: Final = 8_192


def client_address(peer: str, forwarded_for: Sequence[str], trusted: AddressList) -> str:
    """The nearest address that no trusted proxy vouches to be a proxy of ours.

    `peer` is the other end of the connection, `forwarded_for` the X-Forwarded-For lines in the order they
    came. Each proxy adds the address it saw at the right, so the walk goes from there to the left, only
    past trusted proxies, at most `MAX_HOPS` of them. What is no address ends it at the last of them:
    further left may be anything, since only the sender of that item could have said what it means.
    """
    client = peer
    hops = islice(_items_from_the_right(forwarded_for), MAX_HOPS)
    while trusted.contains(client):
        item = next(hops, "")
        hop = _hop_address(item) if len(item) <= MAX_ITEM_CHARACTERS else None
        if hop is None:
            break
        client = hop
    return client


def _items_from_the_right(lines: Sequence[str]) -> Iterator[str]:
    for line in reversed(lines):
        # What is left of the last hops is never split: a long header costs no more than a short one.
        yield from reversed(line.rsplit(",", MAX_HOPS))


@lru_cache(maxsize=_ITEMS_KEPT)
def _hop_address(item: str) -> str | None:
    """The address in an item such as `1.2.3.4`, `1.2.3.4:567`, `::1` or `[::1]:80`, else None."""
    host = _without_port(item.strip(_BLANKS))
    address = None if host is None or "%" in host else parse_address(host)
    return None if address is None else str(address)


def _without_port(item: str) -> str | None:
    if item.startswith("["):
        host, bracket, rest = item[1:].partition("]")
        # Brackets are for IPv6 alone.
        valid = bracket and ":" in host and (not rest or (rest[0] == ":" and _is_port(rest[1:])))
        return host if valid else None
    if item.count(":") != 1:
        return item
    host, _, port = item.partition(":")
    return host if _is_port(port) else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and int(text) <= _MAX_PORT
