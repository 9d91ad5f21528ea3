from processors.charts import choose_chart
from processors.reading import Outcome
from schemas.records import Warning_

LINK = "https://www.tradingview.com/chart/Ab3dE9xZ/"


def test_the_first_valid_source_wins() -> None:
    """Query, key, text, default, in this order."""
    sources = ["Query123", "Keyed123", "Linked12", "Default1"]
    for skipped in range(4):
        query, key, linked, default = ["" if at < skipped else chart for at, chart in enumerate(sources)]
        texts = [f"tradingview.com/chart/{linked}/"] if linked else []
        chosen = choose_chart(f"chart={query}", [key] if key else [], texts, default or None)
        assert (chosen.value, chosen.warning) == (sources[skipped], None)


def test_what_is_invalid_is_passed_over_with_a_warning() -> None:
    """Ids have 4 to 32 ASCII letters and digits."""
    for bad in ("abc", "a" * 33, "Ab3-E9xZ", "ñandú123", "../../etc", "１２３４"):
        assert choose_chart(f"chart={bad}", [], [], "Default1") == Outcome("Default1", Warning_.INVALID_CHART)
    for good in ("abcd", "a" * 32):
        assert choose_chart(f"chart={good}", [], [], None) == Outcome(good)


def test_nothing_after_the_winner_is_looked_at() -> None:
    """A bad key is nobody's concern when the query names the chart."""
    assert choose_chart("chart=Ab3dE9xZ", ["!"], [], None) == Outcome("Ab3dE9xZ")


def test_queries_are_read_like_forms() -> None:
    """Percent-decoding, plus as space, blank values and broken escapes."""
    assert choose_chart("a=1&chart=&chart=%20Ab3dE9xZ+&x=%ff%zz&chart", [], [], None).value == "Ab3dE9xZ"
    assert choose_chart("%63hart=Ab3dE9xZ", [], [], None).value == "Ab3dE9xZ"


def test_a_link_is_reduced_to_its_id() -> None:
    """Wherever an id may stand, a full link may."""
    assert choose_chart(f"chart={LINK}?symbol=X", [], [], None).value == "Ab3dE9xZ"
    assert choose_chart("", [LINK], [], None).value == "Ab3dE9xZ"
    assert choose_chart("", [], [f"mira {LINK}."], None).value == "Ab3dE9xZ"


def test_only_charts_of_tradingview_count() -> None:
    """Ideas, other sites and links without an id name no chart."""
    for text in (
        "https://www.tradingview.com/chart/BTCUSDT/abcdefgh-Title/",
        "https://www.tradingview.com/chart/?symbol=X",
        "https://example.com/chart/Ab3dE9xZ/",
        "https://faketradingview.com/chart/Ab3dE9xZ/",
    ):
        assert choose_chart("", [], [text], None) == Outcome(None)
