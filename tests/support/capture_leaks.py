"""What capture workers could leave behind or pile up, as the kernel tells it."""

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from tests.support.processes import command_line
from tests.support.role_process import RoleProcess


def open_files(pid: int) -> list[str]:
    """What a process has open but for sockets: connections come and go."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            links.append(str(entry.readlink()))
    return sorted(link for link in links if not link.startswith("socket:"))


def browsers_started(role: RoleProcess) -> set[int]:
    """The process groups of all browsers that a worker has ever started, by its log."""
    events = [json.loads(line) for line in role.log().splitlines() if line.startswith("{")]
    return {event["pid"] for event in events if event.get("event") == "browser_started"}


def living_in(groups: Collection[int]) -> dict[int, str]:
    """Command lines of what still runs in these process groups, or in sessions that they lead."""
    return {
        pid: command
        for pid, group, session in _memberships()
        if (group in groups or session in groups) and (command := command_line(pid))
    }


def _memberships() -> Iterator[tuple[int, int, int]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            # the command, in parentheses, may hold anything; then come state, parent, group, session
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            yield int(entry.name), int(fields[2]), int(fields[3])
