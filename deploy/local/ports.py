"""Which TCP ports the local stack listens on."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.local.errors import LocalError

_HIGHEST: Final = 65535


class PortTakenError(LocalError):
    """A port that was asked for by number is in use."""


@dataclass(frozen=True, slots=True)
class PortWish:
    """`chosen` is what a person set; without one any free port from `default` upwards will do."""

    variable: str
    default: int
    chosen: int | None = None
    host: str = "127.0.0.1"


class Ports:
    """Ports of this process. What one process was granted, no other `Ports` on this machine is granted.

    A port only listens some time after it was granted, so two stacks that start together would choose
    the same. Hence a reservation by name that the kernel drops when this process ends, however it ends.
    """

    def __init__(self) -> None:
        self._reservations: dict[int, socket.socket] = {}

    def grant(self, wish: PortWish) -> int:
        """The chosen port or `PortTakenError`; the next free one from the default, if none was chosen."""
        if wish.chosen:
            if self._reserve(wish.chosen, wish.host):
                return wish.chosen
            raise PortTakenError(f"{wish.variable}={wish.chosen}: this port is taken")
        for port in _candidates(wish.default):
            if self._reserve(port, wish.host):
                return port
        raise PortTakenError(f"{wish.variable}: no free port from {wish.default} upwards")

    def close(self) -> None:
        for reservation in self._reservations.values():
            reservation.close()
        self._reservations.clear()

    def _reserve(self, port: int, host: str) -> bool:
        if port in self._reservations or not is_free(port, host):
            return False
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # the leading zero makes it a name in the network namespace, not a file
            reservation.bind(f"\0alerts-port-{port}")
        except OSError:
            reservation.close()
            return False
        self._reservations[port] = reservation
        return True


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        # as servers do: connections of an earlier run in TIME_WAIT do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def _candidates(default: int) -> Iterator[int]:
    return iter(range(default, _HIGHEST + 1))
