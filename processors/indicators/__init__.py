"""Indicators as configuration: one TOML file per family, read once at start."""

from processors.indicators.book import PARSER_REVISION, Family, IndicatorBook
from processors.indicators.files import IndicatorError, load_indicators

__all__ = ["PARSER_REVISION", "Family", "IndicatorBook", "IndicatorError", "load_indicators"]
