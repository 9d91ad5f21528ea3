"""Pieces of regular expressions."""


def atomic(pattern: str, name: str) -> str:
    """Match `pattern` and never give any of it back, captured as `name`.

    `((?:…)*+)` says the same, but CPython before 3.11.5 (Debian 12 has 3.11.2) gets possessive groups and
    captures of possessive repeats wrong (python/cpython#106052, #101955). A lookahead is atomic everywhere.
    Possessive single characters outside of a capture (`[a-z]*+`) are right in every version.
    """
    return f"(?=(?P<{name}>{pattern}))(?P={name})"
