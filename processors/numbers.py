"""Prices as exact decimals. Pure, linear; a float never takes part."""

import re
import unicodedata
from collections.abc import Container
from decimal import Decimal
from typing import Final

from processors.characters import bare
from processors.patterns import atomic
from processors.reading import Outcome
from schemas.records import ExactDecimal, Warning_

MAX_DIGITS: Final = 38
MAX_EXPONENT: Final = 30

_NO_VALUES: Final = frozenset({"", "nan", "null", "na", "infinity", "inf", "∞"})
_SIMPLE: Final = re.compile(
    r"\$?(?:(?P<plain>(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,18})?)"
    r"|(?P<thousands>[1-9][0-9]{0,2}(?:,[0-9]{3}){1,5}(?:\.[0-9]{1,18})?))"
)
_NUMBER: Final = re.compile(
    atomic(r"[^0-9.,]*", "before")
    + atomic(r"[0-9.,'\s]+", "digits")
    + r"(?:[eE](?P<exponent>[+-]?[0-9]+))?(?P<after>[^0-9]*)"
)
_THOUSANDS_COMMA: Final = re.compile(r"[1-9][0-9]{0,2},[0-9]{3}")
_GROUPED: Final = re.compile(r"[0-9]{1,3}(?:([,.'])(?:[0-9]{2,3}\1)*[0-9]{3}|(?:\s+[0-9]{3})+)")
_SEPARATORS: Final = re.compile(r"[,.'\s]++")
_LONGEST_CURRENCY: Final = 6
_LONGEST_NOTHING: Final = 32

_NONE: Final = Outcome[ExactDecimal](None)
_INVALID: Final = Outcome[ExactDecimal](None, Warning_.INVALID_NUMBER)
_OUT_OF_RANGE: Final = Outcome[ExactDecimal](None, Warning_.NUMBER_OUT_OF_RANGE)


def read_number(text: str, currencies: Container[str]) -> Outcome[ExactDecimal]:
    """The one number in a text; `currencies` are the codes, in upper case, that may stand beside it."""
    simple = _SIMPLE.fullmatch(text)
    if simple is not None:
        return _read_simple(*simple.groups())
    text = bare(text)
    if text.lstrip("+-").lower() in _NO_VALUES:
        return _NONE
    found = _NUMBER.fullmatch(text)
    if found is None:
        return _NONE if _says_nothing(text, currencies) else _INVALID
    before, digits, exponent, after = found.groups()
    sign, currency = _split_sign(before)
    if sign is None or not (_is_currency(currency, currencies) and _is_currency(after.strip(), currencies)):
        return _INVALID
    return _assemble(sign, digits.strip(), exponent or "0")


def _read_simple(plain: str | None, thousands: str | None) -> Outcome[ExactDecimal]:
    """As nearly all prices are written."""
    if plain or not thousands:
        return Outcome(ExactDecimal(plain or "0"))
    ambiguous = _THOUSANDS_COMMA.fullmatch(thousands)
    return Outcome(ExactDecimal(thousands.replace(",", "")), Warning_.AMBIGUOUS_NUMBER if ambiguous else None)


def _says_nothing(text: str, currencies: Container[str]) -> bool:
    """A currency beside `NaN`, `null` or nothing: what `${{close}}` becomes without a price."""
    without_signs = "".join(char for char in text[:_LONGEST_NOTHING] if unicodedata.category(char) != "Sc")
    words = [word for word in without_signs.split() if word.upper() not in currencies]
    return len(text) <= _LONGEST_NOTHING and "".join(words).lstrip("+-").lower() in _NO_VALUES


def _split_sign(before: str) -> tuple[str | None, str]:
    """The sign, which may stand on either side of a currency, and the rest. None: more than one sign."""
    signs = before.count("+") + before.count("-")
    sign = "-" if "-" in before else ""
    return (sign if signs <= 1 else None), before.replace("+", "").replace("-", "").strip()


def _is_currency(text: str, currencies: Container[str]) -> bool:
    if not text or text.upper() in currencies:
        return True
    if len(text) > _LONGEST_CURRENCY:
        return False
    signs = [char for char in text if unicodedata.category(char) == "Sc"]
    letters = text.replace(signs[0], "") if signs else ""
    return len(signs) == 1 and (not letters or (letters.isalpha() and letters.isupper()))


def _assemble(sign: str, digits: str, exponent: str) -> Outcome[ExactDecimal]:
    whole, fraction = _split_fraction(digits)
    if not _is_whole(whole, optional=bool(fraction)) or not (fraction == "" or fraction.isdecimal()):
        return _INVALID
    whole = _SEPARATORS.sub("", whole).lstrip("0")
    if len(whole) + len(fraction) > MAX_DIGITS or not _is_small(exponent):
        return _OUT_OF_RANGE
    point = "." if fraction else ""
    value = Decimal(f"{sign}{whole or '0'}{point}{fraction}E{exponent}")
    ambiguous = _THOUSANDS_COMMA.fullmatch(digits)
    return Outcome(_without_exponent(value), Warning_.AMBIGUOUS_NUMBER if ambiguous else None)


def _without_exponent(value: Decimal) -> ExactDecimal:
    # `is_zero` first: minus zero is no price
    return ExactDecimal(format(value.copy_abs() if value.is_zero() else value, "f"))


def _split_fraction(digits: str) -> tuple[str, str]:
    mark = _decimal_mark(digits)
    if mark is None:
        return digits, ""
    whole, _, fraction = digits.rpartition(mark)
    return whole, fraction


def _decimal_mark(digits: str) -> str | None:
    commas, dots = digits.count(","), digits.count(".")
    if commas and dots:
        return max(",.", key=digits.rfind)
    if commas == 1:
        return None if _THOUSANDS_COMMA.fullmatch(digits) else ","
    return "." if dots == 1 else None


def _is_whole(whole: str, *, optional: bool) -> bool:
    """Digits, alone or in groups that make sense: `1.2.3` is no number."""
    return whole.isdecimal() or bool(_GROUPED.fullmatch(whole)) or (optional and not whole)


def _is_small(exponent: str) -> bool:
    magnitude = exponent.lstrip("+-").lstrip("0")
    return len(magnitude) <= len(str(MAX_EXPONENT)) and int(magnitude or "0") <= MAX_EXPONENT
