"""Structured logs: one JSON object a line, or pretty on a terminal. Event names are snake_case constants."""

import json
import logging
import sys
from typing import Any, Final, TextIO

import orjson
import structlog

from runtime.errors import frames_of
from runtime.settings import LoggingSettings

# These libraries log payloads, cookies or twenty lines a second while a broker is away.
_QUIET: Final = {
    "pyppeteer": logging.WARNING,
    "websockets": logging.WARNING,
    "aiobotocore": logging.WARNING,
    "botocore": logging.WARNING,
    "aiokafka": logging.ERROR,
    "faust": logging.WARNING,
    "mode": logging.WARNING,
    "aiohttp.access": logging.CRITICAL,
    "aiohttp.server": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "kafka": logging.WARNING,
    "faust.transport.drivers.aiokafka": logging.CRITICAL,
    # Faust names its services' loggers after the module of the class
    "runtime.streams.transport": logging.WARNING,
}


def setup_logging(settings: LoggingSettings, role: str, stream: TextIO = sys.stdout) -> None:
    """Route structlog and the standard library's loggers to one stream. Call once, at process start."""
    pretty = settings.format == "pretty" or (settings.format == "auto" and stream.isatty())
    shared = _shared_processors(role)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=_renderers(pretty=pretty),
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(settings.level.upper())
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _shared_processors(role: str) -> list[Any]:
    def add_role(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["role"] = role
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_role,
        _without_exception_text,
    ]


def _without_exception_text(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """An exception shows as its type and where it was raised: its text may quote a body or a header."""
    info = event.pop("exc_info", None)
    error = sys.exc_info()[1] if info is True else info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event |= {"exception": type(error).__name__, "frames": frames_of(error)}
    return event


def _renderers(*, pretty: bool) -> list[Any]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if pretty:
        return [strip, structlog.dev.ConsoleRenderer()]
    return [strip, structlog.processors.JSONRenderer(_to_json)]


def _to_json(event: Any, **_options: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:
        # a lone surrogate or an integer beyond 64 bits: the line must come out all the same
        return json.dumps(event, default=str)
