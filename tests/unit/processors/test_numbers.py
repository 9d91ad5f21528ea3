import pytest

from processors.numbers import read_number
from processors.reading import Outcome
from schemas.records import ExactDecimal, Warning_

CURRENCIES = frozenset({"USD", "USDT", "EUR"})
NONE = (None, None)
INVALID = (None, Warning_.INVALID_NUMBER)
OUT_OF_RANGE = (None, Warning_.NUMBER_OUT_OF_RANGE)
AMBIGUOUS = Warning_.AMBIGUOUS_NUMBER


def read(text: str) -> tuple[str | None, Warning_ | None]:
    outcome = read_number(text, CURRENCIES)
    return None if outcome.value is None else str(outcome.value), outcome.warning


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.56", "1234.56"),
        ("1.234,56", "1234.56"),
        ("1 234,56", "1234.56"),
        ("1\u00a0234\u202f567.8", "1234567.8"),
        ("12,34,567.89", "1234567.89"),
        ("1.234.567,8", "1234567.8"),
        ("1,234,567.8", "1234567.8"),
        ("-1.234,5", "-1234.5"),
    ],
)
def test_of_both_separators_the_last_is_the_decimal_mark(text: str, value: str) -> None:
    """Spaces of all kinds separate thousands too."""
    assert read(text) == (value, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$67,890", ("67890", AMBIGUOUS)),
        ("1,234", ("1234", AMBIGUOUS)),
        ("12,345 USD", ("12345", AMBIGUOUS)),
        ("-123,456", ("-123456", AMBIGUOUS)),
        ("0,123", ("0.123", None)),
        ("012,345", ("12.345", None)),
        ("1234,567", ("1234.567", None)),
        ("1,2345", ("1.2345", None)),
        ("1,23", ("1.23", None)),
        (",5", ("0.5", None)),
        ("1,234,567", ("1234567", None)),
        ("12,34,567", ("1234567", None)),
        ("1.234", ("1.234", None)),
        ("67.890", ("67.890", None)),
        ("1.234.567", ("1234567", None)),
    ],
)
def test_one_kind_of_separator(text: str, expected: tuple[str, Warning_ | None]) -> None:
    """One comma before three digits is a thousands mark, another one a decimal mark; a dot always is."""
    assert read(text) == expected


@pytest.mark.parametrize(
    "text", ["5 USDT", "5USDT", "USDT 5", "usdt 5", "€5", "5 €", "US$5", "R$ 5", "5 usd", "₿5"]
)
def test_currencies_go(text: str) -> None:
    """Signs of any kind and known codes, before or after."""
    assert read(text) == ("5", None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-7", "0.0000001"),
        ("1.5E+3", "1500"),
        ("2e0", "2"),
        ("-1E-2", "-0.01"),
        ("1,5e3", "1500"),
        ("1e30", "1" + "0" * 30),
        ("1e-30", "0." + "0" * 29 + "1"),
        ("５.２５", "5.25"),
        ("$-5", "-5"),
        ("-$5", "-5"),
        ("+5", "5"),
        ("-0.0", "0.0"),
        ("0.50", "0.50"),
        ("000.5", "0.5"),
        ("9" * 38, "9" * 38),
        ("0." + "1" * 38, "0." + "1" * 38),
    ],
)
def test_digits_are_exact(text: str, value: str) -> None:
    """Without an exponent, with the zeros that were sent, at any size that is kept."""
    assert read(text) == (value, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "nan",
        "null",
        "NULL",
        "Infinity",
        "-Infinity",
        "+inf",
        "na",
        "$",
        "$NaN",
        "null USDT",
        "€ na",
    ],
)
def test_no_number_is_no_mistake(text: str) -> None:
    """An unset plot is none, with its currency sign or without."""
    assert read(text) == NONE


@pytest.mark.parametrize(
    "text",
    [
        "5%",
        "~5",
        "5 puntos",
        "5-6",
        "5 6",
        "1.2.3",
        "1,2,3",
        "--5",
        "+-5",
        "N/A",
        "1_000",
        "0x10",
        "1e",
        "5 5 USD",
        "five",
        "1.234,567,8",
        "1,234.567,8",
        "①",
        "1e5e5",
        "5 PEPE",
    ],
)
def test_other_text_makes_it_invalid(text: str) -> None:
    """Nothing is guessed out of a sentence."""
    assert read(text) == INVALID


@pytest.mark.parametrize("text", ["9" * 39, "0." + "1" * 39, "1e31", "1e-31", "0e31", "1e999999999999"])
def test_what_is_out_of_range_is_told(text: str) -> None:
    """More than 38 digits or an exponent beyond 30."""
    assert read(text) == OUT_OF_RANGE


@pytest.mark.parametrize(
    "text", ["5", "0.00", "$67,890.50", "67,890", "1,234,567", "$0.5", "12345678901234567890.5"]
)
def test_common_forms_are_read_like_all_others(text: str) -> None:
    """An invisible character sends the same number the long way round."""
    assert read_number(text, CURRENCIES) == read_number(f"\u200b{text}", CURRENCIES)
    assert isinstance(read_number(text, CURRENCIES), Outcome)
    assert isinstance(read_number(text, CURRENCIES).value, ExactDecimal)
