"""What the documents say about indicators is done, word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from processors.indicators import indicator_folders, load_indicators
from processors.indicators.problems import _KEYS
from processors.reading import Field
from schemas.records import Direction
from tests.support.stack import ROOT

DEADLINE_S: Final = 60
README: Final = (ROOT / "README.md").read_text("utf-8")
DOCUMENT: Final = (ROOT / "docs/indicators.md").read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def recipe() -> str:
    """The README's section that adds an indicator."""
    found = re.search(r"^### Add an indicator$(.*?)^##", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A person's shell in a clone, with the program of these tests."""
    environment = {**os.environ, "ALERTS_ENV_FILE": ""}  # noqa: TID251 - what a person's shell has
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that has of a clone what the recipe uses."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/alerts").symlink_to(Path(sys.executable).with_name("alerts"))
    (tmp_path / "processors").symlink_to(ROOT / "processors")
    return tmp_path


def test_the_readmes_recipe_adds_an_indicator(clone: Path) -> None:
    """Its commands and its file, as they stand there, end with an alert that is read without a doubt."""
    prepare, ask = blocks(recipe(), "sh")
    (content,) = blocks(recipe(), "toml")
    named = re.search(r"Edit `(.+?)`", recipe())
    assert named is not None
    assert run(prepare, clone).returncode == 0
    assert (clone / named[1]).is_file()
    (clone / named[1]).write_text(content, "utf-8")
    result = run(ask, clone)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no problems" in result.stdout
    assert f"recognised by {Path(named[1]).name}\n" in result.stdout
    assert re.search(r"^price +141\.20 +label 'entrada'", result.stdout, re.MULTILINE)
    assert re.search(r"^direction +long ", result.stdout, re.MULTILINE)
    assert re.search(r"^status +parsed$", result.stdout, re.MULTILINE)
    assert "what to look at" not in result.stdout


def test_the_recipes_file_is_needed(clone: Path) -> None:
    """Before it is edited the same alert is not understood, and the answer says what to write."""
    prepare, ask = blocks(recipe(), "sh")
    assert run(prepare, clone).returncode == 0
    result = run(ask, clone)
    assert result.returncode == 0
    assert "no label for price; unlabelled lines: none; labels no file knows: 'Entrada'" in result.stdout
    assert re.search(r"^status +partial$", result.stdout, re.MULTILINE)


def test_the_documents_example_is_a_file_without_problems(tmp_path: Path) -> None:
    """It shows every key, so it is the one that people copy."""
    (content,) = blocks(DOCUMENT, "toml")
    (tmp_path / "example.toml").write_text(content, "utf-8")
    book = load_indicators(*indicator_folders(tmp_path))
    assert "example.toml" in [family.file for family in book.families]
    keys = set(re.findall(r"^\[?([a-z_]+)(?:\]| =)", content, re.MULTILINE))
    assert set(_KEYS) <= keys


def test_the_document_tells_every_key_and_field() -> None:
    """One that is added to the program is added there."""
    told = set(re.findall(r"`([a-z_]+)[.`]", DOCUMENT))
    assert {*_KEYS, *Field, *Direction} <= told
