"""`alerts capture try`: one picture from the command line, with every phase of it."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
import click

from capture.browser import BrowserStartError
from capture.engine import Shot
from capture.lease import AccountBusyError
from capture.outcomes import CaptureFailedError, Outcome
from capture.settings import CaptureSettings
from capture.try_narrator import Narrator
from capture.try_run import Trial, take_picture
from runtime.clock import SystemClock
from runtime.environment import Environment
from runtime.errors import FatalError, InvalidError
from runtime.logging import setup_logging
from runtime.settings import load_settings

_SET_SESSION: Final = "store the cookies of a fresh session: `alerts users set-session {user}`"
_LOOK: Final = "sign in to the account by hand and see what the site wants; until then leave it alone"
_PATIENCE: Final = "wait some minutes; the site wants fewer pages of this account"
_SLOW: Final = "does {origin} answer? CAPTURE_TRY_DEADLINE_S is the limit of a try"

ADVICE: Final = {
    Outcome.SESSION_MISSING: _SET_SESSION,
    Outcome.SESSION_EXPIRED: f"the site does not take these cookies; {_SET_SESSION}",
    Outcome.SESSION_UNREADABLE: f"add the key that encrypted them to ENCRYPTION_KEYS, or {_SET_SESSION}",
    Outcome.NOT_CONSENTED: "if the user agrees to captures: `alerts users captures {user} --on`",
    Outcome.CAPTURES_STOPPED: "see `alerts captures status` and `alerts users show {user}`; "
    "`alerts captures start` or `alerts users captures {user} --on` ends the stop",
    Outcome.ACCOUNT_LIMIT: "the account has had its pages of this hour: CAPTURE_ACCOUNT_HOURLY",
    Outcome.ACCOUNT_FLAGGED: _LOOK,
    Outcome.CAPTCHA: _LOOK,
    Outcome.LAYOUT_NOT_FOUND: "--chart takes the part of the chart's address behind /chart/; "
    "the account must be allowed to see that chart",
    Outcome.SYMBOL_UNKNOWN: "write it as the site does, EXCHANGE:SYMBOL",
    Outcome.ACCESS_DENIED: _LOOK,
    Outcome.RATE_LIMITED: _PATIENCE,
    Outcome.CONNECTION_LIMIT: _PATIENCE,
    Outcome.TIMEOUT_NAVIGATE: _SLOW,
    Outcome.TIMEOUT_READY: _SLOW,
    Outcome.TIMEOUT_SETTLE: _SLOW,
    Outcome.TIMEOUT_SHOOT: _SLOW,
}

_INVALID: Final = {
    "unknown_user": "`alerts users list` shows the users",
    "no_chart": "the user has no default chart; say which one with --chart",
    "invalid_chart": "--chart takes 4 to 32 letters and digits",
    "invalid_ticker": "write the symbol as the site does, EXCHANGE:SYMBOL",
}


@click.command("try")
@click.option("--user", "user_id", type=click.UUID, required=True, help="whose session to use")
@click.option("--symbol", required=True, help="as the site writes it, such as BINANCE:BTCUSDT")
@click.option("--interval", help="such as 15, 4h or D; unset: the chart's own")
@click.option("--chart", "chart_id", help="id of the chart; unset: the user's default chart")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=Path("capture.png"),
    show_default=True,
    help="where the picture goes",
)
@click.pass_obj
def try_capture(environment: Environment, /, output: Path, **options: object) -> None:
    """Take one picture with a user's own session, and show each phase of it as it ends.

    It is taken as a worker takes it, in a browser of its own, and obeys consent, stops and the limits of the
    account; but it is only written to a file: nothing is stored, reported or changed.

    \b
    Example:
      alerts capture try --user 019a0000-0000-7000-8000-00000000000a --symbol BINANCE:BTCUSDT --interval 15
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    trial = Trial(
        user_id=UUID(str(options["user_id"])),
        ticker=str(options["symbol"]),
        interval=_text(options["interval"]),
        chart_id=_text(options["chart_id"]),
    )
    settings = load_settings(CaptureSettings, environment.values)
    quiet = {} if "LOG_LEVEL" in environment.values else {"level": "warning"}
    setup_logging(settings.logging.model_copy(update=quiet), "capture-try", sys.stderr)
    clock = SystemClock()
    with _advising(trial, settings):
        shot = asyncio.run(take_picture(settings, trial, Narrator(click.echo, clock), clock))
        output.write_bytes(shot.png)
    _tell(shot, output)


def _tell(shot: Shot, output: Path) -> None:
    outcome = Outcome.COMPLETED if shot.warning is None else Outcome.DEGRADED
    reason = "" if shot.warning is None else f" ({shot.warning})"
    click.echo(f"{'outcome':20} {outcome}{reason}")
    click.echo(f"{'picture':20} {output}, {len(shot.png)} bytes")


@contextmanager
def _advising(trial: Trial, settings: CaptureSettings) -> Iterator[None]:
    """Expected errors say what to do about them; none of them holds a cookie."""
    try:
        yield
    except CaptureFailedError as failure:
        click.echo(f"{'outcome':20} {failure.outcome}")
        advice = ADVICE.get(failure.outcome, "")
        raise _failed(failure, advice.format(user=trial.user_id, origin=settings.chart.origin)) from failure
    except InvalidError as error:
        raise _failed(error, _INVALID.get(error.reason, "")) from error
    except AccountBusyError as error:
        raise click.ClickException("workers are taking pictures of this account; try again later") from error
    except (BrowserStartError, FatalError) as error:
        raise _failed(error, _about_process(error, settings)) from error
    except asyncpg.UndefinedTableError as error:
        raise _failed(error, "run `alerts migrate` first") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise _failed(error, "this login may not see default charts; say which one with --chart") from error
    except (OSError, TimeoutError) as error:
        raise _failed(
            error, "is the database of DATABASE_URL running, and can the picture be written?"
        ) from error


def _about_process(error: Exception, settings: CaptureSettings) -> str:
    browser = settings.capture.browser
    if isinstance(error, BrowserStartError) or not browser.exists():
        return f"install chromium-headless-shell, or set CAPTURE_BROWSER to its ELF file (now {browser})"
    return "`alerts check-config --role capture` shows the settings"


def _failed(error: Exception, advice: str) -> click.ClickException:
    text = str(error) or type(error).__name__
    return click.ClickException(f"{text}\n{advice}" if advice else text)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
