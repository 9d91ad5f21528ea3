"""Files that hold secrets, and the lock of a clone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.errors import LocalError


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it, at no moment anybody else."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def rotate(log: Path) -> None:
    """Begin the log anew and keep the one before."""
    if log.exists():
        log.rename(log.with_name(f"{log.name}.1"))


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the clone's lock, which the kernel drops with this process. Raises `LocalError` if it is held."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise LocalError(
            f"{path} belongs to another user: run as that one, or remove .local first"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LocalError(
            f"a pipeline already runs in {path.parent.parent}: use it, or stop it with Ctrl-C first"
        ) from error
    finally:
        os.close(descriptor)
