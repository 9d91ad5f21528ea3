"""Puts dead letters back on the topics they came from, at a bounded rate.

Nothing is remembered of it. A letter stays on its topic until its retention ends, and may be redriven again:
every store keeps the first of what has one id, so the second time adds nothing. Letters go in the order of
their places, so one place is enough to go on from.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from runtime.deadletter_log import Place, StoredLetter
from runtime.deadletter_postmark import UnreadableLetter, original_headers
from runtime.deadletters import redriven_message
from runtime.errors import Failure, classify
from runtime.pacer import Pacer
from runtime.publisher import Message, Publisher, sent_bytes
from schemas.topics import DEADLETTERS, TOPICS

BITE_S: Final = 0.1
"""As much is published at once as the rate allows in this time."""

TOO_LARGE: Final = "too large for its topic"

BITE_BYTES: Final = 8 * 1024 * 1024

# In `deadletters` a letter would only pile up, and on a compacted topic an old record would replace newer.
_LIMITS_BYTES: Final = {
    topic.name: topic.max_message_bytes
    for topic in TOPICS
    if not topic.compacted and topic is not DEADLETTERS
}


def refusal_of(letter: StoredLetter) -> str | None:
    """Why a letter cannot be put back, in a few words; None when it can."""
    postmark = letter.postmark
    if isinstance(postmark, UnreadableLetter):
        return f"unreadable: {postmark.problem}"
    if postmark.topic not in _LIMITS_BYTES:
        return "of a topic that takes no letters back"
    if postmark.lost_headers:
        return "headers of the original are lost"
    if sent_bytes(letter.key, letter.value, original_headers(letter.headers)) > _LIMITS_BYTES[postmark.topic]:
        return TOO_LARGE
    return None


@dataclass(slots=True)
class Redriven:
    """How far a redrive has come. `next_place` is where another may go on."""

    next_place: Place
    redriven: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Redrive:
    """`progress` is current at any time, also after `run` was cancelled or has raised."""

    def __init__(self, publisher: Publisher, pacer: Pacer, progress: Redriven) -> None:
        self._publisher = publisher
        self._pacer = pacer
        self.progress = progress

    async def run(self, letters: AsyncIterator[StoredLetter], on_done: Callable[[int], None]) -> None:
        """Returns when every letter is on its topic or refused. `on_done` is told how many were done.

        Raises the publisher's error when the broker is away: what is after `next_place` may be there or not.
        """
        bite: list[StoredLetter] = []
        bite_bytes = 0
        async for letter in letters:
            bite.append(letter)
            bite_bytes += len(letter.value)
            if len(bite) >= self._pacer.records_in(BITE_S) or bite_bytes >= BITE_BYTES:
                await self._put_back(bite, on_done)
                bite, bite_bytes = [], 0
        await self._put_back(bite, on_done)

    async def _put_back(self, bite: Sequence[StoredLetter], on_done: Callable[[int], None]) -> None:
        messages = [message for letter in bite if (message := self._message(letter))]
        if messages:
            await self._pacer.until_turn(len(messages))
            await self._publish(messages)
        if bite:
            self.progress.next_place = bite[-1].place.next
            on_done(len(bite))

    def _message(self, letter: StoredLetter) -> Message | None:
        refusal = refusal_of(letter)
        if refusal is None and not isinstance(letter.postmark, UnreadableLetter):
            return redriven_message(letter.postmark, letter.key, letter.value, letter.headers)
        self.progress.refused[refusal or ""] += 1
        return None

    async def _publish(self, messages: Sequence[Message]) -> None:
        try:
            await self._publisher.publish(messages)
        except Exception as error:
            if classify(error) is not Failure.INVALID:
                raise
            if len(messages) > 1:
                # which of them it was is not said; those that are there already do no harm
                for message in messages:
                    await self._publish([message])
                return
            self.progress.refused[TOO_LARGE] += 1
        else:
            self.progress.redriven += len(messages)
