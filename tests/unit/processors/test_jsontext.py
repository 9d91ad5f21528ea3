import sys

import pytest

from processors.jsontext import MAX_DEPTH, compact, looks_like_json, read_json


def test_numbers_stay_as_written() -> None:
    """No float and no int takes part, so neither precision nor Python's digit limit matters."""
    digits = "9" * (sys.get_int_max_str_digits() + 1)
    assert read_json(f"[1.50, 1e-400, -0, {digits}]") == [b"1.50", b"1e-400", b"-0", digits.encode()]


@pytest.mark.parametrize("text", ["[NaN]", "[Infinity]", "[-Infinity]", "[+Infinity]"])
def test_numbers_that_are_none_are_null(text: str) -> None:
    """Senders write them though JSON has no such numbers."""
    assert read_json(text) == [None]


@pytest.mark.parametrize("text", ["", "{", '{"a":1,}', '{"a":1} x', "{'a':1}", '{"a":+1}', "[1}"])
def test_anything_else_is_refused(text: str) -> None:
    """One kind of error, whatever is wrong."""
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


def test_depth_is_bounded_below_pythons_limit() -> None:
    """Whether a text is JSON must not depend on the caller's stack."""
    assert read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    with pytest.raises(ValueError, match="deep"):
        read_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_brackets_in_strings_are_no_depth() -> None:
    """A text full of brackets is shallow."""
    assert read_json('["' + "[" * 1000 + '\\"["]') == ["[" * 1000 + '"[']


def test_depth_counts_after_quotes_were_made_plain() -> None:
    """Pretty quotes must not smuggle depth past the check."""
    with pytest.raises(ValueError, match=r"."):
        read_json('[“",' + "[" * 5000)
    with pytest.raises(ValueError, match=r"."):
        read_json('[“",' + "[" * 5000)


@pytest.mark.parametrize(
    ("text", "is_meant"),
    [
        ("{", True),
        ("{}", True),
        ('{ "a', True),
        ("{'a'", True),
        ("{“a", True),
        ("{qty: 1", True),
        ("[{", True),
        ('["a"', True),
        ("[1, 2", True),
        ('"ticker":"X"', True),
        ("{{ticker}} cruza", False),
        ("{SL_corto)}}", False),
        ("[15m] COMPRA", False),
        ("[ADX] COMPRA", False),
        ('"hola" dijo', False),
        ("", False),
    ],
)
def test_json_is_told_by_its_start(text: str, is_meant: bool) -> None:  # noqa: FBT001 - a table's column
    """Broken JSON is reported; text that merely starts with a bracket is not."""
    assert looks_like_json(text) is is_meant


def test_containers_become_text_as_far_as_there_is_room() -> None:
    """Digits as written, characters as they are, and no work for what nobody keeps."""
    value = read_json('{"a":[1.50,true,null],"é":"x\\"y"}')
    assert compact(value, 100) == '{"a":[1.50,true,null],"é":"x\\"y"}'
    assert len(compact(read_json("[" + "0," * 100_000 + "0]"), 100) or "") < 110
    assert [compact(plain, 1) for plain in (None, "long text", b"1.50", True)] == [
        None,
        "long text",
        "1.50",
        "true",
    ]
