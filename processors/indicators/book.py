"""The vocabularies of all indicator families together."""

import re
from dataclasses import dataclass
from typing import Final

from processors.vocabulary import Vocabulary

PARSER_REVISION: Final = 1
"""Raise it with each change of the rules in this package that can change what is read of a message."""

FILE_REVISIONS: Final = 1_000_000
"""Above any sum of file revisions, so that a newer parser always counts as newer."""

_MOST_SEARCHED: Final = 512


@dataclass(frozen=True, slots=True)
class Family:
    """Indicators that one file knows by name. `has_labels`: it adds labels or emojis, not only words."""

    file: str
    names: re.Pattern[str]
    vocabulary: Vocabulary
    has_labels: bool


@dataclass(frozen=True, slots=True)
class IndicatorBook:
    """`base` reads every message; a family's vocabulary contains it.

    `parse_revision` is the parser's revision times a million plus the revisions of all files. It grows with
    the parser, with an edited file (whoever edits one raises its `revision`) and with an added one.
    """

    base: Vocabulary
    families: tuple[Family, ...]
    parse_revision: int

    def family_of(self, indicator: str | None) -> Family | None:
        """The first family, by file name, one of whose names stands in the indicator's."""
        if not indicator:
            return None
        name = indicator[:_MOST_SEARCHED]
        return next((family for family in self.families if family.names.search(name)), None)
