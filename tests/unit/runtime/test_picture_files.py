import os
from datetime import timedelta
from pathlib import Path

import pytest

from runtime.clock import utc_from_ms
from runtime.picture_files import PictureFiles
from runtime.pictures import day_folder
from schemas.plans import PLAN_TERMS, Plan
from tests.support.clock import START_MS

NOW = utc_from_ms(START_MS)


def place(folder: Path, key: str) -> Path:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG")
    return path


def aged(plan: Plan, days: int) -> str:
    return day_folder(plan, (NOW - timedelta(days=days)).date())


async def test_a_picture_is_the_file_below_the_folder(tmp_path: Path) -> None:
    """The bytes come back as they were written, until they are deleted."""
    path = place(tmp_path, "ab/cd.png")
    files = PictureFiles(tmp_path)
    assert await files.read("ab/cd.png") == b"\x89PNG"
    await files.delete("ab/cd.png")
    assert await files.read("ab/cd.png") is None
    assert not path.exists()


async def test_what_is_no_file_is_no_picture(tmp_path: Path) -> None:
    """A missing file, a missing folder, a folder with a picture's name and a file in the way: all None."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    files = PictureFiles(tmp_path)
    keys = ["none.png", "no/none.png", "folder.png", "file/none.png"]
    assert [await files.read(key) for key in keys] == [None] * 4
    assert await PictureFiles(tmp_path / "not-there").read("none.png") is None


@pytest.mark.parametrize("key", ["none.png", "no/none.png", "file/none.png"])
async def test_deleting_what_is_not_there_is_no_error(tmp_path: Path, key: str) -> None:
    """Whoever repeats a deletion that was cut short gets through."""
    (tmp_path / "file").touch()
    await PictureFiles(tmp_path).delete(key)
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("plan", Plan)
async def test_what_its_plan_keeps_no_longer_goes(tmp_path: Path, plan: Plan) -> None:
    """With what a killed writer left beside it, and with the folders that this empties; the rest stays."""
    days = PLAN_TERMS[plan].pictures_kept_days
    due = [place(tmp_path, f"{aged(plan, days + 1)}/{name}") for name in ("a.png", ".part-x")]
    kept = place(tmp_path, f"{aged(plan, days)}/a.png")
    files = PictureFiles(tmp_path)
    assert sorted(await files.due(NOW)) == sorted(due)
    assert all(path.exists() for path in due)
    assert await files.expire(NOW) == 2
    assert not due[0].parent.exists()
    assert kept.exists()
    assert await files.expire(NOW) == 0


async def test_names_of_before_go_by_their_age(tmp_path: Path) -> None:
    """They tell no plan, so they have the days of the longest."""
    old, young = place(tmp_path, "ab/old.png"), place(tmp_path, "cd/young.png")
    for path, days in ((old, 367), (young, 365)):
        os.utime(path, ((NOW - timedelta(days=days)).timestamp(),) * 2)
    assert await PictureFiles(tmp_path).expire(NOW) == 1
    assert [path.exists() for path in (old, young)] == [False, True]


async def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """Files elsewhere in the folder, and folders that no day has."""
    others = [place(tmp_path, key) for key in ("notes.txt", "gold/2020/01/01/a.png", "free/2020/13/99/a.png")]
    assert await PictureFiles(tmp_path).expire(NOW) == 0
    assert all(path.exists() for path in others)


async def test_no_folder_has_nothing_due(tmp_path: Path) -> None:
    """Before the first picture."""
    assert await PictureFiles(tmp_path / "none").expire(NOW) == 0
