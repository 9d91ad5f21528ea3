"""`alerts capture`: a capture worker as a process."""

import click

from capture.agent import serve_capture
from capture.settings import CaptureSettings
from runtime.environment import Environment
from runtime.process import run_command


@click.command("capture")
@click.pass_obj
def command(environment: Environment) -> None:
    """Take pictures of charts, the most urgent plan first."""
    run_command("capture", CaptureSettings, serve_capture, environment.values)
