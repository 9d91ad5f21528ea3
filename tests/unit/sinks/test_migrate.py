"""How the database is addressed for migrations."""

import pytest

from sinks.migrate import _driver_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@host:5/name", "postgresql+asyncpg://u:p@host:5/name"),
        ("postgres://u@host/name", "postgresql+asyncpg://u@host/name"),
        ("postgresql://u:%40%2F@h/n?sslmode=require", "postgresql+asyncpg://u:%40%2F@h/n?ssl=require"),
    ],
)
def test_a_plain_url_becomes_one_for_the_driver(url: str, expected: str) -> None:
    """People write libpq's URLs; the password keeps its escapes."""
    assert _driver_url(url) == expected
