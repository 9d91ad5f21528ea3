"""Failures of DevTools commands, by what has become of whoever should have answered.

CommandError
├── CommandRefusedError    the browser answered with an error
├── CommandDeadlineError   nothing came in time
├── TargetGoneError        the page was closed or has crashed
└── BrowserGoneError       the browser has ended
"""

from pyppeteer.errors import NetworkError


class CommandError(NetworkError):  # type: ignore[misc]  # pyppeteer is untyped; its own code catches this type
    """A DevTools command brought no result."""


class CommandRefusedError(CommandError):
    """The browser answered with an error."""


class CommandDeadlineError(CommandError):
    """The browser did not answer in time."""


class TargetGoneError(CommandError):
    """The page was closed or has crashed."""


class BrowserGoneError(CommandError):
    """The browser has ended, or was ended."""
