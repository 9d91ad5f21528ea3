"""Where the API looks for pictures."""

from pathlib import Path

import pytest

from api.picture_sources import (
    REDIRECT_LIFETIME_S,
    BucketLinks,
    BucketPictures,
    Elsewhere,
    FolderPictures,
    open_picture_source,
)
from runtime.settings import StorageSettings

BUCKET = {
    "s3_bucket": "b",
    "s3_endpoint": "http://127.0.0.1:1",
    "s3_access_key_id": "id",
    "s3_secret_access_key": "secret",
    "directory": "/nowhere",
}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"directory": "/nowhere"}, FolderPictures),
        (BUCKET, BucketLinks),
        (BUCKET | {"s3_links": "stream"}, BucketPictures),
    ],
)
async def test_the_settings_choose(values: dict[str, str], kind: type[object]) -> None:
    """The bucket when there is one, and how readers get at it; nothing is asked for that."""
    async with open_picture_source(StorageSettings.model_validate(values)) as source:
        assert type(source) is kind


async def test_a_picture_is_the_file_below_the_folder(tmp_path: Path) -> None:
    """The bytes come back as they were written."""
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab/cd.png").write_bytes(b"\x89PNG")
    async with open_picture_source(StorageSettings(directory=tmp_path)) as source:
        assert await source.find("ab/cd.png", 60) == b"\x89PNG"
        assert await source.find("ab/none.png", 60) is None


@pytest.mark.parametrize(("remaining_s", "lifetime_s"), [(900, REDIRECT_LIFETIME_S), (5, 5)])
async def test_a_url_of_the_bucket_lives_no_longer_than_the_link(remaining_s: int, lifetime_s: int) -> None:
    """A minute, or what is left of the link that led to it."""
    async with open_picture_source(StorageSettings.model_validate(BUCKET)) as source:
        found = await source.find("free/2026/03/14/a.png", remaining_s)
    assert isinstance(found, Elsewhere)
    assert found.lifetime_s == lifetime_s
    assert found.url.startswith("http://127.0.0.1:1/b/free/2026/03/14/a.png?")
    assert f"X-Amz-Expires={lifetime_s}&" in found.url
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in found.url
