"""A disk under SQLite that knows what a loss of power would leave of each file."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from tests.support.spool import Disk


class _SyncedFile(apsw.VFSFile):
    def __init__(self, disk: "CrashedDisk", path: Path | None, flags: list[int]) -> None:
        super().__init__(disk.real, str(path) if path else None, flags)
        self._disk = disk
        self._path = path

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        if self._path is not None:
            self._disk.synced[self._path] = self._path.read_bytes()


class CrashedDisk(Disk):
    """Writes go to the real files; `synced` holds what each of them held when it was synced last."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: dict[Path, bytes] = {}

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: "apsw.URIFilename | str | None", flags: list[int]
    ) -> apsw.VFSFile:
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _SyncedFile(self, Path(text) if text else None, flags)

    def leave(self, folder: Path, crashed: Path) -> None:
        """Put into `crashed` what a loss of power now would leave of the folder's files.

        A file is there from when it was made; what was never synced of it is not.
        """
        crashed.mkdir()
        for path in folder.iterdir():
            if path in self.synced:
                (crashed / path.name).write_bytes(self.synced[path])
            elif not path.name.endswith("-wal"):
                shutil.copyfile(path, crashed / path.name)


@contextmanager
def crashed_disk() -> Iterator[CrashedDisk]:
    """Under every file that SQLite opens meanwhile in this process."""
    installed = CrashedDisk()
    try:
        yield installed
    finally:
        apsw.set_default_vfs(installed.real)
        installed.unregister()
