"""Which ports the tests give to the servers they start."""

import socket
from contextlib import closing

import pytest

from deploy.local.ports import Ports
from tests.support import stack

LOWEST_OF_THE_KERNEL = 32_768


def test_processes_of_one_run_share_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is free between being chosen and being listened on: another process must not choose it then."""
    given: list[set[int]] = []
    for process in range(4):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{process}")
        stack._port_numbers.cache_clear()
        with closing(Ports()) as ports:
            given.append({stack.free_port(ports) for _ in range(200)})
    monkeypatch.undo()
    stack._port_numbers.cache_clear()
    assert len(set().union(*given)) == sum(map(len, given)) == 4 * 200
    assert max(set().union(*given)) < LOWEST_OF_THE_KERNEL


def test_a_process_gives_each_port_once_before_it_begins_again() -> None:
    """Also a port that nobody reserves any longer: a program may be about to listen on it."""
    given = [port_of_a_call() for _ in range(200)]
    assert len(set(given)) == len(given)


def test_a_port_in_use_is_passed_over_and_the_next_one_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of this process may still listen on a port when its number comes round again."""
    taken, *free = (port_of_a_call() for _ in range(3))
    numbers = iter([taken, *free])
    monkeypatch.setattr(stack, "_port_numbers", lambda: numbers)
    with socket.create_server(("127.0.0.1", taken)):
        assert [port_of_a_call() for _ in free] == free


def port_of_a_call() -> int:
    with closing(Ports()) as ports:
        return stack.free_port(ports)
