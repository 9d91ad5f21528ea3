"""From a reading to the fields of a signal. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from processors.characters import storable, trimmed
from processors.directions import line_that_says, read_direction
from processors.numbers import read_number
from processors.reading import Field, Outcome, Reading, is_empty
from processors.symbols import Ticker, find_ticker, read_exchange, read_ticker
from processors.times import read_time
from processors.vocabulary import Vocabulary
from schemas.records import Direction, ExactDecimal, ParseStatus, Warning_

MAX_TEXT: Final = 512
MAX_INTERVAL: Final = 64
MAX_FIELDS: Final = 64
MAX_FIELD: Final = 1024
