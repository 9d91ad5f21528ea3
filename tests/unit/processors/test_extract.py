import pytest

from processors.extract import read_text
from processors.reading import Field
from schemas.records import SourceFormat
from tests.support.webhooks import parse, vocabulary

LABELS = {
    Field.TICKER: ["ticker", "symbol", "símbolo", "par", "activo"],
    Field.PRICE: ["price", "precio", "close", "cierre"],
    Field.SIGNAL_TYPE: ["señal", "signal", "tipo", "type", "signal_type"],
    Field.DIRECTION: ["direction", "dirección", "side", "action", "acción"],
    Field.INDICATOR: ["indicator", "indicador", "indicator_name"],
    Field.INTERVAL: ["interval", "timeframe", "temporalidad", "tf"],
    Field.TRIGGERED_AT: ["hora", "fecha", "timestamp", "timenow"],
    Field.TIME: ["time"],
    Field.BAR_TIME: ["bar_time"],
    Field.EXCHANGE: ["exchange", "bolsa"],
    Field.CHART: ["chart", "chart_id", "chartId", "gráfico"],
    Field.MESSAGE: ["message", "mensaje"],
}
EMOJIS = {
    Field.TICKER: "🪙",
    Field.PRICE: "💰💵",
    Field.SIGNAL_TYPE: "📈📊",
    Field.INTERVAL: "⏱",
    Field.TRIGGERED_AT: "⏰🕐",
}
NO_ACCENTS = str.maketrans("íóáñ", "ioan")


@pytest.mark.parametrize(("field", "label"), [(field, label) for field in LABELS for label in LABELS[field]])
def test_a_label_feeds_its_field(field: Field, label: str) -> None:
    """In any case, with or without accents, after emojis and spaces, before a colon or an equals sign."""
    for spelt in (label, label.upper(), label.title(), label.translate(NO_ACCENTS)):
        for line in (f"{spelt}: x", f"{spelt}=x", f"🟢 👑  {spelt} : x", f"\t{spelt}：x", f"{spelt}＝ x"):
            reading = read_text(f"a\n{line}", vocabulary())
            assert (list(reading.values), reading.best(field)) == ([field], "x")


@pytest.mark.parametrize(("field", "emoji"), [(field, emoji) for field in EMOJIS for emoji in EMOJIS[field]])
def test_an_emoji_is_a_label_without_a_text_label(field: Field, emoji: str) -> None:
    """With its variation selector or without; beside a text label it is only a picture."""
    for line in (f"{emoji} x", f"{emoji}\ufe0f x", f"🔥{emoji}x", f" {emoji}: x"):
        assert read_text(line, vocabulary()).best(field) == "x"
    beside = read_text(f"{emoji} Otro: x", vocabulary())
    assert beside.best(field) is None
    assert beside.others == {"Otro": "x"}


@pytest.mark.parametrize(
    "line",
    [
        "nueva Señal de Trading",
        "14:30 sube",
        "hora 15:00",
        "https://precio.example/x",
        "precio >= 5",
        "RSI == 5",
        "(precio) 5",
        '"precio" 5',
        "BINANCE:BTCUSDT",
        "Compra OKX:SUIUSDT",
    ],
)
def test_what_only_looks_like_a_label_is_a_line(line: str) -> None:
    """It is kept whole and feeds nothing."""
    reading = read_text(f"a\n{line}", vocabulary())
    assert (reading.lines, reading.values, reading.others) == (["a", line], {}, {})


def test_label_names_are_no_values() -> None:
    """Neither a direction nor a ticker is found in them."""
    signal = parse("Long: 5\nOKX: BTCUSDT\nTicker: A\nPrecio: 1")
    assert (signal.direction, signal.ticker, signal.exchange) == (None, "A", None)
    assert signal.fields == {"Long": "5", "OKX": "BTCUSDT"}


@pytest.mark.parametrize(
    "text",
    [
        "TICKER=OKX:A;SIDE=buy;PRICE=5",
        "TICKER=OKX:A\nSIDE=buy\nPRICE=5",
        "ticker = OKX:A ; side = buy ; price = 5",
        "TICKER=OKX:A;;;SIDE=buy\n\n;PRICE=5;;\r\n",
        "TICKER=OKX:A;\r\nSIDE=buy;PRICE=5",
        "symbol＝OKX:A;acción=buy;cierre=5",
    ],
)
def test_pairs_are_split_by_breaks_and_semicolons(text: str) -> None:
    """Repeated separators count once."""
    signal = parse(text)
    assert (signal.ticker, signal.direction, str(signal.price)) == ("OKX:A", "long", "5")
    assert signal.source.format is SourceFormat.KEY_VALUE


def test_a_semicolon_without_a_pair_behind_it_belongs_to_the_value() -> None:
    """Only several pairs make a list of pairs."""
    assert parse("Nota=uno; dos; tres").fields == {"Nota": "uno; dos; tres"}
    assert parse("Nota: a=1; b=2").fields == {"Nota": "a=1; b=2"}


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\u2028", "\x85", "\n\n \n"])
def test_any_line_break_ends_a_line(line_break: str) -> None:
    """Blank lines are none."""
    signal = parse(f"Aviso{line_break}Ticker: OKX:A{line_break}Precio: 5{line_break}")
    assert (signal.indicator, signal.ticker, str(signal.price)) == ("Aviso", "OKX:A", "5")
