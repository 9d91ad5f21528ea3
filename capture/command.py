"""`alerts capture`: a capture worker as a process."""

import sys

import click

from capture.agent import serve_capture
from capture.settings import CaptureSettings
from runtime.environment import Environment
from runtime.process import ProcessSettings, run_role
from runtime.settings import load_settings


@click.command("capture")
@click.pass_obj
def command(environment: Environment) -> None:
    """Take pictures of charts, the most urgent plan first."""
    settings = load_settings(CaptureSettings, environment.values)
    process = ProcessSettings("capture", settings.logging, settings.operations)
    sys.exit(run_role(process, lambda context: serve_capture(settings, context)))
