from capture.phases import Phase, Phases
from capture.try_narrator import Narrator
from tests.support.clock import FakeClock


def test_each_phase_is_told_when_it_is_over() -> None:
    """With the time since it was entered; entering the present one again tells nothing."""
    lines: list[str] = []
    clock = FakeClock()
    narrator = Narrator(lines.append, clock)
    narrator.enter("session")
    clock.move(0.25)
    narrator.enter("session")
    clock.move(0.25)
    narrator.enter("browser")
    assert [line.split() for line in lines] == [["session", "500", "ms"]]
    clock.move(2)
    narrator.end()
    narrator.end()
    assert [line.split() for line in lines[1:]] == [["browser", "2000", "ms"]]


def test_the_phases_of_a_capture_are_heard_inside_only() -> None:
    """The engine needs to know nothing of who listens."""
    lines: list[str] = []
    clock = FakeClock()
    narrator = Narrator(lines.append, clock)
    with narrator.listening():
        phases = Phases(clock)
        for phase in (Phase.READY, Phase.READY, Phase.SETTLE, Phase.READY):
            clock.move(1)
            phases.enter(phase)
    phases.enter(Phase.SHOOT)
    assert [line.split() for line in lines] == [
        ["navigate", "1000", "ms"],
        ["ready", "2000", "ms"],
        ["settle", "1000", "ms"],
        ["ready", "0", "ms"],
    ]
