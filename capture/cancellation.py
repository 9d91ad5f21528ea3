"""Telling a wanted cancellation from a stray one."""

import asyncio


def is_wanted() -> bool:
    """Inside `except CancelledError`: whether somebody cancels this task.

    If not, a library has cancelled a future that others wait for too. Left alone, that would end a slot as
    silently as a wanted cancellation does.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
