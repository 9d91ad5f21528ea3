"""Ids under every behaviour of a clock."""

import copy
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.clock import utc_from_ms
from runtime.ids import RandomPool, SignalIds, lowest_id_at, received_at_of, unix_ms_of, uuid7
from tests.support.clock import FakeClock

LAST_MS = 253_402_300_799_999
MOMENTS = st.integers(0, LAST_MS)
# A clock stalls, runs, and is set back or ahead.
STEPS = st.lists(st.integers(-3, 3) | st.integers(-100_000, 100_000), max_size=60)


@given(start_ms=st.integers(10**12, LAST_MS - 10**8), steps=STEPS, entropy=st.randoms(use_true_random=False))
def test_ids_of_a_process_strictly_grow(start_ms: int, steps: list[int], entropy: object) -> None:
    """Whatever the wall clock does, each id is greater than all before it and never from the past."""
    clock = FakeClock(unix_ms=start_ms)
    ids = SignalIds(clock, entropy.getrandbits)  # type: ignore[attr-defined]  # Hypothesis's Random
    minted = []
    for step in steps:
        clock.set_unix_ms(clock.unix_ms() + step)
        minted.append(ids.mint())
        assert unix_ms_of(minted[-1]) >= clock.unix_ms()
    assert minted == sorted(set(minted))
    assert all((value.version, value.variant) == (7, "specified in RFC 4122") for value in minted)


@settings(max_examples=10)
@given(count=st.integers(4000, 9000))
def test_a_stalled_clock_only_borrows_what_it_must(count: int) -> None:
    """On a clock that stands still an id is ahead by one millisecond for each 4,096 before it."""
    clock = FakeClock()
    ids = SignalIds(clock, lambda _bits: 0)
    last = [ids.mint() for _ in range(count)][-1]
    assert unix_ms_of(last) - clock.unix_ms() == (count - 1) // 4096


@given(unix_ms=MOMENTS, rand_a=st.integers(0, 2**12 - 1), rand_b=st.integers(0, 2**62 - 1))
def test_the_receive_time_is_the_ids_milliseconds(unix_ms: int, rand_a: int, rand_b: int) -> None:
    """No bit of the payload leaks into the time."""
    minted = uuid7(unix_ms, rand_a, rand_b)
    assert unix_ms_of(minted) == unix_ms
    assert received_at_of(minted) == utc_from_ms(unix_ms)
    assert lowest_id_at(unix_ms) <= minted < lowest_id_at(unix_ms + 1)


@given(unix_ms=MOMENTS, rand_a=st.integers(0, 2**12 - 1), rand_b=st.integers(0, 2**62 - 1))
def test_a_minted_id_is_what_the_constructor_makes(unix_ms: int, rand_a: int, rand_b: int) -> None:
    """Equal in every way one can look at it, also of a copy."""
    minted = uuid7(unix_ms, rand_a, rand_b)
    made = UUID(str(minted))
    assert {slot: getattr(minted, slot) for slot in ("int", "is_safe")} == {
        "int": made.int,
        "is_safe": made.is_safe,
    }
    assert (minted, hash(minted), repr(minted)) == (made, hash(made), repr(made))
    assert copy.deepcopy(minted) == made


@given(unix_ms=MOMENTS)
def test_milliseconds_survive_the_calendar(unix_ms: int) -> None:
    """A moment as a datetime is the moment it came from."""
    moment = utc_from_ms(unix_ms)
    assert int(moment.timestamp()) == unix_ms // 1000
    assert moment.microsecond == unix_ms % 1000 * 1000


@given(draws=st.lists(st.integers(1, 64), max_size=2000), source=st.randoms(use_true_random=False))
def test_a_pool_gives_each_bit_once(draws: list[int], source: object) -> None:
    """What it gives are the leading bits of one word after the other, and no more than was asked for."""
    read: list[bytes] = []

    def random_bytes(count: int) -> bytes:
        read.append(source.randbytes(count))  # type: ignore[attr-defined]  # Hypothesis's Random
        return read[-1]

    pool = RandomPool(random_bytes)
    given_bits = [pool.bits(count) for count in draws]
    words = b"".join(read)
    expected = [int.from_bytes(words[8 * at : 8 * at + 8]) >> (64 - count) for at, count in enumerate(draws)]
    assert given_bits == expected
