"""Where the process environment is read, once. Everything below gets values as arguments."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import FatalError


class EnvironmentFileError(FatalError):
    """A line of an environment file is not `KEY=VALUE`."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables a command sees: those of the process, then those of a file that were not set."""

    values: Mapping[str, str]


def process_environment() -> dict[str, str]:
    """A copy of the variables this process was started with."""
    return dict(os.environ)  # noqa: TID251 - the one place


def merge(values: Mapping[str, str], file_text: str) -> Environment:
    """Variables of the file fill only what is not set: whoever sets one explicitly is right."""
    return Environment({**parse_environment(file_text), **values})


def parse_environment(text: str) -> dict[str, str]:
    """`KEY=VALUE` lines, empty ones and `#` comments. Values run to the end of the line, unquoted.

    Raises `EnvironmentFileError` naming the line's number, never its text: it may hold a secret.
    """
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, separator, value = stripped.partition("=")
        if not separator or not key.isidentifier():
            raise EnvironmentFileError(f"line {number} is not KEY=VALUE")
        values[key] = value
    return values


def format_environment(values: Mapping[str, str]) -> str:
    """The inverse of `parse_environment`. Raises `EnvironmentFileError` for what would read back otherwise.

    That is a value with a line break or with space at its end, or a key that is no identifier.
    """
    text = "".join(f"{key}={value}\n" for key, value in values.items())
    if parse_environment(text) != dict(values):
        raise EnvironmentFileError("a value holds a line break or ends in a space")
    return text
