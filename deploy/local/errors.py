from runtime.errors import FatalError, TransientError


class LocalError(FatalError):
    """The local stack cannot start or go on; the message tells a person what to do."""


class ProgramFailedError(LocalError):
    """A program that should do one job ended with an error; the message holds the end of its output."""


class NotReadyError(TransientError):
    """A part does not answer yet."""
