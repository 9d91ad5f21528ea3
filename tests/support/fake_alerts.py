"""Stands in for `alerts <role>` under the supervisor: answers its port, ends on SIGTERM.

Roles listed in FAKE_IGNORE_TERM do not end on it, those in FAKE_EXIT fail at once.
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


def _end(*_arguments: object) -> None:
    sys.exit(0)


def main(role: str) -> None:
    """Serve until SIGTERM."""
    values = os.environ  # noqa: TID251 - a process's edge
    if role in values.get("FAKE_EXIT", "").split():
        sys.exit("told to fail")
    ignores = role in values.get("FAKE_IGNORE_TERM", "").split()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if ignores else _end)
    port = values.get("OPERATIONS_PORT") or values["CHART_SITE_PORT"]
    HTTPServer(("127.0.0.1", int(port)), _Ready).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
