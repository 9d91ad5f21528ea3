"""`alerts up` below any folder. Called with the folder; its `.local/opt` holds the jars."""

import contextlib
import os
import sys
from pathlib import Path

from deploy.local.errors import LocalError
from deploy.local.files import lock
from deploy.local.layout import Layout
from deploy.local.ports import Ports
from deploy.local.up import make_plan, run_plan


def main(root: Path) -> int:
    """Run until a signal; returns the exit code."""
    layout = Layout(root)
    layout.logs.mkdir(parents=True, exist_ok=True)
    with lock(layout.lock), contextlib.closing(Ports()) as ports:
        plan = make_plan(layout, dict(os.environ), ports)  # noqa: TID251 - a process's edge
        return run_plan(plan, with_parent=True)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except LocalError as error:
        sys.exit(str(error))
