"""A bucket on S3, R2 or what speaks like them.

Requests carry no checksum headers, which R2 and others refuse; the signature covers the body instead.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from runtime.settings import StorageSettings

CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 10
CALL_DEADLINE_S: Final = 20.0
"""Of one operation with its retries."""

TRIES: Final = 3
CONNECTIONS: Final = 16

_ERRNO: Final[Mapping[int, int]] = {
    HTTPStatus.FORBIDDEN: errno.EACCES,
    HTTPStatus.NOT_FOUND: errno.ENOENT,
    HTTPStatus.PRECONDITION_FAILED: errno.EEXIST,
    HTTPStatus.CONFLICT: errno.EBUSY,
    HTTPStatus.TOO_MANY_REQUESTS: errno.EBUSY,
    HTTPStatus.SERVICE_UNAVAILABLE: errno.EBUSY,
}


class BucketError(OSError):
    """The store refused or did not answer. `reason` is its code or an exception's type; no secret, no key."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class NewObject:
    """What is stored, with the headers that readers get. `metadata` names are lower case."""

    body: bytes
    content_type: str
    cache_control: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What is known of an object without reading it."""

    size_bytes: int
    metadata: Mapping[str, str]


class Bucket:
    """The objects of one bucket below the prefix of the settings. Made by `open_bucket`.

    Every method raises `BucketError`, within 20 s; whether a write that failed has taken place is unknown.
    """

    def __init__(self, client: Any, name: str, prefix: str | None) -> None:
        self._client = client
        self._name = name
        self._prefix = f"{prefix}/" if prefix else ""

    async def put_new(self, key: str, new: NewObject) -> bool:
        """Store the object unless there is one; returns whether this call has, True once it is durable."""
        options: dict[str, Any] = {
            "Body": new.body,
            "ContentType": new.content_type,
            "CacheControl": new.cache_control,
            "ContentDisposition": "inline",
            "Metadata": dict(new.metadata),
            "IfNoneMatch": "*",
        }
        try:
            await self._call("put_object", key, **options)
        except BucketError as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        return True

    async def head(self, key: str) -> ObjectHead | None:
        """What is stored under the key, or None."""
        try:
            answer = await self._call("head_object", key)
        except BucketError as error:
            # the answer has no body that could say which of bucket and object is missing
            if error.errno == errno.ENOENT:
                return None
            raise
        return ObjectHead(answer["ContentLength"], answer["Metadata"])

    async def read(self, key: str) -> bytes | None:
        """The whole object, None when there is none."""
        try:
            async with _deadline():
                answer = await self._client.get_object(**self._named(key))
                async with answer["Body"] as body:
                    content: bytes = await body.read()
        except BucketError as error:
            if error.reason == "NoSuchKey":
                return None
            raise
        return content

    async def delete(self, key: str) -> None:
        """Returns when the object is gone; one that is not there is gone."""
        # one by one: deleting many in one request needs a checksum header
        await self._call("delete_object", key)

    async def link(self, key: str, lifetime_s: int, cache_control: str) -> str:
        """A URL that reads the object for a while, whether or not there is one. Asks nobody."""
        wanted = {**self._named(key), "ResponseCacheControl": cache_control}
        url: str = await self._client.generate_presigned_url("get_object", wanted, lifetime_s)
        return url

    async def _call(self, operation: str, key: str, **options: object) -> dict[str, Any]:
        async with _deadline():
            answer: dict[str, Any] = await getattr(self._client, operation)(**self._named(key), **options)
        return answer

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._name, "Key": self._prefix + key}


@asynccontextmanager
async def open_bucket(settings: StorageSettings) -> AsyncIterator[Bucket]:
    """One client for the life of a process: making one takes longer than most requests. Asks nobody.

    The settings must name a bucket.
    """
    if settings.s3_bucket is None or settings.s3_secret_access_key is None:
        raise ValueError("the settings name no bucket")
    client = get_session().create_client(
        "s3",
        region_name=settings.s3_region,
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        config=_client_settings(settings),
    )
    async with client as opened:
        yield Bucket(opened, settings.s3_bucket, settings.s3_prefix)


def _client_settings(settings: StorageSettings) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            # every server understands the bucket in the path, but AWS wants it in the host
            "addressing_style": "virtual" if settings.s3_endpoint is None else "path",
            "payload_signing_enabled": True,
        },
    )


@asynccontextmanager
async def _deadline() -> AsyncIterator[None]:
    """Whatever goes wrong is a `BucketError`: foreign texts may quote a URL, which is a key to a picture."""
    try:
        async with asyncio.timeout(CALL_DEADLINE_S):
            yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise BucketError(_ERRNO.get(status, errno.EIO), code) from None
    except (BotoCoreError, ResponseParserError) as error:
        raise BucketError(errno.EIO, type(error).__name__) from None
    except TimeoutError:
        raise BucketError(errno.ETIMEDOUT, "deadline") from None
