"""The spool's folder against a model, through restarts and damage."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.spool_file import encode_entry
from ingest.spool_folder import RecordNumber, SpoolFolder
from runtime.metrics import create_metrics
from runtime.publisher import Message

MESSAGES = st.builds(
    Message,
    topic=st.text(max_size=5),
    key=st.none() | st.binary(max_size=5),
    value=st.binary(max_size=20) | st.integers(0, 20_000).map(bytes),
    headers=st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=3),
)


class FolderMachine(RuleBasedStateMachine):
    """One process at a time; orphans come from a second that puts and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.held = SpoolFolder(self.path, create_metrics())
        self.adopted: list[Message] = []
        self.own: list[Message] = []
        self.removed: list[RecordNumber] = []

    def teardown(self) -> None:
        self.held.close()
        shutil.rmtree(self.path)

    @rule(messages=st.lists(MESSAGES, min_size=1, max_size=4))
    def put(self, messages: list[Message]) -> None:
        self.held.write([encode_entry(message, 1) for message in messages])
        self.own += messages

    @rule(chosen=st.sets(st.integers(0, 9)))
    def remove(self, chosen: set[int]) -> None:
        """Any of the first, as acks come."""
        found = self.held.read(10)
        numbers = [one.number for index, one in enumerate(found) if index in chosen]
        self.held.remove(numbers)
        self.removed += numbers
        everything = [*self.adopted, *self.own]
        kept = [index for index in range(len(everything)) if index not in chosen or index >= 10]
        self.adopted, self.own = (
            [everything[index] for index in kept if index < len(self.adopted)],
            [everything[index] for index in kept if index >= len(self.adopted)],
        )

    @rule()
    def remove_again(self) -> None:
        """Numbers of long ago harm nothing."""
        self.held.remove(self.removed)

    @precondition(lambda self: not self.adopted)
    @rule(messages=st.lists(MESSAGES, min_size=1, max_size=3))
    def orphan(self, messages: list[Message]) -> None:
        other = SpoolFolder(self.path, create_metrics())
        other.write([encode_entry(message, 0) for message in messages])
        other.close()
        self.held.adopt()
        self.adopted = list(messages)

    @precondition(lambda self: not self.adopted)
    @rule()
    def restart(self) -> None:
        self.held.close()
        self.held = SpoolFolder(self.path, create_metrics())
        self.held.adopt()
        self.removed = []
        self.adopted, self.own = self.own, []

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        expected = [*self.adopted, *self.own]
        assert [one.message for one in self.held.read(1000)] == expected
        assert self.held.totals().records == len(expected)
        size_bytes = sum(encode_entry(message, 0).size_bytes for message in expected)
        assert self.held.totals().bytes == size_bytes


TestFolder = FolderMachine.TestCase
TestFolder.settings = settings(max_examples=20, stateful_step_count=20)


@settings(max_examples=40)
@given(
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3000)), min_size=1
    ),
    cut=st.none() | st.floats(0, 1),
)
# the record of a row became a number
@example(places=[(0.5598326606947157, b"\x00\x00\x00\x16")], cut=None)
def test_damage_never_yields_a_record_that_was_not_put(
    places: list[tuple[float, bytes]], cut: float | None
) -> None:
    """Any bytes anywhere in a file, cut anywhere: true records or none, and the spool works on."""
    folder = Path(tempfile.mkdtemp())
    values = [bytes([number]) * 500 for number in range(40)]
    first = SpoolFolder(folder, create_metrics())
    first.write([encode_entry(Message("t", b"k", value), 1) for value in values])
    first.close()
    [path] = folder.glob("*.db")
    content = bytearray(path.read_bytes())
    for place, damage in places:
        start = int(place * len(content))
        content[start : start + len(damage)] = damage[: len(content) - start]
    path.write_bytes(content if cut is None else content[: int(cut * len(content))])

    second = SpoolFolder(folder, create_metrics())
    second.adopt()
    found = [one.message.value for one in second.read(1000)]
    assert set(found) <= set(values)
    second.write([encode_entry(Message("t", b"k", b"new"), 2)])
    assert second.read(1000)[-1].message.value == b"new"
    second.remove([one.number for one in second.read(1000)])
    second.close()
    shutil.rmtree(folder)
