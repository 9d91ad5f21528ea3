"""Whose address counts."""

import pytest

from ingest.forwarding import MAX_HOPS, client_address
from runtime.addresses import parse_list

CLIENT = "52.89.214.238"
EDGE = "10.0.0.7"
INNER = "127.0.0.1"
TRUSTED = parse_list(["10.0.0.0/8", INNER, "2001:db8::/32"])


def test_without_trusted_proxies_it_is_the_peer() -> None:
    """Whatever the header says: anybody can send one."""
    assert client_address(INNER, [CLIENT], parse_list([])) == INNER


def test_a_stranger_is_not_believed() -> None:
    """The header of a peer that is no proxy of ours does not count."""
    assert client_address("203.0.113.9", [CLIENT], TRUSTED) == "203.0.113.9"


def test_a_trusted_proxy_is_believed() -> None:
    """What it adds is the address it saw."""
    assert client_address(INNER, [CLIENT], TRUSTED) == CLIENT


def test_a_spoofed_item_is_left_of_the_true_one() -> None:
    """A client that claims to be TradingView is the address that our proxy saw."""
    assert client_address(EDGE, [f"{CLIENT}, 203.0.113.9"], TRUSTED) == "203.0.113.9"


def test_the_walk_passes_every_trusted_proxy() -> None:
    """Two proxies in a row, with what the client sent before them."""
    assert client_address(INNER, [f"1.1.1.1, {CLIENT}, {EDGE}"], TRUSTED) == CLIENT


def test_header_lines_are_one_list_in_their_order() -> None:
    """Some proxies add a line of their own instead of an item."""
    assert client_address(INNER, ["1.1.1.1", CLIENT, EDGE], TRUSTED) == CLIENT
    assert client_address(INNER, [f"{CLIENT},{EDGE}", f"{EDGE} , {EDGE}"], TRUSTED) == CLIENT


def test_when_all_are_trusted_it_is_the_farthest() -> None:
    """A call from inside, such as a check of our own."""
    assert client_address(INNER, ["10.0.0.1, 10.0.0.2"], TRUSTED) == "10.0.0.1"
    assert client_address(INNER, [], TRUSTED) == INNER


@pytest.mark.parametrize(
    ("item", "address"),
    [
        ("52.89.214.238:567", CLIENT),
        ("\t52.89.214.238 ", CLIENT),
        ("::ffff:52.89.214.238", CLIENT),
        ("[::ffff:52.89.214.238]:80", CLIENT),
        ("2001:DB9::1", "2001:db9::1"),
        ("[2001:db9:0::1]", "2001:db9::1"),
        ("[2001:db9::1]:65535", "2001:db9::1"),
    ],
)
def test_an_item_may_have_a_port(item: str, address: str) -> None:
    """Ports and brackets are taken off, and each address is written in one way."""
    assert client_address(INNER, [item], TRUSTED) == address


@pytest.mark.parametrize(
    "item",
    [
        "",
        "  ",
        "unknown",
        "_hidden",
        "52.89.214",
        "52.89.214.238:",
        "52.89.214.238:65536",
        "52.89.214.238:8a",
        "52.89.214.238:٨",
        "52.89.214.238 52.89.214.238",
        '"52.89.214.238"',
        "[52.89.214.238]",
        "[52.89.214.238]:80",
        "[::1",
        "[::1]80",
        "[::1]:",
        "[]",
        "::1]",
        "fe80::1%eth0",
        "for=52.89.214.238",
        "52.89.214.238;",
        "0" * 5_000,
        " " * 5_000 + CLIENT,
        "52.89.214.238\x00",
    ],
)
def test_what_is_no_address_ends_the_walk_at_the_last_trusted_proxy(item: str) -> None:
    """What stands further left is no proxy's word any more."""
    assert client_address(INNER, [f"{CLIENT}, {item}, {EDGE}"], TRUSTED) == EDGE


def test_a_long_chain_ends_the_walk() -> None:
    """No header makes us work without end; the answer is then a proxy of ours, on no tenant's list."""
    hops = [f"10.0.0.{number}" for number in range(MAX_HOPS)]
    assert client_address(INNER, [", ".join([CLIENT, *hops[1:]])], TRUSTED) == CLIENT
    assert client_address(INNER, [", ".join([CLIENT, *hops])], TRUSTED) == hops[0]
    assert client_address(INNER, [CLIENT, *hops], TRUSTED) == hops[0]


def test_only_the_last_items_are_looked_at() -> None:
    """A header of a megabyte is not taken apart."""
    line = "," * 1_000_000 + f"{CLIENT},{EDGE}"
    assert client_address(INNER, [line], TRUSTED) == CLIENT
