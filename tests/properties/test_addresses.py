"""Address lists against the standard library, network by network."""

from ipaddress import IPv4Network, IPv6Network, ip_address

from hypothesis import given
from hypothesis import strategies as st

from runtime.addresses import Network, parse_list

# Few high bits, so that addresses fall into networks, and any prefix length.
IPV4 = st.builds(
    lambda value, prefix: IPv4Network((value << 24 & -1 << (32 - prefix), prefix)),
    st.integers(0, 7),
    st.integers(0, 32),
)
IPV6 = st.builds(
    lambda value, prefix: IPv6Network((value << 120 & -1 << (128 - prefix), prefix)),
    st.integers(0, 7),
    st.integers(0, 128),
)
ADDRESSES = st.one_of(
    st.builds(lambda high, low: ip_address(high << 24 | low), st.integers(0, 7), st.integers(0, 3)),
    st.builds(lambda high, low: ip_address(high << 120 | low), st.integers(1, 7), st.integers(0, 3)),
)


@given(networks=st.lists(st.one_of(IPV4, IPV6), min_size=1, max_size=8), address=ADDRESSES)
def test_a_list_allows_what_one_of_its_networks_holds(networks: list[Network], address: object) -> None:
    """Whatever the mixture of kinds and prefix lengths."""
    allowed = parse_list([str(network) for network in networks])
    assert allowed.allows(str(address)) == any(address in network for network in networks)
