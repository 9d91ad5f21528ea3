"""Hides what people put into an alert to prove who they are. Pure, linear."""

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"

SECRET_LABELS: Final = frozenset({"usertoken", "token", "secret", "passphrase", "password"})
"""Folded names of labels and keys whose values are never kept."""

_HINTS: Final = ("token", "secret", "pass")
_NAME: Final = r"(?<!\w)(?:(?:user[ _-]?)?token|secret|pass[ _-]?(?:phrase|word))"

# `Passphrase: correct horse`: as a label it covers the rest of its line
_LABELLED: Final = re.compile(
    rf"^([^\w\n\"'{{}}\[\]:=]*{_NAME}[^\S\n]*[:：][^\S\n]*)[^\s\"'\\][^\n]*+", re.IGNORECASE | re.MULTILINE
)
# Anywhere else the value ends with its quotes or brackets, or before the next separator. One group, so
# that `split` gives what to keep.
_ANYWHERE: Final = re.compile(
    rf"""({_NAME}\\*["'“”]?\s*[:=：＝](?:\s*(?:\\+["']|["'“”]|(?=[\[{{]))|[^\S\n]*))(?!{re.escape(MASK)})
    (?: (?<=[^\\]")(?:[^"\\]++|\\.)+
      | (?<=\\["'])[^"'\\\n]++
      | (?<=['“”])[^'“”\n]++
      | \[[^\]]*+\]? | \{{(?!\{{)[^}}]*+}}?
      | [^\s,;&"'“”\\}}\]][^\s,;&"}}\]]*+
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_SHORTEST_SEARCHED: Final = 6
_MOST_SEARCHED: Final = 16


def mask_named(text: str) -> str:
    """Hide the values that stand behind a secret's name, in JSON, broken JSON, labels and pairs alike."""
    lowered = text.lower()
    if not any(hint in lowered for hint in _HINTS):
        return text
    return _masked(_ANYWHERE, _masked(_LABELLED, text))


def mask_values(text: str, secrets: Iterable[str]) -> str:
    """Hide known secrets wherever they stand. Very short ones would hit innocent text and are left."""
    worth_it = [secret for secret in secrets if len(secret) >= _SHORTEST_SEARCHED]
    for secret in worth_it[:_MOST_SEARCHED]:
        text = text.replace(secret, MASK)
    return text


def _masked(pattern: re.Pattern[str], text: str) -> str:
    pieces = pattern.split(text)
    pieces[1::2] = [kept + MASK for kept in pieces[1::2]]
    return "".join(pieces)
