import contextlib
import socket
from collections.abc import Iterator

import pytest

from deploy.local.ports import Ports, PortTakenError, PortWish, is_free


@pytest.fixture
def ports() -> Iterator[Ports]:
    with contextlib.closing(Ports()) as ports:
        yield ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_default_is_used_when_it_is_free(ports: Ports, taken: int) -> None:
    """The next port after a taken one is as good as any default."""
    free = ports.grant(PortWish("API_PORT", taken + 1))
    assert free > taken
    assert is_free(free)


def test_a_taken_default_gives_way_to_the_next_free_port(ports: Ports, taken: int) -> None:
    """Nobody asked for the default, so another one will do."""
    assert ports.grant(PortWish("API_PORT", taken)) > taken


def test_a_taken_choice_is_an_error_that_names_the_variable(ports: Ports, taken: int) -> None:
    """A person asked for exactly this port."""
    with pytest.raises(PortTakenError, match=f"API_PORT={taken}: this port is taken"):
        ports.grant(PortWish("API_PORT", 8081, chosen=taken))


def test_a_free_choice_is_granted(ports: Ports) -> None:
    """The default does not matter then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert ports.grant(PortWish("API_PORT", 8081, chosen=port)) == port


def test_two_stacks_never_get_the_same_port(ports: Ports, taken: int) -> None:
    """Also before either of them listens on it."""
    with contextlib.closing(Ports()) as other:
        wish = PortWish("API_PORT", taken)
        granted = [ports.grant(wish), other.grant(wish), ports.grant(wish)]
    assert len(set(granted)) == 3


def test_closing_gives_the_ports_back(ports: Ports, taken: int) -> None:
    """The next run of the same clone finds its ports free."""
    with contextlib.closing(Ports()) as other:
        port = other.grant(PortWish("API_PORT", taken))
    assert ports.grant(PortWish("API_PORT", 8081, chosen=port)) == port


def test_a_port_taken_on_all_addresses_is_taken(taken: int) -> None:
    """A server on one address is in the way of one on all."""
    assert not is_free(taken, "0.0.0.0")
