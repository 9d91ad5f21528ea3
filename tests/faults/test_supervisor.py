"""The supervisor of the whole pipeline dies without a word."""

from deploy.local.settings import INSTANCES
from tests.support.pipeline import temporary_pipeline
from tests.support.processes import descendants, survivors


async def test_sigkill_of_the_supervisor_leaves_nothing_behind() -> None:
    """With the supervisor gone, every process of the stack ends at once."""
    with temporary_pipeline() as pipeline:
        await pipeline.ready()
        family = descendants(pipeline.process.pid)
        pipeline.process.kill()
        pipeline.process.wait()
        assert len(family) > len(INSTANCES)
        assert survivors(family, 5) == {}
