"""A user's pictures, found by the database, deleted from wherever they are kept."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from api.database import transaction
from runtime.errors import InvalidError, TransientError
from runtime.picture_files import PictureFiles
from runtime.pictures import is_picture_key
from runtime.postgres import Pool
from runtime.s3 import open_bucket
from runtime.settings import StorageSettings
from runtime.sql import load_queries

REMOVAL_BATCH: Final = 200
_AT_ONCE: Final = 8

_QUERIES: Final = load_queries("api", "pictures.sql")


class PictureEraser(Protocol):
    """A store that deletes: `PictureFiles` or `Bucket`."""

    async def delete(self, key: str) -> None:
        """Returns when the picture is gone; one that is not there is gone. Raises `OSError`."""
        ...


class PictureStoreError(TransientError):
    """The store did not delete; what was to go is still in the database, and can be deleted later."""


@dataclass(frozen=True, slots=True)
class StoredPictures:
    """What the database knows of."""

    count: int
    size_bytes: int


class PictureRemoval:
    """Errors: `InvalidError` (`unknown_user`), `PictureStoreError`, else asyncpg's and `TimeoutError`.

    Works for deleted users too. A picture that is taken meanwhile may stay: stop the captures first.
    """

    def __init__(self, pool: Pool, eraser: PictureEraser) -> None:
        self._pool = pool
        self._eraser = eraser

    async def count(self, user_id: UUID) -> StoredPictures:
        row = await self._pool.fetchrow(_QUERIES["count_pictures"], user_id)
        if row is None:
            raise InvalidError("unknown_user", str(user_id))
        return StoredPictures(row["count"], row["size_bytes"])

    async def remove(self, user_id: UUID) -> int:
        """Delete up to `REMOVAL_BATCH`; returns how many. 0: no more.

        The rows go last, so that what a failure leaves is found by the next call.
        """
        rows = await self._pool.fetch(_QUERIES["pictures_of_user"], user_id, REMOVAL_BATCH)
        keys = [row["key"] for row in rows]
        await self._erase(keys)
        async with transaction(self._pool) as connection:
            await connection.execute(_QUERIES["forget_pictures"], keys)
        return len(keys)

    async def _erase(self, keys: Sequence[str]) -> None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def erase(key: str) -> None:
            # what no store of ours has named is in none, and may lead elsewhere
            if is_picture_key(key):
                async with gate:
                    await self._eraser.delete(key)

        try:
            async with asyncio.TaskGroup() as group:
                for key in keys:
                    _ = group.create_task(erase(key))
        except* OSError as failed:
            raise PictureStoreError(f"the store of the pictures: {failed.exceptions[0]}") from failed


@asynccontextmanager
async def open_eraser(settings: StorageSettings) -> AsyncIterator[PictureEraser]:
    """The bucket when the settings name one, else the directory."""
    if settings.directory is not None and settings.s3_bucket is None:
        yield PictureFiles(settings.directory)
        return
    async with open_bucket(settings) as bucket:
        yield bucket
