from pathlib import Path

import pytest

from processors.indicators import indicator_folders
from processors.indicators.advice import _WARNINGS
from processors.indicators.files import compile_book, read_files
from processors.indicators.trial import Row, Sample, Trial, try_message
from schemas.records import ParseStatus, Warning_
from tests.support.webhooks import RECEIVED_AT

FAMILY = """
revision = 1
[recognise]
names = ["Super Trend"]
[labels]
price = ["Entrada Nueva"]
[emojis]
price = ["🎯"]
[directions]
long = ["gira al alza"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "super_trend.toml").write_text(FAMILY, "utf-8")
    return tmp_path


def tried(folder: Path, text: str, query: str = "") -> Trial:
    files = read_files(*indicator_folders(folder))
    return try_message(Sample(text.encode(), RECEIVED_AT, query), files, compile_book(files))


def origins(trial: Trial) -> dict[str, str]:
    """Where each field that has an origin was read from."""
    return {row.field: row.origin for row in trial.rows if row.origin}


def test_every_field_of_the_signal_has_a_row(folder: Path) -> None:
    """Those without a value too; the other labelled values come last."""
    trial = tried(folder, "Super Trend\nTicker: NYMEX_DL:CL1!\nOtro: 5\nTime: 2026-01-02T03:04:05Z")
    values = {row.field: row.value for row in trial.rows}
    assert values == {
        "indicator": "Super Trend",
        "ticker": "NYMEX_DL:CL1!",
        "exchange": "NYMEX",
        "symbol": "CL1!",
        "delayed": "yes",
        "price": None,
        "signal_type": None,
        "direction": None,
        "interval": None,
        "bar_time": None,
        "triggered_at": "2026-01-02T03:04:05.000Z",
        "chart_id": None,
        "fields.Otro": "5",
    }
    assert origins(trial)["triggered_at"] == "label 'time': '2026-01-02T03:04:05Z'"
    assert "bar_time" not in origins(trial)
    assert trial.rows[-1] == Row("fields.Otro", "5", "a label that no file knows")


def test_labelled_values_name_their_label_as_the_file_spells_it(folder: Path) -> None:
    """So that whoever reads it finds the line of the file; the raw text shows what was made of it."""
    trial = tried(folder, "Super Trend\nticker: okx:op\nENTRADA_NUEVA= $1,5\nTF: 15\nBolsa: OKX\nSeñal: x 🔴")
    assert origins(trial) == {
        "indicator": "the first line: 'Super Trend'",
        "ticker": "label 'ticker': 'okx:op'",
        "exchange": "the ticker",
        "symbol": "the ticker",
        "price": "label 'Entrada Nueva': '$1,5'",
        "signal_type": "label 'señal': 'x 🔴'",
        "direction": "'🔴' (short) in label 'señal': 'x 🔴'",
        "interval": "label 'tf': '15'",
    }


def test_emojis_running_text_and_unlabelled_lines_are_named(folder: Path) -> None:
    """What has no label has an origin too."""
    trial = tried(folder, "Super Trend\n🎯 5\nen binance:opusdt ya\nGira al alza 🔴")
    assert origins(trial) == {
        "indicator": "the first line: 'Super Trend'",
        "ticker": "found in the text: 'en binance:opusdt ya'",
        "exchange": "the ticker",
        "symbol": "the ticker",
        "price": "emoji 🎯: '5'",
        "signal_type": "the line that tells the direction",
        "direction": "'Gira al alza' (long) in the unlabelled lines",
    }
    assert trial.advice == []


def test_keys_of_json_and_the_text_inside_are_named(folder: Path) -> None:
    """JSON keys are labels; what they lack comes from the message's text."""
    trial = tried(
        folder,
        '{"indicator_name":"Super Trend","time":1773480413,"timenow":1773480414,"side":"?","exchange":"OKX",'
        '"message":"🪙 OP\\nEntrada nueva: 5\\nTipo: BUY"}',
    )
    assert origins(trial) == {
        "indicator": "label 'indicator_name': 'Super Trend'",
        "ticker": "emoji 🪙: 'OP'",
        "exchange": "label 'exchange': 'OKX'",
        "symbol": "the ticker",
        "price": "label 'Entrada Nueva': '5'",
        "signal_type": "label 'tipo': 'BUY'",
        "direction": "'buy' (long) in label 'tipo': 'BUY'",
        "bar_time": "label 'time': '1773480413'",
        "triggered_at": "label 'timenow': '1773480414'",
    }


def test_of_several_labels_the_one_that_counts_is_named(folder: Path) -> None:
    """The file's order decides, not the message's."""
    trial = tried(folder, "Super Trend\nCierre: 4\nPrecio: 5\n💰 6")
    assert next(row for row in trial.rows if row.field == "price") == Row("price", "5", "label 'precio': '5'")


def test_a_direction_of_its_own_comes_first(folder: Path) -> None:
    """The signal type is not asked."""
    trial = tried(folder, "Super Trend\nSide: SELL\nTipo: BUY")
    assert origins(trial)["direction"] == "label 'side': 'SELL'"


@pytest.mark.parametrize(
    ("text", "query", "origin"),
    [
        ("x", "a=1&chart=Ab3dE9xZ", "the URL's query"),
        ("x", "chart=https%3A%2F%2Fwww.tradingview.com%2Fchart%2FAb3dE9xZ%2F", "the URL's query"),
        ("Chart: Ab3dE9xZ", "chart=", "label 'chart': 'Ab3dE9xZ'"),
        ("https://www.tradingview.com/chart/Ab3dE9xZ/", "", "a link in the text"),
        ("Chart: ??", "", "label 'chart': '??'"),
    ],
)
def test_a_chart_tells_where_it_was_found(folder: Path, text: str, query: str, origin: str) -> None:
    """In the order in which they are asked."""
    assert origins(tried(folder, text, query))["chart_id"] == origin


def test_missing_labels_are_told_with_what_could_be_meant(folder: Path) -> None:
    """The family's own file is named, with the lines and labels that nothing reads."""
    trial = tried(folder, "Super Trend\nTicker: OKX:OP\nNivel: 5\n🧲 6")
    where = (
        "unlabelled lines: '🧲 6'; labels no file knows: 'Nivel'. In super_trend.toml, put its label under"
    )
    price, signal_type, direction = trial.advice
    how = "the emoji its line begins with under [emojis]"
    assert price == f"no label for price; {where} [labels] price, or {how} price"
    assert signal_type == f"no label for signal_type; {where} [labels] signal_type, or {how} signal_type"
    assert direction == (
        "no word or mark of a direction in 'Super Trend', '🧲 6'. "
        "In super_trend.toml, put one under [directions] or [marks], as long or short or flat"
    )


def test_an_unknown_indicator_is_told(folder: Path) -> None:
    """Nothing recognises it, so the general file alone reads it."""
    trial = tried(folder, "Nuevo\nTicker: A\nPrecio: 5\nTipo: BUY")
    assert trial.recognised_by == []
    assert trial.advice == [
        "no file recognises 'Nuevo': to give it words of its own, put its name under [recognise] names"
    ]


def test_a_message_of_nothing_is_advised_too(folder: Path) -> None:
    """Total, as the parser is."""
    for text in ("", "[1]", "\0", "{", "x" * 5000):
        trial = tried(folder, text)
        assert trial.signal.parse_status is ParseStatus.UNPARSED
        assert any(line.startswith("no label for ticker") for line in trial.advice)


def test_all_that_recognise_it_are_named_in_order(folder: Path) -> None:
    """Whoever wonders why another file reads it sees the rule."""
    (folder / "more.toml").write_text(FAMILY.replace("Super Trend", "Super Trend Pro"), "utf-8")
    trial = tried(folder, "Super Trend Pro\nTicker: A\nEntrada nueva: 5\nTipo: BUY")
    assert trial.recognised_by == ["more.toml", "super_trend.toml"]
    assert trial.advice == [
        "super_trend.toml would recognise it too: the longest name wins, then your file, then the file's name"
    ]


def test_a_file_is_named_by_the_rule_of_the_parser(folder: Path) -> None:
    """A family's words may change which text is the indicator; who reads it is asked before that."""
    (folder / "odd.toml").write_text(
        "revision = 1\n[recognise]\nnames = ['Odd']\n[labels]\nindicator = ['Nombre']", "utf-8"
    )
    trial = tried(folder, "Odd\nNombre: Otro")
    assert (trial.signal.indicator, trial.signal.source.indicator_file) == ("Otro", "odd.toml")
    assert trial.recognised_by == ["odd.toml"]
    assert origins(trial)["indicator"] == "label 'Nombre': 'Otro'"


def test_every_warning_is_explained(folder: Path) -> None:
    """In words, behind its name."""
    assert set(_WARNINGS) == set(Warning_)
    advice = tried(folder, "Super Trend\nTicker: A\nEntrada nueva: 5 x\nTipo: BUY SELL").advice
    assert [line.split(":")[0] for line in advice] == ["conflicting_direction", "invalid_number"]


def test_long_texts_and_lists_are_cut(folder: Path) -> None:
    """A message of any size is advised in a few lines."""
    advice = tried(
        folder, "\n".join(f"n{number}: {'v' * 500}\nz{number} {'w' * 500}" for number in range(50))
    ).advice
    assert "and 42 more" in advice[1]
    assert max(map(len, advice)) < 2000
