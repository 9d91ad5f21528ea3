"""Where the browser of the capture role is installed, and whom it runs as."""

import os
from pathlib import Path
from typing import Final

from deploy.local.errors import LocalError

# The ELF file, not the shell script on PATH: a signal to the script would not reach the browser.
_PLACES: Final = (Path("/usr/lib/chromium/chromium-headless-shell"),)


def find_browser() -> Path:
    """Path of the headless browser's executable. Raises `LocalError` when it is not installed."""
    for place in _PLACES:
        if place.exists():
            return place
    raise LocalError("chromium-headless-shell is missing: run `make run` to install it")


def browser_user() -> str:
    """`nobody` when we are root: the browser refuses to sandbox root. Else nothing: it runs as we do."""
    return "nobody" if os.geteuid() == 0 else ""
