"""Which store the pictures go to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from capture.storage import PictureFolder, PictureStore
from capture.storage_bucket import PictureBucket
from runtime.clock import Clock, utc_now
from runtime.logging import get_logger
from runtime.picture_files import PictureFiles
from runtime.process import ProcessContext, guarded
from runtime.s3 import open_bucket
from runtime.settings import StorageSettings

_EXPIRE_EVERY_S: Final = 6 * 3600.0

log = get_logger(__name__)


@asynccontextmanager
async def open_picture_store(
    settings: StorageSettings, context: ProcessContext
) -> AsyncIterator[PictureStore]:
    """The bucket when the settings name one, else the directory.

    A bucket expires pictures by its own rules; the process is ready while it can be read. In the directory
    this expires them, now and every 6 h.
    """
    if settings.directory is None or settings.s3_bucket is not None:
        async with open_bucket(settings) as bucket:
            pictures = PictureBucket(bucket)
            context.readiness.add("bucket", pictures.check)
            yield pictures
        return
    files = PictureFiles(settings.directory)
    expiring = asyncio.create_task(_expiring(files, context), name="pictures-expire")
    try:
        yield PictureFolder(settings.directory)
    finally:
        expiring.cancel()
        await asyncio.gather(expiring, return_exceptions=True)


async def _expiring(files: PictureFiles, context: ProcessContext) -> None:
    await guarded(_expire_for_ever(files, context.clock), context)


async def _expire_for_ever(files: PictureFiles, clock: Clock) -> None:
    while True:
        try:
            removed = await files.expire(utc_now(clock))
        except OSError as error:
            log.warning("pictures_not_expired", errno=error.errno)
        else:
            log.info("pictures_expired", pictures=removed)
        await clock.sleep(_EXPIRE_EVERY_S)
