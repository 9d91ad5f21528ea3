"""Letters go back at their pace, in their order, and those that cannot are told."""

from collections.abc import AsyncIterator, Iterable, Sequence

import pytest
from aiokafka import errors as kafka

from runtime.deadletter_log import Place, StoredLetter
from runtime.deadletter_postmark import postmark_headers
from runtime.deadletter_redrive import BITE_BYTES, BITE_S, Redrive, Redriven, refusal_of
from runtime.pacer import Pacer
from runtime.publisher import Message, Publisher
from schemas.topics import TOPICS
from tests.support.clock import EagerClock
from tests.support.deadletters import foreign_letter, postmark_of, stored_letter
from tests.support.publisher import MemoryPublisher


async def stream(letters: Iterable[StoredLetter]) -> AsyncIterator[StoredLetter]:
    for letter in letters:
        yield letter


class TimedPublisher(MemoryPublisher):
    """Notes when each message came, on a clock."""

    def __init__(self, clock: EagerClock) -> None:
        super().__init__()
        self.clock = clock
        self.times_s: list[float] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        await super().publish(messages)
        self.times_s += [self.clock.monotonic_s()] * len(messages)


async def redrive(
    letters: Iterable[StoredLetter], publisher: Publisher, rate_per_s: float = 50.0
) -> tuple[Redriven, list[int]]:
    done: list[int] = []
    redriving = Redrive(publisher, Pacer(rate_per_s, EagerClock()), Redriven(Place(0, 0)))
    await redriving.run(stream(letters), done.append)
    return redriving.progress, done


async def test_letters_go_back_in_order_as_they_were() -> None:
    """Each to its own topic."""
    publisher = MemoryPublisher()
    topics = ["webhooks.raw", "signals", "webhooks.replay"]
    letters = [
        stored_letter(number, topic=topic, value=b"%d" % number) for number, topic in enumerate(topics)
    ]
    progress, done = await redrive(letters, publisher)
    assert [(message.topic, message.value) for message in publisher.messages] == [
        ("webhooks.raw", b"0"),
        ("signals", b"1"),
        ("webhooks.replay", b"2"),
    ]
    assert publisher.messages[0].headers[0] == ("ce_id", b"x")
    assert (progress.redriven, progress.next_place, sum(done)) == (3, Place(0, 3), 3)


@pytest.mark.parametrize("rate_per_s", [0.5, 3.0, 50.0, 1000.0])
async def test_the_rate_is_kept(rate_per_s: float) -> None:
    """In any second, however it is chosen, no more letters than the rate and one bite."""
    clock = EagerClock()
    publisher = TimedPublisher(clock)
    pace = Pacer(rate_per_s, clock)
    letters = [stored_letter(number) for number in range(2500 if rate_per_s > 100 else 120)]
    await Redrive(publisher, pace, Redriven(Place(0, 0))).run(stream(letters), lambda _done: None)
    times_s = publisher.times_s
    most = rate_per_s + pace.records_in(BITE_S)
    for first, begun_s in enumerate(times_s):
        assert sum(begun_s <= at_s < begun_s + 1 for at_s in times_s[first : first + 2000]) <= most
    assert times_s[-1] - times_s[0] >= (len(letters) - pace.records_in(BITE_S)) / rate_per_s - 1e-6


@pytest.mark.parametrize(
    ("letter", "refusal"),
    [
        (foreign_letter([]), "unreadable: no header dl_failed_at"),
        (stored_letter(topic="elsewhere"), "of a topic that takes no letters back"),
        (stored_letter(topic="deadletters"), "of a topic that takes no letters back"),
        (stored_letter(topic="tenants"), "of a topic that takes no letters back"),
        (
            foreign_letter([*postmark_headers(postmark_of()), ("dl_lost_headers", b"2")]),
            "headers of the original are lost",
        ),
        (stored_letter(value=b"v" * 1024 * 1024), "too large for its topic"),
    ],
    ids=["foreign", "unknown topic", "itself", "compacted", "incomplete", "too large"],
)
async def test_what_has_no_place_to_go_back_to_is_refused(letter: StoredLetter, refusal: str) -> None:
    """Its neighbours go, and the reason is counted."""
    publisher = MemoryPublisher()
    progress, done = await redrive([stored_letter(0), letter, stored_letter(2)], publisher)
    assert (progress.redriven, dict(progress.refused), sum(done)) == (2, {refusal: 1}, 3)
    assert len(publisher.messages) == 2


def test_every_topic_that_is_consumed_takes_its_letters_back() -> None:
    """All that are declared but the letters' own and the compacted one."""
    taking = {topic.name for topic in TOPICS if refusal_of(stored_letter(topic=topic.name)) is None}
    assert taking == {topic.name for topic in TOPICS} - {"deadletters", "tenants"}


async def test_a_letter_its_topic_never_takes_does_not_hold_up_the_others() -> None:
    """What a broker refuses in a batch is tried alone; the rest arrives."""

    class Picky(MemoryPublisher):
        async def publish(self, messages: Sequence[Message]) -> None:
            if any(message.value == b"large" for message in messages):
                raise kafka.MessageSizeTooLargeError
            await super().publish(messages)

    publisher = Picky()
    letters = [
        stored_letter(number, value=b"large" if number == 1 else b"%d" % number) for number in range(4)
    ]
    progress, _done = await redrive(letters, publisher)
    assert [message.value for message in publisher.messages] == [b"0", b"2", b"3"]
    assert (progress.redriven, dict(progress.refused)) == (3, {"too large for its topic": 1})


async def test_an_outage_ends_it_at_a_place_to_go_on_from() -> None:
    """Everything before that place is on its topic."""

    class Failing(MemoryPublisher):
        async def publish(self, messages: Sequence[Message]) -> None:
            if self.calls == 2:
                raise kafka.KafkaConnectionError
            await super().publish(messages)

    publisher = Failing()
    progress = Redriven(Place(0, 0))
    redriving = Redrive(publisher, Pacer(50.0, EagerClock()), progress)
    with pytest.raises(kafka.KafkaConnectionError):
        await redriving.run(stream([stored_letter(number) for number in range(100)]), lambda _done: None)
    assert progress.next_place == Place(0, len(publisher.messages)) == Place(0, 10)


async def test_large_letters_are_published_few_at_a_time() -> None:
    """A bite is bounded in bytes, too."""
    publisher = MemoryPublisher()
    value = b"v" * (BITE_BYTES // 4)
    letters = [stored_letter(number, topic="signals", value=value) for number in range(8)]
    await redrive(letters, publisher, 10_000.0)
    assert publisher.calls == 2
