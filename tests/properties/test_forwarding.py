"""No untrusted party chooses the address that counts."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.forwarding import MAX_HOPS, client_address
from runtime.addresses import parse_list

TRUSTED = parse_list(["10.0.0.0/8", "2001:db8::/32"])

PROXIES = st.one_of(
    st.integers(0, 255).map(lambda low: str(IPv4Address((10 << 24) + low))),
    st.integers(0, 255).map(lambda low: str(IPv6Address((0x2001_0DB8 << 96) + low))),
)
STRANGERS = st.one_of(
    st.integers(0, 255).map(lambda low: str(IPv4Address((203 << 24) + low))),
    st.integers(0, 255).map(lambda low: str(IPv6Address((0x2001_0DB9 << 96) + low))),
)
# What a client may send ahead: addresses of proxies and of others, lists, and anything else.
CLAIMS = st.lists(
    st.one_of(
        PROXIES,
        STRANGERS,
        st.text(max_size=40),
        st.text(alphabet="0123456789.:,[] %\tabcdef", max_size=60),
        st.lists(st.one_of(PROXIES, STRANGERS, st.just("")), max_size=6).map(",".join),
    ),
    max_size=4,
)
WAYS = st.sampled_from(["item", "tight item", "line", "with port"])


def added(lines: list[str], seen: str, way: str) -> list[str]:
    """What a proxy passes on: all that came, and the address it saw behind it."""
    item = f"[{seen}]:80" if ":" in seen else f"{seen}:80"
    item = item if way == "with port" else seen
    if way == "line" or not lines:
        return [*lines, item]
    return [*lines[:-1], lines[-1] + ("," if way == "tight item" else ", ") + item]


@given(
    claims=CLAIMS,
    client=STRANGERS,
    proxies=st.lists(st.tuples(PROXIES, WAYS), min_size=1, max_size=MAX_HOPS),
)
@settings(max_examples=300)
def test_it_is_the_address_that_the_outermost_proxy_saw(
    claims: list[str], client: str, proxies: list[tuple[str, str]]
) -> None:
    """Whatever the client sent ahead, and however each proxy adds what it saw."""
    lines, seen = claims, client
    for proxy, way in proxies:
        lines, seen = added(lines, seen, way), proxy
    assert client_address(seen, lines, TRUSTED) == client


@given(claims=CLAIMS, client=STRANGERS)
def test_a_client_without_a_proxy_is_itself(claims: list[str], client: str) -> None:
    """Its own header changes nothing."""
    assert client_address(client, claims, TRUSTED) == client


@given(claims=CLAIMS, mumble=st.sampled_from(["unknown", "", "_x", "10.0.0", "1.1.1.1.1"]), proxy=PROXIES)
def test_behind_a_proxy_that_names_nobody_it_is_the_proxy(claims: list[str], mumble: str, proxy: str) -> None:
    """What the client sent ahead is not taken for the answer that is missing."""
    lines = added(added(claims, mumble, "item"), proxy, "item")
    assert client_address("10.9.9.9", lines, TRUSTED) == proxy
