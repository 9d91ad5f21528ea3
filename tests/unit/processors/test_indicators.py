from pathlib import Path

import pytest

from processors.indicators import PARSER_REVISION, IndicatorBook, IndicatorError, load_indicators
from processors.parse import parse_webhook
from schemas.headers import WebhookMetadata
from schemas.records import Direction, Lane, Signal
from tests.support.webhooks import RECEIVED_AT, SIGNAL_ID, TENANT, shipped_book

BASE = """
revision = 2
[labels]
ticker = ["ticker"]
price = ["precio"]
signal_type = ["señal"]
[emojis]
ticker = ["🪙"]
[directions]
long = ["COMPRA"]
short = ["VENTA"]
[marks]
long = ["🟢"]
"""
FAMILY = """
revision = 3
[recognise]
names = ["Súper Tendencia"]
[labels]
price = ["entrada"]
[emojis]
price = ["🎯"]
[directions]
long = ["gira al alza"]
short = ["COMPRA"]
[marks]
short = ["🟣"]
"""


def book_of(folder: Path, **files: str) -> IndicatorBook:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, "utf-8")
    return load_indicators(folder)


def read(text: str, book: IndicatorBook) -> Signal:
    metadata = WebhookMetadata(SIGNAL_ID, RECEIVED_AT, "", "", "", "", 1, 1)
    return parse_webhook(text.encode(), metadata, TENANT, Lane.MAIN, book)


def problems_of(folder: Path, **files: str) -> list[str]:
    with pytest.raises(IndicatorError) as caught:
        book_of(folder, **files)
    return caught.value.problems


def test_a_family_adds_labels_and_emojis(tmp_path: Path) -> None:
    """A message of the family is read with its words, and says which file did it."""
    signal = read("súper tendencia v2\n🪙 OKX:OPUSDT\nEntrada: 5", book_of(tmp_path, base=BASE, st=FAMILY))
    assert str(signal.price) == "5"
    assert signal.source.indicator_file == "st.toml"
    signal = read("Súper Tendencia\n🎯 6", book_of(tmp_path, base=BASE, st=FAMILY))
    assert str(signal.price) == "6"


def test_other_messages_do_not_know_a_familys_words(tmp_path: Path) -> None:
    """One indicator's configuration cannot change how another is read."""
    signal = read("Otro\n🪙 OKX:OPUSDT\nEntrada: 5", book_of(tmp_path, base=BASE, st=FAMILY))
    assert signal.price is None
    assert signal.fields == {"Entrada": "5"}
    assert signal.source.indicator_file is None


def test_a_familys_label_beats_the_general_one(tmp_path: Path) -> None:
    """Whoever describes an indicator knows better than the default."""
    signal = read("Súper Tendencia\nPrecio: 4\nEntrada: 5", book_of(tmp_path, base=BASE, st=FAMILY))
    assert str(signal.price) == "5"


@pytest.mark.parametrize(
    ("signal_type", "direction"),
    [
        ("Gira al  alza", Direction.LONG),  # a phrase, any spaces
        ("gira al alzamiento", None),  # only as a whole
        ("compra", Direction.SHORT),  # the family turns a general word around
        ("venta", Direction.SHORT),  # general words still count
        ("cruce 🟣", Direction.SHORT),  # its own mark
        ("cruce 🟢", Direction.LONG),  # a general mark
    ],
)
def test_a_family_has_its_own_direction_words(
    tmp_path: Path, signal_type: str, direction: Direction | None
) -> None:
    """Words, phrases and marks of a family come on top of the general ones and win."""
    book = book_of(tmp_path, base=BASE, st=FAMILY)
    assert read(f"Súper Tendencia\nSeñal: {signal_type}", book).direction is direction


def test_the_revision_grows_with_parser_and_files(tmp_path: Path) -> None:
    """A replay may overwrite only what an older parser or older files read."""
    alone = book_of(tmp_path, base=BASE).parse_revision
    assert alone == PARSER_REVISION * 1_000_000 + 2
    both = book_of(tmp_path, st=FAMILY).parse_revision
    assert both == alone + 3
    assert book_of(tmp_path, st=FAMILY.replace("revision = 3", "revision = 4")).parse_revision == both + 1


def test_the_shipped_files_load() -> None:
    """The general one and the ADX DEF family."""
    assert [family.file for family in shipped_book().families] == ["adx_def.toml"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("revision = \nx = 1", "at line 1"),  # TOML's own error tells the place
        ("[labels]", "missing required field `revision`"),
        ("revision = 'x'", "Expected `int`, got `str` - at `$.revision`"),
        ("revision = 0", "revision must be from 1 to 9999"),
        ("revision = 1\nnames = []", "unknown field `names`"),
        ("revision = 1\n[labels]\nfoo = ['x']", "Invalid enum value 'foo'"),
        ("revision = 1\n[labels]\nprice = [1]", "$.labels[...][0]"),
        ("revision = 1\n[labels]\nprice = ['  ']", "labels.price: '  ' is no label"),
        ("revision = 1\n[emojis]\nprice = ['x']", "emojis.price: 'x' is no emoji"),
        ("revision = 1\n[directions]\nlong = ['']", "long: '' is no word or mark"),
        ("revision = 1\n[recognise]\nnames = [' ']", "recognise.names must hold names"),
        ("revision = 1\n[labels]\nprice = ['Señal']\nticker = ['senal']", "is both price and ticker"),
        ("revision = 1\n[marks]\nlong = ['🟢']\nshort = ['🟢']", "is both long and short"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    """Whoever edits a file learns which one and what is wrong with it."""
    (problem,) = problems_of(tmp_path, base=BASE, bad=text)
    assert problem.startswith("bad.toml: ")
    assert reason in problem


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    """Nobody fixes files one start at a time."""
    problems = problems_of(tmp_path, base=BASE, one="revision = ", two="revision = 0\n[labels]\nprice = ['']")
    assert [problem.split(":")[0] for problem in problems] == ["one.toml", "two.toml", "two.toml"]


def test_text_that_is_not_utf8_is_a_problem_of_the_file(tmp_path: Path) -> None:
    """It does not end the process with a traceback."""
    (tmp_path / "latin.toml").write_bytes(b"# \xff")
    assert problems_of(tmp_path, base=BASE)[0].startswith("latin.toml: ")


def test_there_is_one_base(tmp_path: Path) -> None:
    """Without a general vocabulary, or with two, it is unclear how to read anything."""
    assert "found none" in problems_of(tmp_path)[0]
    assert "found ['base.toml', 'other.toml']" in problems_of(tmp_path, base=BASE, other=BASE)[0]
