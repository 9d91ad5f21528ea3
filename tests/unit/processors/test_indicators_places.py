import pytest

from processors.indicators.places import Place, lines_of

TEXT = '''\
# [no.table]
revision = 1 # = 2
"quoted key" = "# [labels]"
[labels]   # a table
price = ["a", 'b',
  "c" ,  # ]
  """d
]""", [
    1.5 ], 1979-05-27 07:32:00,
]
dotted . "key" = { x = [1,
2], "y" = \'\'\'
z = 3
\'\'\' }

[[ array ]]
name = 1
[a."b.c".d]
last = -1e5
'''


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("revision",), 2),
        (("quoted key",), 3),
        (("labels",), 4),
        (("labels", "price"), 5),
        (("labels", "price", 0), 5),
        (("labels", "price", 1), 5),
        (("labels", "price", 2), 6),
        (("labels", "price", 3), 7),
        (("labels", "price", 4), 8),
        (("labels", "price", 4, 0), 9),
        (("labels", "price", 5), 9),
        (("labels", "dotted"), 11),
        (("labels", "dotted", "key", "x"), 11),
        (("labels", "dotted", "key", "x", 1), 12),
        (("labels", "dotted", "key", "y"), 12),
        (("array",), 16),
        (("array", "name"), 17),
        (("a", "b.c", "d"), 18),
        (("a", "b.c", "d", "last"), 19),
    ],
)
def test_a_key_or_item_is_found_in_its_line(place: Place, line: int) -> None:
    """Whatever quotes, comments, brackets in texts and line breaks in values stand around it."""
    assert lines_of(TEXT)[place] == line


def test_what_only_looks_like_a_key_is_none() -> None:
    """Comments and the inside of texts hold no keys."""
    assert {place[0] for place in lines_of(TEXT)} == {"revision", "quoted key", "labels", "array", "a"}
    assert ("labels", "z") not in lines_of(TEXT)
