"""What becomes of a batch, for every kind of failure."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka import errors as kafka
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from runtime.errors import FatalError, InvalidError, TransientError
from runtime.metrics import Metrics, create_metrics
from runtime.publisher import Message, Publisher
from runtime.streams.record import StreamRecord
from runtime.streams.service import check_work
from runtime.streams.settle import BUG_TRIES, LeaveUnfinished, SettleContext, Settler, Work
from runtime.streams.share import ShareLimits
from schemas.topics import DEADLETTERS
from tests.support.clock import EagerClock, FakeClock
from tests.support.publisher import MemoryPublisher
from tests.support.records import records

Fail = Callable[[StreamRecord], None]


@dataclass
class Job:
    """Work that is all or nothing, as a transaction is, with the parts a settler needs."""

    fail: Fail = lambda _record: None
    publisher: Publisher = field(default_factory=MemoryPublisher)
    clock: FakeClock = field(default_factory=EagerClock)
    metrics: Metrics = field(default_factory=create_metrics)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    finished: list[int] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    done: list[int] = field(default_factory=list)
    tries: Counter[int] = field(default_factory=Counter)

    async def work(self, batch: Sequence[StreamRecord]) -> None:
        self.tries.update(record.offset for record in batch)
        await asyncio.sleep(0)
        for record in batch:
            self.fail(record)
        self.done += [record.offset for record in batch]

    def owns(self, record: StreamRecord) -> bool:
        return record.offset not in self.lost

    def finish(self, record: StreamRecord) -> None:
        self.finished.append(record.offset)

    def settler(self, work: Work | None = None) -> Settler:
        context = SettleContext("test", self, self.publisher, self.clock, self.metrics, self.stopping)
        return Settler(work or self.work, context)

    async def settle(self, offsets: Sequence[int]) -> None:
        await self.settler().settle(records(offsets))

    def buried(self) -> list[int]:
        assert isinstance(self.publisher, MemoryPublisher)
        return [int(message.value) for message in self.publisher.messages]

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"stage": "test", **labels}) or 0.0


def failing(offsets: Sequence[int], error: Callable[[], Exception], times: int | None = None) -> Fail:
    """Fails for these records, `times` times in all or always."""
    left = [times if times is not None else 1_000_000]

    def fail(record: StreamRecord) -> None:
        if record.offset in offsets and left[0] > 0:
            left[0] -= 1
            raise error()

    return fail


async def test_a_batch_that_works_is_done_at_once() -> None:
    """One call of the work with the whole batch."""
    job = Job()
    await job.settle([1, 2, 3])
    assert (job.done, set(job.tries.values()), job.buried()) == ([1, 2, 3], {1}, [])
    assert job.finished == [1, 2, 3]
    assert job.count("alerts_stream_records_total", outcome="done") == 3


async def test_an_outage_is_waited_out_with_growing_pauses() -> None:
    """The same records are tried again until the dependency is back; none becomes a dead letter."""
    job = Job(failing([2], lambda: TransientError("away"), times=8))
    await job.settle([1, 2, 3])
    assert (job.done, job.buried(), job.tries[1]) == ([1, 2, 3], [], 9)
    assert job.clock.sleeps_s == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert job.count("alerts_stream_retries_total", failure="transient") == 8


async def test_work_that_fails_for_some_time_makes_unready() -> None:
    """Until one succeeds: a database with a full disk answers every ping."""
    job = Job(fail=failing([1], lambda: TransientError("full"), times=9))
    settler = job.settler()
    seen: list[bool] = []

    async def is_ready() -> bool:
        try:
            await check_work(settler)
        except TransientError:
            return False
        return True

    async def watched(batch: Sequence[StreamRecord]) -> None:
        seen.append(await is_ready())
        await job.work(batch)

    settler = job.settler(watched)
    await settler.settle(records([1]))
    assert seen[0]
    assert not seen[-1]
    assert await is_ready()


async def test_the_culprit_of_an_invalid_batch_is_buried_at_once() -> None:
    """Its neighbours are done; it gets no second chance alone, since waiting cures nothing."""
    job = Job(failing([3], lambda: InvalidError("unfit")))
    await job.settle(range(8))
    assert sorted(job.done) == [0, 1, 2, 4, 5, 6, 7]
    assert job.buried() == [3]
    assert job.clock.sleeps_s == []
    assert job.count("alerts_deadletters_total") == 1
    assert job.count("alerts_stream_records_total", outcome="deadletter") == 1


async def test_a_burial_is_logged_with_its_origin() -> None:
    """Where it came from is known even when the letter has no room for it."""
    job = Job(failing([3], lambda: InvalidError("unfit", "s3cr3t")))
    with capture_logs() as logs:
        await job.settle([3])
    [buried] = [entry for entry in logs if entry["event"] == "record_buried"]
    assert (buried["topic"], buried["partition"], buried["offset"]) == ("signals", 0, 3)
    assert "s3cr3t" not in str(logs)


async def test_a_bug_gets_a_few_tries_alone_and_is_then_buried() -> None:
    """The number of tries is bounded and written into the dead letter."""
    job = Job(failing([3], ZeroDivisionError))
    await job.settle(range(4))
    assert (sorted(job.done), job.buried()) == ([0, 1, 2], [3])
    assert job.clock.sleeps_s == [0.1, 0.2]
    assert isinstance(job.publisher, MemoryPublisher)
    headers = dict(job.publisher.messages[0].headers)
    assert headers["dl_attempts"] == b"%d" % BUG_TRIES
    assert headers["dl_reason"] == headers["dl_exception"] == b"ZeroDivisionError"
    assert job.publisher.messages[0].topic == DEADLETTERS.name


async def test_a_bug_that_passes_costs_nothing() -> None:
    """A race that does not come again leaves no dead letter."""
    job = Job(failing([1], ZeroDivisionError, times=BUG_TRIES - 1))
    await job.settle([1])
    assert (job.done, job.buried()) == ([1], [])


async def test_an_outage_is_no_try_of_a_bug() -> None:
    """A race in the code that comes once, right after an outage, leaves no dead letter."""
    errors: list[Exception] = [TransientError("away")] * BUG_TRIES + [ZeroDivisionError()] * (BUG_TRIES - 1)

    def fail(_record: StreamRecord) -> None:
        if errors:
            raise errors.pop(0)

    job = Job(fail)
    await job.settle([1])
    assert (job.done, job.buried()) == ([1], [])


async def test_what_went_to_another_member_is_not_tried_again() -> None:
    """Nor buried: its new owner does either. Its neighbours go on here."""
    job = Job()

    def lose_and_fail(record: StreamRecord) -> None:
        if record.offset == 2 and record.offset not in job.lost:
            job.lost.add(2)
            raise TransientError("away")

    job.fail = lose_and_fail
    await job.settle([1, 2, 3])
    assert (job.done, job.finished, job.tries[2]) == ([1, 3], [1, 3], 1)


async def test_what_goes_to_another_member_while_the_broker_is_away_is_not_buried() -> None:
    """The dead letter would be there twice."""
    job = Job(failing([1], lambda: InvalidError("unfit")))

    class LosingPublisher(MemoryPublisher):
        async def publish(self, messages: Sequence[Message]) -> None:
            job.lost.add(1)
            await super().publish(messages)

    job.publisher = LosingPublisher(kafka.KafkaConnectionError())
    await job.settle([1])
    assert (job.buried(), job.finished) == ([], [])


@pytest.mark.parametrize(
    "error", [FatalError("over"), kafka.ProducerFenced(), kafka.OutOfOrderSequenceNumber()]
)
async def test_what_this_process_cannot_survive_ends_it(error: Exception) -> None:
    """No retry, no dead letter: the records are left for the next process."""
    job = Job(failing([1], lambda: error))
    with pytest.raises(FatalError, match="test: ") as caught:
        await job.settle([0, 1])
    assert caught.value.__cause__ is error
    assert (job.tries[1], job.buried(), job.finished) == (1, [], [])


async def test_work_that_hangs_is_cut_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of one call ends it; a hung connection is an outage like any other."""
    monkeypatch.setattr("runtime.streams.settle.WORK_DEADLINE_S", 0.001)
    job = Job()
    calls = []

    async def hang_once(batch: Sequence[StreamRecord]) -> None:
        calls.append(len(batch))
        if len(calls) == 1:
            await asyncio.Event().wait()

    await job.settler(hang_once).settle(records([1, 2]))
    assert calls == [2, 2]


async def test_a_stop_during_an_outage_leaves_the_records_unfinished() -> None:
    """The pause ends at once, and nobody is told that the records are settled."""
    clock = FakeClock()
    job = Job(failing([1], lambda: TransientError("away")), clock=clock)
    settling = asyncio.create_task(job.settle([1]))
    await clock.until_sleeping()
    job.stopping.set()
    with pytest.raises(LeaveUnfinished):
        await settling
    assert (job.done, job.buried(), job.finished) == ([], [], [])


async def test_a_stop_lets_running_work_finish() -> None:
    """Only waits are cut short: work that succeeds after the stop is settled."""
    job = Job()
    job.stopping.set()
    await job.settle([1, 2])
    assert job.done == [1, 2]


async def test_a_dead_letter_waits_for_the_broker() -> None:
    """While it cannot be published the record is not settled; then it is, once."""
    publisher = MemoryPublisher(kafka.KafkaConnectionError(), TimeoutError())
    job = Job(failing([1], lambda: InvalidError("unfit")), publisher)
    await job.settle([1])
    assert (publisher.calls, job.buried()) == (3, [1])
    assert job.count("alerts_deadletters_total") == 1


async def test_a_stop_while_a_dead_letter_waits_leaves_the_record_unfinished() -> None:
    """It becomes a dead letter in the next process."""
    clock = FakeClock()
    publisher = MemoryPublisher(kafka.KafkaConnectionError())
    job = Job(failing([1], lambda: InvalidError("unfit")), publisher, clock)
    settling = asyncio.create_task(job.settle([1]))
    await clock.until_sleeping()
    job.stopping.set()
    with pytest.raises(LeaveUnfinished):
        await settling
    assert (job.count("alerts_deadletters_total"), job.finished) == (0, [])


@pytest.mark.parametrize(
    "refusal", [kafka.MessageSizeTooLargeError(), kafka.ProducerFenced(), kafka.OutOfOrderSequenceNumber()]
)
async def test_a_dead_letter_that_is_refused_ends_the_process(refusal: Exception) -> None:
    """The alternative would be to lose the record."""
    job = Job(failing([1], lambda: InvalidError("unfit")), MemoryPublisher(refusal))
    with pytest.raises(FatalError, match="no dead letter possible"):
        await job.settle([1])
    assert job.finished == []


async def test_an_outage_amid_the_search_for_the_culprit_buries_nobody_else() -> None:
    """Halving goes on where it was when the dependency is back."""
    invalid = failing([5], lambda: InvalidError("unfit"))
    outages = [0]

    def fail(record: StreamRecord) -> None:
        if record.offset == 2 and 0 < outages[0] < 4:
            outages[0] += 1
            raise TransientError("away")
        if record.offset == 5:
            outages[0] = max(1, outages[0])
        invalid(record)

    job = Job(fail)
    await job.settle(range(8))
    assert (sorted(job.done), job.buried()) == ([0, 1, 2, 3, 4, 6, 7], [5])
    assert outages == [4]


@given(size=st.integers(1, ShareLimits().deadletters), data=st.data())
def test_halving_finds_every_culprit_and_nobody_else(size: int, data: st.DataObject) -> None:
    """Whichever records are invalid or break the code are buried once, and all others are done once."""
    offsets = st.sets(st.integers(0, size - 1))
    unfit, broken = data.draw(offsets), data.draw(offsets)

    def fail(record: StreamRecord) -> None:
        if record.offset in unfit:
            raise InvalidError("unfit")
        if record.offset in broken:
            raise ZeroDivisionError

    async def settle() -> Job:
        job = Job(fail)
        await job.settle(range(size))
        return job

    job = asyncio.run(settle())
    culprits = unfit | broken
    assert job.buried() == sorted(culprits)
    assert job.done == [offset for offset in range(size) if offset not in culprits]
    assert sorted(job.finished) == list(range(size))


async def test_a_stage_whose_records_all_die_stops_before_the_next() -> None:
    """What was buried is acknowledged, or the next process would bury it again; the refused record is not."""
    job = Job(failing(range(100), lambda: InvalidError("unfit")))
    with pytest.raises(FatalError, match="test: most records become dead letters: unfit"):
        await job.settle(range(100))
    limit = ShareLimits().deadletters
    assert job.buried() == job.finished == list(range(limit))
    assert job.count("alerts_deadletter_share") == 1.0


async def test_a_stage_that_stops_says_so_loudly() -> None:
    """An error in the log with stage, share and the reason they die of, before the process ends."""
    job = Job(failing(range(100), lambda: InvalidError("unfit", "s3cr3t")))
    with capture_logs() as logs, pytest.raises(FatalError):
        await job.settle(range(100))
    [loud] = [entry for entry in logs if entry["event"] == "too_many_deadletters"]
    assert (loud["log_level"], loud["stage"], loud["share"]) == ("error", "test", 1.0)
    assert (loud["reason"], loud["topic"]) == ("unfit", "signals")
    assert "s3cr3t" not in str(logs)


async def test_parallel_batches_do_not_bury_beyond_the_limit() -> None:
    """Dead letters on their way to the broker count as well."""
    job = Job(failing(range(100), lambda: InvalidError("unfit")))
    settler = job.settler()
    batches = [settler.settle(records(range(start, start + 20))) for start in range(0, 100, 20)]
    results = await asyncio.gather(*batches, return_exceptions=True)
    assert all(isinstance(result, FatalError) for result in results)
    assert len(job.buried()) == ShareLimits().deadletters


async def test_poison_among_good_records_does_not_stop_a_stage() -> None:
    """However much of it there is."""
    poison = range(0, 300, 3)
    job = Job(failing(poison, lambda: InvalidError("unfit")))
    await job.settle(range(300))
    assert job.buried() == list(poison)
