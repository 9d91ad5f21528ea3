import pytest

from processors.characters import bare, for_matching, plain, storable, trimmed, without_outer_emojis


def test_trimming_drops_what_nobody_sees() -> None:
    """White space, zero-width and bidi marks and NUL go at the ends and stay inside."""
    assert trimmed("\ufeff\u200b \u2068a\0\u200bb\u2069\0\n") == "a\0\u200bb"


def test_plain_text_has_ascii_digits_colons_and_quotes() -> None:
    """Other full-width characters are no concern of the rules."""
    assert plain("“ａ１２：３”＝‘−’") == "\"ａ12:3\"='-'"


@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("SeÃ±al ðŸŸ¢ ðŸ”´ ðŸª™", "Señal 🟢 🔴 🪙"),
        ("Ã\x81", "Á"),  # a byte windows-1252 leaves open
        ("Señal Ã", "Señal Ã"),  # not double-encoded at all
        ("SeÃ±al 🟢", "SeÃ±al 🟢"),  # ambiguous: part of it is not
        ("Sen\u0303al", "Señal"),
        ("plain", "plain"),
    ],
)
def test_matching_undoes_double_encoding_and_composes(text: str, matched: str) -> None:
    """Only where all of the text is explained by it."""
    assert for_matching(text) == matched


def test_absurd_runs_of_marks_are_left_alone() -> None:
    """Composing them would take quadratic time; thirty marks in a row are still composed."""
    absurd = "\u0301" * 40 + "\u0323" * 40
    assert for_matching(absurd) is absurd
    assert for_matching("n\u0303" + "\u0323" * 5) != "n\u0303" + "\u0323" * 5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("🐸 ADX DEF 👑", "ADX DEF"),
        ("⏱️ a 🐸 b", "a 🐸 b"),
        ("1️⃣ x", "x"),
        ("👨‍👩‍👧 x", "x"),
        ("🟢🔴", ""),
        (" x ", "x"),
    ],
)
def test_outer_emojis_go(text: str, name: str) -> None:
    """With their joiners and selectors; inner ones stay."""
    assert without_outer_emojis(text) == name


def test_a_bare_value_has_nothing_around_it() -> None:
    """Emojis, quotes, Markdown and invisible characters are no part of a number or a name."""
    assert bare("🟢 “`１２`” \u200b") == "12"


def test_what_postgres_refuses_is_replaced() -> None:
    """And a text that needs nothing is handed back as it is."""
    assert storable("a\0b\ud83dc") == "a\ufffdb\ufffdc"
    text = "Señal 🟢"
    assert storable(text) is text
