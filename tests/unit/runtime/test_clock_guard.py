import pytest

from runtime.clock_guard import DISTRUST_S, MAX_OFF_MS, WITNESS_S, ClockError, ClockGuard
from runtime.errors import TransientError
from tests.support.clock import START_MS, FakeClock


def guarded_clock() -> tuple[FakeClock, ClockGuard]:
    clock = FakeClock()
    return clock, ClockGuard(clock)


def step(clock: FakeClock, milliseconds: int) -> None:
    clock.set_unix_ms(clock.unix_ms() + milliseconds)


def refuses(guard: ClockGuard) -> bool:
    try:
        guard.check()
    except ClockError:
        return True
    return False


def test_a_steady_clock_is_trusted_without_any_broker() -> None:
    """Hours between two requests are no step."""
    clock, guard = guarded_clock()
    for seconds in (0.0, 0.001, 60.0, 86_400.0):
        clock.move(seconds)
        guard.check()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_two_minutes_off_the_brokers_is_refused(sign: int) -> None:
    """On either side; two minutes exactly are allowed."""
    _, guard = guarded_clock()
    guard.observe_broker(START_MS + sign * MAX_OFF_MS)
    guard.check()
    guard.observe_broker(START_MS + sign * (MAX_OFF_MS + 1))
    with pytest.raises(TransientError, match="broker"):
        guard.check()


@pytest.mark.parametrize("off_ms", [600_000, -600_000])
def test_a_clock_that_is_put_right_is_trusted_again(off_ms: int) -> None:
    """At once: a step to where the broker's clock is by now needs no other witness."""
    clock, guard = guarded_clock()
    guard.observe_broker(START_MS - off_ms)
    clock.move(30)
    assert refuses(guard)
    step(clock, -off_ms)
    guard.check()
    step(clock, off_ms)
    assert refuses(guard)


def test_a_broker_is_not_believed_for_ever() -> None:
    """A closed ingress hears nothing new: what it heard last must not keep it closed."""
    clock, guard = guarded_clock()
    guard.observe_broker(START_MS - 600_000)
    clock.move(WITNESS_S - 1)
    assert refuses(guard)
    clock.move(1)
    guard.check()


def test_a_clock_that_runs_backwards_is_refused_for_a_while() -> None:
    """Each step begins the time anew; afterwards the new time is the time."""
    clock, guard = guarded_clock()
    step(clock, -2_000)
    assert refuses(guard)
    clock.move(DISTRUST_S - 1)
    assert refuses(guard)
    step(clock, -2_000)
    assert refuses(guard)
    clock.move(DISTRUST_S - 1)
    assert refuses(guard)
    clock.move(1)
    guard.check()
    clock.move(3_600)
    guard.check()


def test_a_step_back_is_noticed_after_a_silence_too() -> None:
    """Although the time is later than at the last call."""
    clock, guard = guarded_clock()
    clock.move(3_600)
    step(clock, -1_800_000)
    assert refuses(guard)


def test_many_small_steps_backwards_are_running_backwards() -> None:
    """None of them alone would be noticed."""
    clock, guard = guarded_clock()
    for _ in range(111):
        step(clock, -9)
        guard.check()
    for _ in range(2):
        step(clock, -9)
    assert refuses(guard)


def test_small_corrections_are_no_outage() -> None:
    """Time daemons make them; the sender would have to wait for nothing."""
    clock, guard = guarded_clock()
    for correction_ms in (-500, 500, -900, 60_000):
        step(clock, correction_ms)
        clock.move(1)
        guard.check()


def test_a_leap_forward_is_refused_until_a_broker_agrees() -> None:
    """Nobody else can tell whether the clock was wrong before or is wrong now."""
    clock, guard = guarded_clock()
    step(clock, MAX_OFF_MS + 1)
    assert refuses(guard)
    guard.observe_broker(clock.unix_ms() + 1_000)
    guard.check()


def test_a_broker_heard_before_a_step_does_not_excuse_it() -> None:
    """Ten seconds back are within its two minutes, and are backwards all the same."""
    clock, guard = guarded_clock()
    guard.observe_broker(START_MS)
    step(clock, -10_000)
    assert refuses(guard)
    guard.observe_broker(clock.unix_ms() + 10_000)
    guard.check()
