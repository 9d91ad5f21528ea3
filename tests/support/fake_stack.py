"""The supervisor with real services and stand-ins for the roles, below any folder.

Called with the folder; its `.local/opt` holds the jars. Variables are those of `alerts up`.
"""

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path

from deploy.local.errors import LocalError
from deploy.local.files import lock
from deploy.local.layout import Layout
from deploy.local.ports import Ports
from deploy.local.up import make_plan, run_plan

FAKE_ALERTS = Path(__file__).with_name("fake_alerts.py")


def main(root: Path) -> int:
    """Run until a signal; returns the exit code."""
    layout = Layout(root)
    layout.logs.mkdir(parents=True, exist_ok=True)
    with lock(layout.lock), contextlib.closing(Ports()) as ports:
        plan = make_plan(layout, dict(os.environ), ports)  # noqa: TID251 - a process's edge
        return run_plan(replace(plan, command=(sys.executable, "-P", str(FAKE_ALERTS))))


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except LocalError as error:
        sys.exit(str(error))
