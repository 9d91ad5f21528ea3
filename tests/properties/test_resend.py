"""The memory of resends against its contract, under any order of events."""

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ingest.resend import EARLIEST_RESEND_S, REMEMBERED_FOR_S, ResendKey, ResendMemory, resend_key
from runtime.ids import SignalIds
from tests.support.clock import FakeClock

USERS = [UUID(int=1), UUID(int=2)]
KEYS = [resend_key(user, query, body) for user in USERS for query in ("", "chart=a") for body in (b"x", b"y")]


class ResendMachine(RuleBasedStateMachine):
    """Remembers and recalls as webhooks come, and keeps a list of what it did."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.ids = SignalIds(self.clock)
        self.memory = ResendMemory()
        self.waiting: dict[ResendKey, list[tuple[UUID, float]]] = {key: [] for key in KEYS}

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.9, 4.0, 5.0, 30.0, 55.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.move(seconds)

    @rule(key=st.sampled_from(KEYS))
    def answer_503(self, key: ResendKey) -> None:
        signal_id = self.ids.mint()
        self.memory.remember(key, signal_id, self.clock.monotonic_s())
        self.waiting[key].append((signal_id, self.clock.monotonic_s()))

    @rule(key=st.sampled_from(KEYS))
    def receive(self, key: ResendKey) -> None:
        """The oldest of the last 60 s, once, and only when it can be a resend at all."""
        now_s = self.clock.monotonic_s()
        self.waiting[key] = [item for item in self.waiting[key] if now_s - item[1] <= REMEMBERED_FOR_S]
        due = [signal_id for signal_id, at_s in self.waiting[key] if now_s - at_s >= EARLIEST_RESEND_S]
        expected = due[0] if due else None
        assert self.memory.recall(key, now_s) == expected
        if expected is not None:
            self.waiting[key].pop(0)


TestResend = ResendMachine.TestCase
TestResend.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_the_memory_is_bounded() -> None:
    """The oldest are forgotten first, so a flood costs a fixed amount of memory."""
    memory = ResendMemory(capacity=3)
    ids = SignalIds(FakeClock())
    keys = [resend_key(USERS[0], "", b"%d" % number) for number in range(5)]
    minted = [ids.mint() for _ in keys]
    for key, signal_id in zip(keys, minted, strict=True):
        memory.remember(key, signal_id, 0.0)
    assert [memory.recall(key, 5.0) for key in keys] == [None, None, *minted[2:]]


def test_a_resend_has_the_same_sender_query_and_body() -> None:
    """Each part of the key counts."""
    key = resend_key(USERS[0], "chart=a", b"x")
    assert key == resend_key(USERS[0], "chart=a", b"x")
    others = [(USERS[1], "chart=a", b"x"), (USERS[0], "chart=b", b"x"), (USERS[0], "chart=a", b"X")]
    assert key not in [resend_key(*other) for other in others]
