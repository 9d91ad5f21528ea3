"""Hides what people put into an alert to prove who they are. Pure, linear."""

import re
from collections.abc import Iterable
from typing import Final

MASK: Final = "***"

SECRET_LABELS: Final = frozenset({"usertoken", "token", "secret", "passphrase", "password"})
"""Folded names of labels and keys whose values are never kept."""

_NAME: Final = r"(?<!\w)(?:(?:user[ _-]?)?token|secret|pass[ _-]?(?:phrase|word))"

# `Passphrase: correct horse`: as a label it covers the rest of its line
_LABELLED: Final = re.compile(
    rf"^(?!\n)([^\w\n\"'{{}}\[\]:=]*{_NAME}[^\S\n]*[:：][^\S\n]*)[^\s\"'\\][^\n]*+",
    re.IGNORECASE | re.MULTILINE,
)
# Anywhere else the value ends with its quotes or brackets, or before the next separator. One group, so
# that `split` gives what to keep.
_ANYWHERE: Final = re.compile(
    rf"""({_NAME}\\*["'“”]?\s*[:=：＝](?:\s*+(?:\\+["']|["'“”]|(?=[\[{{]))|[^\S\n]*+))(?!{re.escape(MASK)})
    (?: (?<=[^\\]")(?:[^"\\]++|\\.)+
      | (?<=\\["'])[^"'\\\n]++
      | (?<=['“”])[^'“”\n]++
      | \[[^\]]*+\]? | \{{(?!\{{)[^}}]*+}}?
      | [^\s,;&"'“”\\}}\]][^\s,;&"}}\]]*+
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_SHORTEST_SEARCHED: Final = 6
_SHORTEST_WORD: Final = 4
_MOST_SEARCHED: Final = 16


def mask_named(text: str) -> str:
    """Hide the values that stand behind a secret's name, in JSON, broken JSON, labels and pairs alike."""
    lowered = text.encode("utf-8", "replace").lower()  # of ASCII letters only, which is much faster
    if b"token" not in lowered and b"secret" not in lowered and b"pass" not in lowered:
        return text
    return _masked(_ANYWHERE, _masked(_LABELLED, text))


def mask_values(text: str, secrets: Iterable[str]) -> str:
    """Hide known secrets wherever they stand, short ones as whole words.

    Still shorter ones would hit innocent text and are left.
    """
    worth_it = [secret for secret in secrets if len(secret) >= _SHORTEST_WORD]
    for secret in worth_it[:_MOST_SEARCHED]:
        if len(secret) >= _SHORTEST_SEARCHED:
            text = text.replace(secret, MASK)
        else:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return text


def _masked(pattern: re.Pattern[str], text: str) -> str:
    pieces = pattern.split(text)
    pieces[1::2] = [kept + MASK for kept in pieces[1::2]]
    return "".join(pieces)
