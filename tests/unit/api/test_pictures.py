"""Pictures on disk."""

from pathlib import Path

from api.pictures import FilesystemPictures


async def test_a_picture_is_the_file_below_the_folder(tmp_path: Path) -> None:
    """The bytes come back as they were written."""
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab/cd.png").write_bytes(b"\x89PNG")
    assert await FilesystemPictures(tmp_path).read("ab/cd.png") == b"\x89PNG"


async def test_what_is_no_file_is_no_picture(tmp_path: Path) -> None:
    """A missing file, a missing folder, a folder with a picture's name and a file in the way: all None."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    pictures = FilesystemPictures(tmp_path)
    keys = ["none.png", "no/none.png", "folder.png", "file/none.png"]
    assert [await pictures.read(key) for key in keys] == [None] * 4
    assert await FilesystemPictures(tmp_path / "not-there").read("none.png") is None
