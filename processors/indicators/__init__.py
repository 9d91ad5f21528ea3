"""Indicators as configuration: one TOML file per family, read once at start (docs/indicators.md)."""

from processors.indicators.book import PARSER_REVISION, Family, IndicatorBook
from processors.indicators.files import IndicatorError, indicator_folders, load_indicators

__all__ = [
    "PARSER_REVISION",
    "Family",
    "IndicatorBook",
    "IndicatorError",
    "indicator_folders",
    "load_indicators",
]
