import pytest

from processors.directions import line_that_says, read_direction
from schemas.records import Direction, Warning_
from tests.support.webhooks import vocabulary

LONG, SHORT, FLAT = Direction.LONG, Direction.SHORT, Direction.FLAT


@pytest.mark.parametrize(
    ("words", "direction"),
    [
        ("LONG BUY COMPRA ALCISTA BULLISH", LONG),
        ("SHORT SELL VENTA BAJISTA BEARISH", SHORT),
        ("FLAT CLOSE EXIT CIERRE", FLAT),
    ],
)
def test_each_word_means_its_direction(words: str, direction: Direction) -> None:
    """As a whole word in any case, in a field of its own and in the signal type."""
    for word in words.split():
        for text in (word, word.lower(), f"¡{word.title()}!", f"x-{word}/y", f"{word}🚀"):
            assert read_direction([text], [], vocabulary()).value is direction
            assert read_direction([], [text], vocabulary()).value is direction
        for text in (f"{word}s", f"re{word}", f"{word}2"):
            assert read_direction([text], [text], vocabulary()).value is None


@pytest.mark.parametrize(
    ("explicit", "places", "direction"),
    [
        (["short"], ["COMPRA 🟢"], SHORT),
        (["🔴"], ["COMPRA 🟢"], SHORT),
        (["buy 🔴"], [], LONG),
        (["up"], ["VENTA 🟢"], SHORT),
        (["up"], ["Cruce 🟢"], LONG),
        ([], ["Cruce", "🔴 x"], SHORT),
        ([], ["Compra y compra"], LONG),
        ([], ["Cruce"], None),
        ([], [], None),
    ],
)
def test_the_first_level_that_says_anything_decides(
    explicit: list[str], places: list[str], direction: Direction | None
) -> None:
    """Own field, words, marks; what contradicts it below is not looked at."""
    outcome = read_direction(explicit, places, vocabulary())
    assert (outcome.value, outcome.warning) == (direction, None)


@pytest.mark.parametrize(
    ("explicit", "places"),
    [
        (["buy", "sell"], ["COMPRA"]),
        (["buy/sell"], ["COMPRA"]),
        (["🟢🔴"], ["COMPRA"]),
        ([], ["COMPRA VENTA 🟢"]),
        ([], ["COMPRA", "exit"]),
        ([], ["Cruce 🟢 🔴"]),
    ],
)
def test_a_level_that_disagrees_ends_the_search(explicit: list[str], places: list[str]) -> None:
    """No lower level may decide in its place."""
    outcome = read_direction(explicit, places, vocabulary())
    assert (outcome.value, outcome.warning) == (None, Warning_.CONFLICTING_DIRECTION)


def test_the_line_that_decided_is_found_again() -> None:
    """By the same evidence: a mark does not stand in for a word."""
    found = read_direction([], ["x 🟢", "una compra"], vocabulary())
    assert found.evidence is not None
    assert line_that_says(LONG, found.evidence, ["x 🟢", "una compra"]) == "una compra"
