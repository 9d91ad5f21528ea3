from capture.phases import Phase, Phases
from tests.support.clock import FakeClock


def test_time_goes_to_the_phase_it_was_spent_in() -> None:
    """A phase that is entered again adds up."""
    clock = FakeClock()
    phases = Phases(clock)
    for phase, seconds in [(Phase.READY, 1.0), (Phase.SETTLE, 2.0), (Phase.READY, 0.5), (Phase.SHOOT, 3.0)]:
        clock.move(seconds)
        phases.enter(phase)
    clock.move(0.25)
    assert phases.current is Phase.SHOOT
    assert phases.timings_ms() == {"navigate": 1000, "ready": 5000, "settle": 500, "shoot": 250}
