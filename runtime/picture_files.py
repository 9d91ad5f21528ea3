"""Pictures as files below a folder: what every role but the writer does with them."""

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

from runtime.disk import sync_folder
from runtime.pictures import LONGEST_KEPT_DAYS, kept_until
from schemas.plans import Plan

_UNDATED: Final = "[0-9a-f][0-9a-f]"
"""Folders of the names given before there were retention classes."""


class PictureFiles:
    """Files below `folder`; the key is the relative path and must have passed `is_picture_key`.

    Nothing blocks the event loop. Raises `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, key: str) -> bytes | None:
        """The whole picture, None when there is none."""
        return await asyncio.to_thread(self._read, key)

    async def delete(self, key: str) -> None:
        """Returns when the picture is gone for good; one that is not there is gone."""
        await asyncio.to_thread(self._delete, key)

    async def due(self, now: datetime) -> list[Path]:
        """Files whose plan keeps them no longer, with the pieces that a killed writer has left there."""
        return await asyncio.to_thread(lambda: list(self._due(now)))

    async def expire(self, now: datetime) -> int:
        """Delete what is due and the folders that this empties; returns how many files.

        Any number of processes may do it at once, beside readers and writers.
        """
        return await asyncio.to_thread(self._expire, now)

    def _read(self, key: str) -> bytes | None:
        try:
            return (self._folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def _delete(self, key: str) -> None:
        path = self._folder / key
        try:
            path.unlink()
            sync_folder(path.parent)
        except (FileNotFoundError, NotADirectoryError):
            return

    def _due(self, now: datetime) -> Iterator[Path]:
        for plan in Plan:
            for folder in sorted(self._folder.glob(f"{plan}/*/*/*")):
                day = _day_of(folder)
                if day is not None and now >= kept_until(plan, day):
                    yield from sorted(folder.iterdir())
        oldest_s = (now - timedelta(days=LONGEST_KEPT_DAYS + 1)).timestamp()
        for path in sorted(self._folder.glob(f"{_UNDATED}/*.png")):
            if path.stat().st_mtime < oldest_s:
                yield path

    def _expire(self, now: datetime) -> int:
        due = list(self._due(now))
        for path in due:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in due}:
            self._remove_empty(folder)
        return len(due)

    def _remove_empty(self, folder: Path) -> None:
        """With those above it. One that another process fills or removes meanwhile is none of ours."""
        while folder != self._folder:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _day_of(folder: Path) -> date | None:
    try:
        return date(*(int(part) for part in folder.parts[-3:]))
    except ValueError:
        return None
