"""What a sender is told when a call is not accepted."""

from typing import Final
from uuid import UUID

from aiohttp import web

from runtime.operations import json_response

RETRY_AFTER_S: Final = 5


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """`error` is what the sender is told, from a closed list; `user_id` is known once the token was right."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.user_id: UUID | None = None

    def response(self) -> web.Response:
        answer = json_response({"success": False, "error": self.error}, self.status)
        if self.status == web.HTTPServiceUnavailable.status_code:
            answer.headers["Retry-After"] = str(RETRY_AFTER_S)
        if self.status == web.HTTPMethodNotAllowed.status_code:
            answer.headers["Allow"] = "POST"
        return answer


def unavailable() -> Refusal:
    """The sender comes again."""
    return Refusal(503, "unavailable")
