"""The shape of the code: who may import whom, and how long things may get."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
FUNCTION_LINES: Final = 45
MODULE_LINES: Final = 400

ROLES: Final = ("ingest", "processors", "capture", "sinks", "api")
MAY_IMPORT: Final = {
    "schemas": {"schemas"},
    "runtime": {"runtime", "schemas"},
    **{role: {role, "runtime", "schemas"} for role in ROLES},
}
PACKAGES: Final = (*MAY_IMPORT, "deploy")
OURS: Final = {*PACKAGES, "tests"}


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of everything a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_follow_the_design(package: str) -> None:
    """Roles know only the contracts and the runtime, never each other; only `deploy` knows them all."""
    forbidden = OURS - MAY_IMPORT[package]
    found = {
        name(path): wrong
        for path in modules(package)
        if (wrong := forbidden.intersection(imported(parsed(path))))
    }
    assert found == {}


def test_the_product_does_not_need_its_tests() -> None:
    """Nothing that is installed imports from `tests`."""
    assert [name(path) for path in modules(*PACKAGES) if "tests" in imported(parsed(path))] == []


def test_every_package_is_installed() -> None:
    """A package that the build file forgets works in a clone and is missing elsewhere."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = [
        name(path.parent).replace("/", ".") for path in modules(*PACKAGES) if path.name == "__init__.py"
    ]
    assert sorted(declared) == sorted(present)


def test_every_test_says_what_it_shows() -> None:
    """A test's docstring is the sentence that its failure refutes."""
    silent = [
        f"{name(path)}:{function.lineno} {function.name}"
        for path in modules("tests")
        if path.name.startswith("test_")
        for function in functions(parsed(path))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_functions_are_short() -> None:
    """What does not fit on a screen has more than one purpose."""
    long = [
        f"{name(path)}:{function.lineno} {function.name}"
        for path in modules(*PACKAGES, "tests")
        for function in functions(parsed(path))
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES
    ]
    assert long == []


def test_modules_are_short() -> None:
    """One noun a module."""
    long = [
        name(path)
        for path in modules(*PACKAGES, "tests")
        if len(path.read_text().splitlines()) > MODULE_LINES
    ]
    assert long == []
