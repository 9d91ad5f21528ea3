"""`alerts capture`: a capture worker as a process, and one picture from the command line."""

import click

from capture.agent import serve_capture
from capture.settings import CaptureSettings
from capture.try_command import try_capture
from runtime.process import run_command


@click.group("capture", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Take pictures of charts, the most urgent plan first.

    Without a command this is a worker: it runs until it is stopped, beside any number of others.

    \b
    Examples:
      alerts capture
      alerts capture try --user 019a0000-0000-7000-8000-00000000000a --symbol BINANCE:BTCUSDT
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    if context.invoked_subcommand is None:
        run_command("capture", CaptureSettings, serve_capture, context.obj.values, plain_loop=True)


command.add_command(try_capture)
