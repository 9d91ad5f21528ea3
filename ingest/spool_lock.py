"""Who works on a file."""

import fcntl
import os
from pathlib import Path
from typing import Self


class FileLock:
    """An exclusive lock that ends with its process, however that ends.

    It is only removed by its holder, so whoever locks a file that is no longer at its path has lost a race.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """None when somebody else holds it. Raises `OSError`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return cls.claim(path, descriptor)

    @classmethod
    def claim(cls, path: Path, descriptor: int) -> Self | None:
        """Lock an open file; it is closed when that fails."""
        lock = cls(path, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    def release(self) -> None:
        os.close(self._descriptor)

    def remove(self) -> None:
        """Call last, when nothing is left that it protects."""
        try:
            self._path.unlink(missing_ok=True)
        finally:
            self.release()
