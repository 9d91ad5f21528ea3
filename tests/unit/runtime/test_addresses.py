"""Lists of addresses: what they hold and what is no list."""

import pytest

from runtime.addresses import (
    INVALID_ADDRESS,
    KNOWN_SENDERS,
    MAX_ENTRIES,
    TOO_MANY_ADDRESSES,
    AddressList,
    parse_address,
    parse_list,
)
from runtime.errors import InvalidError

TRADINGVIEW = "52.89.214.238"


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("203.0.113.6/31", "203.0.113.7", "203.0.113.5"),
        ("2001:db8::1", "2001:DB8:0:0::1", "2001:db8::2"),
        ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
        ("::/0", "2001:db8::1", "203.0.113.7"),
        ("::1", "::1", "0.0.0.1"),
        ("  203.0.113.7 ", "203.0.113.7", "203.0.113.6"),
        ("TradingView", TRADINGVIEW, "52.89.214.239"),
    ],
)
def test_an_entry_allows_its_addresses_only(entry: str, inside: str, outside: str) -> None:
    """Networks, single addresses and names, of both kinds of IP."""
    allowed = parse_list([entry])
    assert [allowed.allows(inside), allowed.allows(outside)] == [True, False]


def test_every_entry_counts() -> None:
    """A list of several allows what any of them does."""
    allowed = parse_list(["tradingview", "203.0.113.0/24", "198.51.100.0/24", "2001:db8::1"])
    inside = [*KNOWN_SENDERS["tradingview"], "203.0.113.9", "198.51.100.9", "2001:db8::1"]
    assert [allowed.allows(address) for address in inside] == [True] * 7
    assert not allowed.allows("192.0.2.1")


@pytest.mark.parametrize("entry", ["203.0.113.7", "::ffff:203.0.113.7", "::ffff:203.0.113.0/120"])
@pytest.mark.parametrize("address", ["203.0.113.7", "::ffff:203.0.113.7", "::FFFF:cb00:7107"])
def test_an_ipv4_client_is_one_on_an_ipv6_socket_too(entry: str, address: str) -> None:
    """A socket of both kinds shows IPv4 clients inside IPv6; lists may be written that way as well."""
    assert parse_list([entry]).allows(address)
    assert not parse_list([entry]).allows("::ffff:203.0.112.7")


def test_the_empty_list_allows_everybody_and_contains_nobody() -> None:
    """A tenant without a list takes alerts from anywhere; without trusted proxies there are none."""
    nobody = parse_list([])
    assert [nobody.allows("203.0.113.7"), nobody.allows("")] == [True, True]
    assert [nobody.contains("203.0.113.7"), bool(nobody)] == [False, False]


@pytest.mark.parametrize(
    "address", ["", "localhost", "203.0.113", "203.0.113.7:80", "1" * 10_000, "01.2.3.4"]
)
def test_what_is_no_address_is_on_no_list(address: str) -> None:
    """Not even on the list of all addresses."""
    assert not parse_list(["0.0.0.0/0", "::/0"]).allows(address)
    assert parse_address(address) is None


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "   ",
        "localhost",
        "tradingviews",
        "tradingview/32",
        "203.0.113",
        "203.0.113.256",
        "203.0.113.07",
        "203.0.113.7/24",
        "203.0.113.0/33",
        "203.0.113.0/-1",
        "203.0.113.0/",
        "203.0.113.0/255.255.255.0",
        "203.0.113.0/0.0.0.255",
        "203.0.113.0/٢٤",
        "203.0.113.0-203.0.113.9",
        "203.0.113.7,203.0.113.8",
        "203.0.113.7:80",
        "[::1]",
        "fe80::1%eth0",
        "::ffff:203.0.113.7/120",
        "3405803783",
        "9" * 5_000,
    ],
)
def test_nonsense_is_named(entry: str) -> None:
    """Each time it is met; a list with one bad entry is no list."""
    for _ in range(2):
        with pytest.raises(InvalidError) as caught:
            parse_list(["tradingview", entry, "also bad"])
        assert caught.value.reason == INVALID_ADDRESS
        assert repr(entry[:128]) in str(caught.value)


def test_a_list_has_a_size() -> None:
    """What one tenant may have in memory is bounded."""
    entries = [f"10.0.0.{number}" for number in range(MAX_ENTRIES + 1)]
    assert parse_list(entries[:-1]).allows("10.0.0.99")
    with pytest.raises(InvalidError) as caught:
        parse_list(entries)
    assert caught.value.reason == TOO_MANY_ADDRESSES


def test_a_list_is_compiled_once() -> None:
    """Tenants with the same list share it, and a call costs no parsing."""
    assert parse_list(["tradingview", "10.0.0.0/8"]) is parse_list(["tradingview", "10.0.0.0/8"])
    assert parse_list(["tradingview"]) is not parse_list(["tradingview", "10.0.0.0/8"])


def test_tradingview_sends_from_four_addresses() -> None:
    """As published: a fifth would let a stranger in, a missing one would lose alerts for good."""
    tradingview = parse_list(["tradingview"])
    published = ["52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7"]
    assert [tradingview.allows(address) for address in published] == [True] * 4
    assert len(KNOWN_SENDERS["tradingview"]) == 4


def test_a_list_of_nothing_is_the_default() -> None:
    """For whoever has no list at all."""
    assert AddressList().allows("203.0.113.7")
