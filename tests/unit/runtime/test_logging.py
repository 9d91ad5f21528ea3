import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from runtime.logging import get_logger, setup_logging
from runtime.settings import LoggingSettings, load_section

JSON = load_section(LoggingSettings, {"LOG_FORMAT": "json"})


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Logging belongs to the process: put back what the other tests rely on."""
    root = logging.root
    handlers = root.handlers
    levels = {name: logging.getLogger(name).level for name in [*root.manager.loggerDict, None]}
    before = structlog.get_config()
    yield
    root.handlers = handlers
    for name in [*root.manager.loggerDict, None]:
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object() -> None:
    """Event, values, and who says so; nothing else on the stream."""
    stream = io.StringIO()
    setup_logging(JSON, "sink", stream)
    get_logger("sinks.one").info("batch_stored", rows=3, text="línea\nzwei")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "batch_stored",
        "rows": 3,
        "text": "línea\nzwei",
        "logger": "sinks.one",
        "level": "info",
        "role": "sink",
    }


def test_libraries_log_in_the_same_form() -> None:
    """What goes through the standard library comes out as JSON of this role too."""
    stream = io.StringIO()
    setup_logging(JSON, "sink", stream)
    logging.getLogger("some.library").warning("disk %s is full", "a")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["role"]) == ("disk a is full", "some.library", "sink")


def test_an_exception_stays_on_its_line() -> None:
    """A traceback is a field, so a line is still an object."""
    stream = io.StringIO()
    setup_logging(JSON, "sink", stream)
    try:
        [].pop()
    except IndexError:
        get_logger("sinks.two").exception("failed")
        logging.getLogger("some.library").exception("failed")
    ours, theirs = lines(stream)
    assert "IndexError" in ours["exception"]
    assert "IndexError" in theirs["exception"]


def test_a_secret_in_a_value_shows_as_stars() -> None:
    """Whoever logs a secret by mistake logs no secret, in either form."""
    for settings in (JSON, load_section(LoggingSettings, {"LOG_FORMAT": "pretty"})):
        stream = io.StringIO()
        setup_logging(settings, "sink", stream)
        get_logger(f"sinks.{settings.format}").info(
            "oops", key=SecretStr("s3cr3t"), nested=[SecretStr("s3cr3t")]
        )
        assert "oops" in stream.getvalue()
        assert "s3cr3t" not in stream.getvalue()


@pytest.mark.parametrize(
    "value", [2**70, "\ud800", {1: 2}, b"\xff", object()], ids=lambda value: type(value).__name__
)
def test_no_value_can_suppress_a_line(value: object) -> None:
    """What JSON cannot hold is written some other way; the line comes out."""
    stream = io.StringIO()
    setup_logging(JSON, "sink", stream)
    get_logger("sinks.three").info("odd_value", value=value)
    assert [line["event"] for line in lines(stream)] == ["odd_value"]


@pytest.mark.parametrize(
    ("chosen", "stream", "pretty"),
    [
        ("auto", Terminal(), True),
        ("auto", io.StringIO(), False),
        ("json", Terminal(), False),
        ("pretty", io.StringIO(), True),
    ],
)
def test_people_get_a_pretty_line_on_a_terminal(chosen: str, stream: io.StringIO, *, pretty: bool) -> None:
    """JSON for machines, unless a person is looking or asks for it."""
    setup_logging(LoggingSettings.model_validate({"format": chosen}), "sink", stream)
    get_logger(f"sinks.{chosen}.{pretty}").info("batch_stored", rows=3)
    assert "batch_stored" in stream.getvalue()
    assert stream.getvalue().startswith("{") is not pretty


def test_the_level_is_the_least_that_is_logged() -> None:
    """Below it nothing comes out."""
    stream = io.StringIO()
    setup_logging(LoggingSettings(format="json", level="warning"), "sink", stream)
    log = get_logger("sinks.four")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize(
    "library",
    ["pyppeteer.connection", "websockets.client", "aiohttp.access", "aiokafka.conn", "faust", "mode"],
)
def test_libraries_that_log_payloads_are_quiet(library: str) -> None:
    """They would log cookies and bodies, or a line for every try while a broker is away."""
    stream = io.StringIO()
    setup_logging(LoggingSettings(format="json", level="debug"), "capture", stream)
    logging.getLogger(library).info("cookie: s3cr3t")
    assert stream.getvalue() == ""


def test_setting_up_again_replaces_the_stream() -> None:
    """No line comes twice."""
    first, second = io.StringIO(), io.StringIO()
    setup_logging(JSON, "sink", first)
    setup_logging(JSON, "sink", second)
    get_logger("sinks.five").info("once")
    assert (first.getvalue(), len(lines(second))) == ("", 1)


def test_an_exception_shows_where_it_was_raised_and_never_its_text() -> None:
    """The text may quote a body or a header; the type and the frames are what a developer needs."""
    stream = io.StringIO()
    setup_logging(JSON, "sink", stream)
    try:
        int("the secret body")
    except ValueError:
        get_logger("sinks.one").exception("batch_failed")
    (line,) = lines(stream)
    assert line["exception"] == "ValueError"
    assert "test_an_exception_shows_where_it_was_raised" in line["frames"][-1]
    assert "secret" not in stream.getvalue()


@pytest.mark.parametrize("library", ["botocore.auth", "aiobotocore.endpoint", "pyppeteer.connection"])
def test_what_libraries_would_say_of_secrets_stays_unsaid(library: str) -> None:
    """Their debug lines hold signatures, URLs that open pictures and cookies, whatever our own level is."""
    stream = io.StringIO()
    setup_logging(LoggingSettings(format="json", level="debug"), "capture", stream)
    logging.getLogger(library).debug("Signature=%s", "s3cr3t")
    assert lines(stream) == []
