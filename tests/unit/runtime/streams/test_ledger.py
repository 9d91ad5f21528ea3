from runtime.streams.ledger import Ledger
from tests.support.records import SOURCE, record, records


def test_finishing_out_of_order_acknowledges_in_order() -> None:
    """The head holds back what is finished behind it."""
    ledger, acknowledged = Ledger(), list[int]()
    first, second, third = records([5, 6, 9])
    for item in (first, second, third):
        ledger.admit(item, lambda offset=item.offset: acknowledged.append(offset), 0.0)  # type: ignore[misc]  # bound now
    assert (ledger.finish(third), ledger.finish(second)) == (0, 0)
    assert acknowledged == []
    assert ledger.finish(first) == 3
    assert acknowledged == [5, 6, 9]


def test_a_new_assignment_replaces_the_old_one() -> None:
    """Work on an earlier delivery may end, but it acknowledges nothing any more."""
    ledger, acknowledged = Ledger(), list[int]()
    old, new = record(5, generation=1), record(5, generation=2)
    ledger.admit(old, lambda: acknowledged.append(1), 0.0)
    assert ledger.is_current(old)
    ledger.admit(new, lambda: acknowledged.append(2), 0.0)
    assert (ledger.is_current(old), ledger.is_current(new)) == (False, True)
    assert (ledger.finish(old), acknowledged) == (0, [])
    assert (ledger.finish(new), acknowledged) == (1, [2])


def test_what_was_dropped_is_finished_in_silence() -> None:
    """A record can be in work while its assignment is forgotten and a neighbour comes late."""
    ledger = Ledger()
    first, second = record(1, generation=1), record(2, generation=1)
    ledger.admit(first, lambda: None, 0.0)
    ledger.drop_older_than(2)
    assert not ledger.is_current(first)
    ledger.admit(second, lambda: None, 1.0)
    assert ledger.finish(first) == 0
    assert ledger.finish(second) == 1


def test_dropping_spares_the_present_assignment() -> None:
    """Partitions that were moved away no longer age; those that stayed do."""
    ledger = Ledger()
    gone = record(1, generation=1, source=SOURCE._replace(partition=1))
    kept = record(1, generation=2)
    ledger.admit(gone, lambda: None, 10.0)
    ledger.admit(kept, lambda: None, 20.0)
    assert ledger.oldest_admitted_at_s() == 10.0
    ledger.drop_older_than(2)
    assert ledger.oldest_admitted_at_s() == 20.0
    assert ledger.finish(kept) == 1
    assert ledger.oldest_admitted_at_s() is None


def test_a_record_is_acknowledged_once() -> None:
    """Finishing again is harmless."""
    ledger, acknowledged = Ledger(), list[int]()
    item = record(1)
    ledger.admit(item, lambda: acknowledged.append(1), 0.0)
    assert (ledger.finish(item), ledger.finish(item)) == (1, 0)
    assert acknowledged == [1]


def test_a_rewind_under_the_same_generation_starts_anew() -> None:
    """As when a static member joins again: what was in work must not hold back what is delivered again."""
    ledger, acknowledged = Ledger(), []

    def admit(offset: int, delivery: str) -> None:
        ledger.admit(record(offset), lambda: acknowledged.append((offset, delivery)), 0.0)

    for offset in (3, 4, 5):
        admit(offset, "first")
    ledger.finish(record(3))
    ledger.finish(record(5))
    for offset in (3, 4, 5, 6):
        admit(offset, "second")
    assert acknowledged == [(3, "first")]
    for offset in (3, 4, 5, 6):
        ledger.finish(record(offset))
    assert acknowledged[1:] == [(offset, "second") for offset in (3, 4, 5, 6)]
    assert ledger.oldest_admitted_at_s() is None
