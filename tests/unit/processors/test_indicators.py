from pathlib import Path

import pytest

from processors.indicators import (
    PARSER_REVISION,
    IndicatorBook,
    IndicatorError,
    indicator_folders,
    load_indicators,
)
from processors.indicators.files import read_files
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
    """As people see them, without the folder's name."""
    with pytest.raises(IndicatorError) as caught:
        book_of(folder, **files)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def named(*names: str, revision: int = 1, labels: str = "") -> str:
    """A family file."""
    return f"revision = {revision}\n[recognise]\nnames = {list(names)}\n[labels]\n{labels}\n"


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


def test_an_operators_files_are_added(tmp_path: Path) -> None:
    """Beside the shipped ones, which go on working, and with the general words below them."""
    (tmp_path / "st.toml").write_text(FAMILY, "utf-8")
    book = load_indicators(*indicator_folders(tmp_path))
    signal = read("Súper Tendencia\nTicker: OKX:OP\nEntrada: 5", book)
    assert (signal.source.indicator_file, str(signal.price)) == ("st.toml", "5")
    assert read("ADX DEF\nTicker: OKX:OP", book).source.indicator_file == "adx_def.toml"


def test_an_operators_file_replaces_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    """Nothing of the replaced file is left."""
    (tmp_path / "adx_def.toml").write_text(named("ADX 2", labels="price = ['entrada']"), "utf-8")
    book = load_indicators(*indicator_folders(tmp_path))
    assert [family.file for family in book.families] == ["adx_def.toml"]
    assert read("ADX DEF\nEntrada: 5", book).source.indicator_file is None
    assert str(read("ADX 2\nEntrada: 5", book).price) == "5"


def test_the_general_file_can_be_replaced(tmp_path: Path) -> None:
    """It is one file among others."""
    (tmp_path / "generic.toml").write_text(BASE, "utf-8")
    book = load_indicators(*indicator_folders(tmp_path))
    assert read("Exchange: OKX", book).exchange is None
    assert str(read("ADX DEF\nPrecio: 5", book).price) == "5"


@pytest.mark.parametrize("name", ["adx_def.toml", "new.toml"])
def test_the_revision_grows_with_an_operators_file(tmp_path: Path, name: str) -> None:
    """Also with one that replaces a shipped file of a higher revision: it is read otherwise from then on."""
    (tmp_path / name).write_text(named("ADX", revision=1), "utf-8")
    book = load_indicators(*indicator_folders(tmp_path))
    assert book.parse_revision == shipped_book().parse_revision + 1


def test_the_longest_name_wins(tmp_path: Path) -> None:
    """Whoever names an indicator more exactly means it; the files' names have no say in it."""
    files = {"a": named("ADX"), "b": named("ADX DEF", "X"), "c": named("DEF")}
    book = book_of(tmp_path, base=BASE, **files)
    assert [family.file for family in book.families_of("x adx def")] == ["b.toml", "a.toml", "c.toml"]
    for _ in range(2):  # from the files, then remembered
        assert read("ADX DEF 2", book).source.indicator_file == "b.toml"
        assert read("Otro ADX", book).source.indicator_file == "a.toml"
        assert read("Otro", book).source.indicator_file is None


def test_of_equal_names_the_operators_wins_then_the_first_file(tmp_path: Path) -> None:
    """The order is the same at every start, whatever the file system lists first."""
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    for folder, names in ((shipped, ("a", "base")), (own, ("z", "m"))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.toml").write_text(BASE if name == "base" else named("ADX"), "utf-8")
    book = load_indicators(shipped, own)
    assert [family.file for family in book.families_of("ADX")] == ["m.toml", "z.toml", "a.toml"]


def test_remembered_names_are_bounded(tmp_path: Path) -> None:
    """Senders choose the names of their indicators, and may choose a new one each time."""
    book = book_of(tmp_path, base=BASE, st=FAMILY)
    for number in range(3000):
        book.family_of(f"name {number}")
    assert len(book._remembered) <= 1024
    assert book.family_of("Súper Tendencia") is not None


def test_names_are_compared_without_their_emojis(tmp_path: Path) -> None:
    """Whoever copies a headline into a file copies its decoration too, and accents in either form."""
    book = book_of(tmp_path, base=BASE, f=named("🐸 Su\u0301per 👑"))
    assert read("👑 SÚPER 🐸", book).source.indicator_file == "f.toml"


def test_an_emoji_is_known_with_and_without_its_variant(tmp_path: Path) -> None:
    """Keyboards add an invisible character to some emojis, and senders may not."""
    book = book_of(tmp_path, base="revision = 1\n[emojis]\nprice = ['⏱\ufe0f']\n[marks]\nlong = ['⬆\ufe0f']")
    for variant in ("", "\ufe0f"):
        signal = read(f"x\nSube ⬆{variant}\n⏱{variant} 5", book)
        assert (str(signal.price), signal.direction) == ("5", Direction.LONG)


def test_direction_words_are_known_in_either_form_of_their_accents(tmp_path: Path) -> None:
    """Editors write an accented letter as one character or as two."""
    book = book_of(tmp_path, base=BASE.replace("COMPRA", "Cayo\u0301"))
    assert read("x\nSeñal: CAY\u00d3", book).direction is Direction.LONG


def test_a_familys_markets_and_words_change_how_a_line_is_split(tmp_path: Path) -> None:
    """A market that only the family knows is no label, though the family has no labels of its own."""
    book = book_of(
        tmp_path, base=BASE, f="revision = 1\nexchanges = ['mercado']\n[recognise]\nnames = ['Uno']"
    )
    assert read("Uno\nMERCADO:7203", book).ticker == "MERCADO:7203"
    assert read("Dos\nMERCADO:7203", book).fields == {"MERCADO": "7203"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\nrevision = ", "2: Invalid value"),
        ("revision = 1\n\n[labels\n\n", "3: "),
        ("revision = 1\n[labels]\nprice = [", "3: "),
        ("revision = 1\nrevision = 2", "2: Cannot overwrite a value"),
        ("[labels]", "1: revision is missing: a whole number, raised with each change"),
        ("\nrevision = 'x'", "2: revision must be a whole number, not 'x'"),
        ("revision = true", "1: revision must be a whole number, not True"),
        ("revision = 0", "1: revision must be from 1 to 9999"),
        ("revision = 10000", "1: revision must be from 1 to 9999"),
        ("revision = 1\n[label]", "2: 'label' is no key; did you mean labels?"),
        (
            "revision = 1\nqqq = []",
            "2: 'qqq' is no key; there are revision, recognise, labels, emojis, directions, marks, exch",
        ),
        ("revision = 1\nlabels = 3", "2: labels must be a table that begins with [labels]"),
        ("revision = 1\n[[labels]]\nprice = ['x']", "2: labels must be a table that begins with [labels]"),
        ("revision = 1\n[labels]\npric = ['x']", "3: 'pric' is no key of [labels]; did you mean price?"),
        (
            "revision = 1\n[labels]\nprice = 'x'",
            "3: labels.price must be a list of texts, as [\"…\"], not 'x'",
        ),
        ("revision = 1\n[labels]\nprice = [\n'x',\n1]", "5: labels.price: 1 is no text in quotes"),
        ("revision = 1\n[[labels.price]]\nx = 1", "2: labels.price: {'x': 1} is no text in quotes"),
        ("revision = 1\n[labels]\nprice = ['  ']", "3: labels.price: '  ' is no label of 1 to 64 characters"),
        (
            f"revision = 1\n[labels]\nprice = ['{'x' * 65}']",
            f"3: labels.price: '{'x' * 59}… is no label of 1 to 64 characters",
        ),
        (
            "revision = 1\n[labels]\nprice = ['Precio: ']",
            "3: labels.price: 'Precio: ' is written without the sign that follows it",
        ),
        (
            "revision = 1\n[labels]\nmessage = ['Pass Phrase']",
            "3: labels.message: 'Pass Phrase' is a label of secrets, whose values are never read",
        ),
        (
            f"revision = 1\n[labels]\nprice = {[str(number) for number in range(101)]}",
            "3: labels.price has more than 100 spellings",
        ),
        ("revision = 1\n[emojis]\nprice = ['x']", "3: emojis.price: 'x' is no emoji"),
        ("revision = 1\n[emojis]\nprice = ['\ufe0f']", "3: emojis.price: '\ufe0f' is no emoji"),
        ("revision = 1\n[directions]\nlong = ['']", "3: directions.long: '' is no word"),
        (
            "revision = 1\n[directions]\nlong = ['🟢']",
            "3: directions.long: '🟢' is no word: put it under [marks]",
        ),
        ("revision = 1\n[marks]\nlong = ['UP']", "3: marks.long: 'UP' is a word: put it under [directions]"),
        ("revision = 1\n[marks]\nlong = [' ']", "3: marks.long: ' ' is no mark"),
        ("revision = 1\n[recognise]", "2: recognise.names must hold a name"),
        ("revision = 1\n[recognise]\nnames = []", "3: recognise.names must hold a name"),
        (
            "revision = 1\n[recognise]\nnames = ['a', ' 🐸']",
            "3: recognise.names: ' 🐸' is no name: it needs more than spaces and emojis",
        ),
        (
            "revision = 1\nexchanges = ['A:']",
            "2: exchanges: 'A:' is no prefix of tickers: letters, digits and _",
        ),
        ("revision = 1\ncurrencies = ['US$']", "2: currencies: 'US$' is no code of letters"),
        (
            "revision = 1\n[labels]\nprice = ['Señal']\nticker = ['senal']",
            "4: labels: 'senal' is both price and ticker",
        ),
        (
            "revision = 1\n[emojis]\nprice = ['⏱']\nticker = ['⏱\ufe0f']",
            "4: emojis: '⏱\ufe0f' is both price and ticker",
        ),
        (
            "revision = 1\n[directions]\nlong = ['Sube']\nshort = ['SUBE']",
            "4: directions: 'SUBE' is both long and short",
        ),
        ("revision = 1\n[marks]\nlong = ['🟢']\nshort = ['🟢']", "4: marks: '🟢' is both long and short"),
    ],
)
def test_a_bad_file_is_named_with_line_and_reason(tmp_path: Path, text: str, problem: str) -> None:
    """Whoever edits a file learns which one, where, and what is wrong with it."""
    (found,) = problems_of(tmp_path, base=BASE, bad=text)
    assert found.startswith(f"bad.toml:{problem}")


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    """Nobody fixes files one start at a time."""
    two = "revision = 0\n[labels]\nprice = [\n  '',\n  1,\n]\nfoo = []\n[mark]\n"
    found = problems_of(tmp_path, base=BASE, one="revision = ", two=two)
    lines = [problem.split(" ")[0] for problem in found]
    assert lines == ["one.toml:1:", "two.toml:1:", "two.toml:4:", "two.toml:5:", "two.toml:7:", "two.toml:8:"]


def test_the_error_shows_all_of_them_as_lines(tmp_path: Path) -> None:
    """A process that refuses to start prints it as it is."""
    (tmp_path / "a.toml").write_text("revision = 1\nlabel = 1\nmark = 1\n")
    with pytest.raises(IndicatorError, match="these indicator files are wrong") as caught:
        load_indicators(*indicator_folders(tmp_path))
    assert str(caught.value).splitlines()[1:] == [
        f"{tmp_path}/a.toml:2: 'label' is no key; did you mean labels?",
        f"{tmp_path}/a.toml:3: 'mark' is no key; did you mean marks?",
    ]


def test_text_that_is_not_utf8_is_a_problem_of_its_line(tmp_path: Path) -> None:
    """It does not end the process with a traceback."""
    (tmp_path / "latin.toml").write_bytes(b"revision = 1\n# \xff")
    assert problems_of(tmp_path, base=BASE) == ["latin.toml:2: not UTF-8"]


def test_what_an_editor_of_another_system_writes_is_read(tmp_path: Path) -> None:
    """A byte order mark and CRLF are no problem, and do not shift the lines."""
    (tmp_path / "windows.toml").write_bytes(b"\xef\xbb\xbfrevision = 1\r\n[recognise]\r\nname = ['x']\r\n")
    assert problems_of(tmp_path, base=BASE) == [
        "windows.toml:2: recognise.names must hold a name",
        "windows.toml:3: 'name' is no key of [recognise]; did you mean names?",
    ]


def test_what_cannot_be_read_is_a_problem_of_the_file(tmp_path: Path) -> None:
    """Nesting without end, a folder with a file's name, a name that nothing could store."""
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "new\nline.toml").write_text(BASE, "utf-8")
    assert problems_of(tmp_path, base=BASE, deep="x = " + "[" * 5000) == [
        "deep.toml: nested too deeply",
        "folder.toml: Is a directory",
        f"'{tmp_path}/new\\nline.toml': the file's name is not printable",
    ]


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    """Editors keep copies beside a file, and a mounted folder has hidden ones."""
    for name in (".st.toml", "st.toml~", "README.md"):
        (tmp_path / name).write_text("?")
    assert [file.name for file in read_files(*indicator_folders(tmp_path))] == [
        "adx_def.toml",
        "generic.toml",
    ]


def test_a_folder_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    """It does not pass for an empty one."""
    with pytest.raises(IndicatorError, match="gone: No such file or directory"):
        load_indicators(*indicator_folders(tmp_path / "gone"))


def test_there_is_one_base(tmp_path: Path) -> None:
    """Without a general vocabulary, or with two, it is unclear how to read anything."""
    assert problems_of(tmp_path) == [
        f"{tmp_path}: one file without [recognise] is needed, to read every message"
    ]
    (tmp_path / "another.toml").write_text(BASE, "utf-8")
    (tmp_path / "generic.toml").write_text(BASE, "utf-8")
    with pytest.raises(IndicatorError) as caught:
        load_indicators(*indicator_folders(tmp_path))
    assert list(map(str, caught.value.problems)) == [
        f"{tmp_path}/another.toml:1: [recognise] is missing; only {tmp_path}/generic.toml may do without"
    ]


def test_revisions_never_reach_the_parsers(tmp_path: Path) -> None:
    """A newer parser counts as newer, however many files there are."""
    files = {f"f{number}": named("x", revision=9999) for number in range(101)}
    (problem,) = problems_of(tmp_path, base=BASE, **files)
    assert problem == f"{tmp_path}: the revisions of all files exceed 999999"
