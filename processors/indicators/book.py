"""The vocabularies of all indicator families together."""

import re
from dataclasses import dataclass, field
from typing import Final

from processors.vocabulary import Vocabulary

PARSER_REVISION: Final = 2
"""Raise it with each change of the rules in this package that can change what is read of a message."""

FILE_REVISIONS: Final = 1_000_000
"""Above any sum of file revisions, so that a newer parser always counts as newer."""

_MOST_SEARCHED: Final = 512
_MOST_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Family:
    """Indicators that one file knows by name. `has_labels`: its words can change how a text is split."""

    file: str
    names: re.Pattern[str]
    vocabulary: Vocabulary
    has_labels: bool

    def longest_name(self, indicator: str) -> int:
        """Characters of the longest of its names that stands in the indicator's; 0: none does."""
        return max((len(found[0]) for found in self.names.finditer(indicator)), default=0)


@dataclass(frozen=True, slots=True)
class IndicatorBook:
    """`base` reads every message; a family's vocabulary contains it. `families` are in order of precedence.

    `parse_revision` is the parser's revision times a million plus the revisions of all files, those that are
    replaced by a file of the same name included. So it grows with the parser, with an edited file (whoever
    edits one raises its `revision`), with an added one and with one that replaces another.
    """

    base: Vocabulary
    families: tuple[Family, ...]
    parse_revision: int
    _remembered: dict[str, Family | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def family_of(self, indicator: str | None) -> Family | None:
        """The best of `families_of`."""
        if not indicator:
            return None
        name = indicator[:_MOST_SEARCHED]
        if name not in self._remembered:
            # senders choose the names, so their number must not grow without end
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[name] = next(iter(self.families_of(name)), None)
        return self._remembered[name]

    def families_of(self, indicator: str) -> list[Family]:
        """All families one of whose names stands in the indicator's, best first.

        The longest name says the most. Of equally long ones the order of `families` decides.
        """
        name = indicator[:_MOST_SEARCHED]
        lengths = [(family.longest_name(name), family) for family in self.families]
        found = [(length, family) for length, family in lengths if length]
        return [family for _, family in sorted(found, key=lambda pair: -pair[0])]
