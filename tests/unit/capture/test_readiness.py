import pytest

from capture.chart import ChartView
from capture.outcomes import Outcome
from capture.readiness import Look, Report, read_look, read_report, readiness_script
from capture.site import load_site


def test_a_report_is_read() -> None:
    """What the script in the page says."""
    assert read_report('{"kind":"blocked","outcome":"symbol_unknown"}') == Report(
        "blocked", outcome=Outcome.SYMBOL_UNKNOWN
    )
    assert read_report('{"kind":"waiting","missing":["data"]}') == Report("waiting", missing=("data",))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "null",
        "{}",
        '{"kind":"completed"}',
        '{"kind":"blocked","outcome":"x"}',
        '{"kind":"blocked","outcome":"completed"}',
        '{"kind":"blocked","outcome":"stale"}',
    ],
)
def test_what_a_page_invents_is_no_report(payload: str) -> None:
    """Any page can call the binding."""
    assert read_report(payload) is None


def test_a_look_tells_where_the_chart_is() -> None:
    """So that the picture can be checked there."""
    look = read_look('{"outcome":null,"missing":["drawn"],"pane":[52,46,1280,686]}')
    assert look == Look(None, ("drawn",), (52, 46, 1280, 686))


@pytest.mark.parametrize(
    "value", [None, 1, {}, "", "[]", '{"outcome":"x","missing":[]}', '{"outcome":"degraded","missing":[]}']
)
def test_what_a_page_invents_is_no_look(value: object) -> None:
    """Nor can it make a picture count by answering something else."""
    assert read_look(value) is None


def test_the_script_cannot_be_left_by_a_ticker() -> None:
    """It is a value in the script, never a part of it."""
    ticker = '"});alert(1);//\u2028</script>'
    script = readiness_script(load_site(None), ChartView("abcd", ticker, None))
    assert ticker not in script
    assert '\\"});alert(1);//\\u2028' in script
