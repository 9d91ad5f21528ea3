"""The browser's own temporary folder: private, and swept by the next worker when its owner has died."""

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFIX: Final = "alerts-capture-"

_REMOVE_TRIES: Final = 20


@dataclass(slots=True)
class Profile:
    """A folder under an advisory lock that the kernel releases when this process dies, however it dies."""

    path: Path
    lock_fd: int | None

    def remove(self) -> None:
        """Delete the folder and release it. Idempotent. Call when the browser has been killed."""
        for _try in range(_REMOVE_TRIES):
            # a killed child that is still in a system call may add one last file
            shutil.rmtree(self.path, ignore_errors=True)
            if not self.path.exists():
                break
        if self.lock_fd is not None:
            os.close(self.lock_fd)
            self.lock_fd = None


def create_profile(parent: Path, owner: tuple[int, int] | None) -> Profile:
    """A fresh folder that only `owner` (uid and gid; None: this process's) and root can enter."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock_fd = _try_lock(path)
        # A sweep may have come between the two lines above: then it owns the folder, or has removed it.
        if lock_fd is not None:
            break
    if owner is not None:
        os.chown(path, *owner)
    return Profile(path, lock_fd)


def sweep_profiles(parent: Path) -> int:
    """Remove the folders of dead workers; returns how many. Those of living ones are locked and stay."""
    removed = 0
    for path in parent.glob(f"{PREFIX}*"):
        lock_fd = _try_lock(path)
        if lock_fd is not None:
            Profile(path, lock_fd).remove()
            removed += 1
    return removed


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock of a folder that still exists, else None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
