"""Lists of addresses: who may send to a tenant, and which proxies are believed."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from runtime.errors import InvalidError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

KNOWN_SENDERS: Final[dict[str, tuple[str, ...]]] = {
    # All of TradingView's customers share these, and it sends over IPv4 only. Published at
    # https://www.tradingview.com/support/solutions/43000529348/, read in November 2026.
    "tradingview": ("52.89.214.238", "34.212.75.30", "54.218.53.128", "52.32.178.7"),
}
"""Names that may stand in a list for the addresses a sender publishes."""

MAX_ENTRIES: Final = 100
INVALID_ADDRESS: Final = "invalid_address"
TOO_MANY_ADDRESSES: Final = "too_many_addresses"

_LONGEST_ADDRESS: Final = 64
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_LISTS_KEPT: Final = 4_096
_ADDRESSES_KEPT: Final = 8_192


class AddressList:
    """Networks, ready to be asked. Both ways of writing an IPv4 address mean the same client."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        by_shape: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            host_bits = network.max_prefixlen - network.prefixlen
            shape = (network.version, host_bits)
            by_shape.setdefault(shape, set()).add(int(network.network_address) >> host_bits)
        self._networks = tuple((*shape, frozenset(found)) for shape, found in by_shape.items())

    def __bool__(self) -> bool:
        return bool(self._networks)

    def contains(self, address: str) -> bool:
        """Whether the address is in one of the networks. What is no address is in none."""
        version, value = _version_and_value(address)
        for of_version, host_bits, found in self._networks:
            if version == of_version and value >> host_bits in found:
                return True
        return False

    def allows(self, address: str) -> bool:
        """As `contains`, but an empty list allows everybody."""
        return not self._networks or self.contains(address)


def parse_list(entries: Sequence[str]) -> AddressList:
    """Compile CIDR networks, single addresses and names of `KNOWN_SENDERS`. The same list is compiled once.

    Raises `InvalidError` with the first entry that is none of these, host bits beside a prefix included,
    or when there are more than `MAX_ENTRIES`.
    """
    if len(entries) > MAX_ENTRIES:
        raise InvalidError(TOO_MANY_ADDRESSES, f"{len(entries)} entries, at most {MAX_ENTRIES}")
    compiled = _compiled(tuple(entries))
    if isinstance(compiled, str):
        raise InvalidError(INVALID_ADDRESS, f"not a network, address or known sender: {compiled!r}")
    return compiled


def parse_address(text: str) -> Address | None:
    """An address as one client has one: an IPv4 address inside IPv6 becomes IPv4. None if it is none."""
    if len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=_ADDRESSES_KEPT)
def _version_and_value(text: str) -> tuple[int, int]:
    address = parse_address(text)
    return (0, 0) if address is None else (address.version, int(address))


@lru_cache(maxsize=_LISTS_KEPT)
def _compiled(entries: tuple[str, ...]) -> AddressList | str:
    """The list, or its first bad entry: also what is wrong is found out only once."""
    networks: list[Network] = []
    for entry in entries:
        found = _networks(entry.strip())
        if not found:
            return entry[: 2 * _LONGEST_ADDRESS]
        networks += found
    return AddressList(networks)


def _networks(entry: str) -> list[Network]:
    addresses = KNOWN_SENDERS.get(entry.lower(), (entry,))
    networks = [_network(address) for address in addresses]
    return [network for network in networks if network is not None]


def _network(text: str) -> Network | None:
    prefix = text.partition("/")[2]
    # A netmask after the slash can be read in two ways, and the zone of an address means nothing elsewhere.
    if "%" in text or len(text) > _LONGEST_ADDRESS or ("/" in text and not prefix.isdecimal()):
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return _unmapped(network)
    return network


def _unmapped(network: IPv6Network) -> IPv4Network:
    low_bits = int(network.network_address) & 0xFFFF_FFFF
    return IPv4Network((low_bits, network.prefixlen - _MAPPED.prefixlen))
