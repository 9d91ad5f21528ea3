"""Where the API gets pictures from: it hands them over itself, or sends the reader to the bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.picture_files import PictureFiles
from runtime.s3 import Bucket, open_bucket
from runtime.settings import StorageSettings

REDIRECT_LIFETIME_S: Final = 60
"""A URL of the bucket lives no longer: whoever needs the picture later follows our own link again."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The picture is at a URL that works for `lifetime_s`. The URL is a secret like a link."""

    url: str
    lifetime_s: int


class PictureSource(Protocol):
    """Where pictures are kept. Raises `OSError` while the store is away; blocks no event loop."""

    async def find(self, key: str, remaining_s: int) -> bytes | Elsewhere | None:
        """The whole picture, or where it is for no longer than `remaining_s`; None when there is none.

        The key must have been checked by `PictureLinks`.
        """
        ...


class FolderPictures:
    """Files that the capture role writes."""

    def __init__(self, files: PictureFiles) -> None:
        self._files = files

    async def find(self, key: str, remaining_s: int) -> bytes | None:  # noqa: ARG002 - what is read does not expire
        return await self._files.read(key)


class BucketPictures:
    """Objects, read for the reader: for a bucket that only we can reach."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def find(self, key: str, remaining_s: int) -> bytes | None:  # noqa: ARG002 - what is read does not expire
        return await self._bucket.read(key)


class BucketLinks:
    """Objects, read by the reader at the bucket. Nobody is asked: the bucket says when there is none."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def find(self, key: str, remaining_s: int) -> Elsewhere:
        lifetime_s = min(REDIRECT_LIFETIME_S, remaining_s)
        cache_control = f"private, max-age={remaining_s}, immutable"
        return Elsewhere(await self._bucket.link(key, lifetime_s, cache_control), lifetime_s)


@asynccontextmanager
async def open_picture_source(settings: StorageSettings) -> AsyncIterator[PictureSource]:
    """The bucket when the settings name one, else the directory. Asks nobody."""
    if settings.directory is not None and settings.s3_bucket is None:
        yield FolderPictures(PictureFiles(settings.directory))
        return
    async with open_bucket(settings) as bucket:
        yield BucketLinks(bucket) if settings.s3_links == "redirect" else BucketPictures(bucket)
