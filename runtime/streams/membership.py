"""Whether the app's consumer is a member of its group, as aiokafka 0.14.0 knows it.

Two of its tasks have to run: what waits for one that has ended waits for ever. And a fatal answer of the
coordinator is kept for whoever calls `check_errors` next. Faust never does, so the member would stay silent
for ever. A member whose instance id another process uses is not told so: aiokafka's heartbeats carry no
instance id, so the broker calls the member unknown, it joins again under the same generation, and the two
throw each other out in turn. The coordinator lives in another thread: attributes are only read.
"""

from typing import Any

import faust

from runtime.kafka import has_ended


def coordination_error(app: faust.App) -> str | None:
    """Why the member will never hear of its group again, or None."""
    coordinator = _coordinator(app)
    if has_ended(coordinator, "_coordination_task"):
        return "the coordination task has ended"
    if has_ended(getattr(coordinator, "_client", None), "_sync_task"):
        return "the task that keeps the metadata fresh has ended"
    pending = getattr(coordinator, "_pending_exception", None)
    return None if pending is None else f"{type(pending).__name__}: {pending}"


def is_member(app: faust.App) -> bool:
    """Joined, and not looking for its group anew."""
    coordinator = _coordinator(app)
    generation = app.consumer_generation_id if coordinator is None else coordinator.generation
    return not app.rebalancing and (generation or -1) > 0 and (app.consumer_generation_id or -1) > 0


def member_id(app: faust.App) -> str:
    """What the coordinator calls us; empty before and between memberships."""
    return str(getattr(_coordinator(app), "member_id", ""))


def _coordinator(app: faust.App) -> Any:
    """None until the consumer has been started."""
    thread = getattr(getattr(app, "_consumer", None), "_thread", None)
    return getattr(getattr(thread, "_consumer", None), "_coordinator", None)
