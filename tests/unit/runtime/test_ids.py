from datetime import UTC, datetime
from uuid import UUID

import pytest

from runtime.ids import SignalIds, lowest_id_at, received_at_of, unix_ms_of, uuid7
from tests.support.clock import START_MS, FakeClock


def test_the_example_of_the_standard_is_reproduced() -> None:
    """RFC 9562, appendix A.6."""
    example = UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert uuid7(0x017F22E279B0, 0xCC3, 0x18C4DC0C0C07398F) == example
    assert unix_ms_of(example) == 0x017F22E279B0
    assert received_at_of(example) == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


def test_an_id_carries_the_time_of_its_minting() -> None:
    """The receive time is read off the id."""
    assert received_at_of(SignalIds(FakeClock()).mint()) == datetime(
        2026, 3, 14, 9, 26, 53, 125_000, tzinfo=UTC
    )


def test_a_used_up_counter_borrows_the_next_millisecond() -> None:
    """More than 4,096 ids in a millisecond still grow."""
    ids = SignalIds(FakeClock(), lambda bits: (1 << bits) - 1)
    minted = [ids.mint() for _ in range(5000)]
    assert minted == sorted(set(minted))
    assert unix_ms_of(minted[-1]) > START_MS


def test_payload_that_does_not_fit_is_cut() -> None:
    """Version and variant survive whatever is passed in."""
    value = uuid7(2**48 - 1, 2**12 - 1, 2**64 - 1)
    assert (value.version, value.variant) == (7, "specified in RFC 4122")
    assert unix_ms_of(uuid7(2**60 + 5, 0, 0)) == 5


def test_two_processes_do_not_mint_the_same_id() -> None:
    """With equal time and equal counter the random bits tell them apart."""
    clock = FakeClock()
    assert SignalIds(clock).mint() != SignalIds(clock).mint()


@pytest.mark.parametrize("unix_ms", [0, 1, START_MS, 2**48 - 1])
def test_the_lowest_id_bounds_its_millisecond(unix_ms: int) -> None:
    """A time filter as an id bound takes in all ids of the millisecond and none of the one before."""
    assert lowest_id_at(unix_ms) <= uuid7(unix_ms, 0, 0)
    assert lowest_id_at(unix_ms).version == 7
    if unix_ms:
        assert uuid7(unix_ms - 1, 0xFFF, 2**62 - 1) < lowest_id_at(unix_ms)
