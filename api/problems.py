"""What the API refuses or fails at, as RFC 9457 problem details. Texts are constants: no input, no cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web

RETRY_AFTER_S: Final = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is the stable end of the problem's `type`."""

    status: HTTPStatus
    code: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        body = {
            "type": f"urn:problem-type:alerts:{self.code}",
            "title": self.code.replace("-", " ").capitalize(),
            "status": self.status.value,
            "detail": self.detail,
        }
        return web.Response(
            body=orjson.dumps(body),
            status=self.status,
            headers=self.headers,
            content_type="application/problem+json",
        )


class RefusedError(Exception):
    """The request ends here; the middleware answers with the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


UNAUTHORIZED: Final = Problem(
    HTTPStatus.UNAUTHORIZED,
    "unauthorized",
    "send a valid API key as Authorization: Bearer <key>",
    {"WWW-Authenticate": 'Bearer realm="alerts"'},
)
NOT_FOUND: Final = Problem(
    HTTPStatus.NOT_FOUND, "not-found", "there is no such thing, or it is outside of the key's scope"
)
INVALID_LIMIT: Final = Problem(
    HTTPStatus.BAD_REQUEST, "invalid-limit", "limit is one whole number from 1 to 200"
)
INVALID_CURSOR: Final = Problem(
    HTTPStatus.BAD_REQUEST, "invalid-cursor", "cursor is the next_cursor of an answer about the same user"
)
INVALID_LINK: Final = Problem(
    HTTPStatus.FORBIDDEN,
    "invalid-link",
    "the link is wrong or has expired; read the signal again for a new one",
)
UNAVAILABLE: Final = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "unavailable",
    "a service behind the API does not answer; try again",
    {"Retry-After": str(RETRY_AFTER_S)},
)
INTERNAL: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the API failed; the cause is in its log"
)


def problem_of(error: web.HTTPException) -> Problem:
    """What aiohttp itself refuses: unknown paths, wrong methods, bodies too large."""
    if error.status == HTTPStatus.NOT_FOUND:
        return NOT_FOUND
    status = HTTPStatus(error.status)
    kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return Problem(status, status.phrase.lower().replace(" ", "-"), "the request cannot be answered", kept)
