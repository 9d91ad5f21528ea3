"""A connection URL as the variables of libpq."""

import pytest

from deploy.postgres_client import ConnectionUrlError, libpq_environment, main


def test_every_part_of_the_url_gets_its_variable() -> None:
    """Decoded; the process's own variables stay, apart from those of another connection."""
    url = "postgresql://ana:p%40ss%3Aw@db.example:6432/alerts%20one?sslmode=verify-full&sslrootcert=%2Fca.pem"
    values = {"PATH": "/bin", "PGHOST": "elsewhere", "PGSERVICE": "other", "PGCLUSTER": "15/main"}
    assert libpq_environment(url, values) == {
        "PATH": "/bin",
        "PGCLUSTER": "15/main",
        "PGHOST": "db.example",
        "PGPORT": "6432",
        "PGUSER": "ana",
        "PGPASSWORD": "p@ss:w",
        "PGDATABASE": "alerts one",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/ca.pem",
    }


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("postgresql:///alerts?host=/run/pg", {"PGHOST": "/run/pg", "PGDATABASE": "alerts"}),
        ("postgresql://h", {"PGHOST": "h"}),
        ("postgresql://[::1]:5433/a", {"PGHOST": "::1", "PGPORT": "5433", "PGDATABASE": "a"}),
        ("postgresql://a:1,b:2/c", {"PGHOST": "a,b", "PGPORT": "1,2", "PGDATABASE": "c"}),
        ("postgresql://%2Frun%2Fpg/a", {"PGHOST": "/run/pg", "PGDATABASE": "a"}),
    ],
)
def test_urls_come_in_many_forms(url: str, variables: dict[str, str]) -> None:
    """Sockets, IPv6 and several hosts; what is not said is left to libpq."""
    assert libpq_environment(url, {}) == variables


def test_an_option_that_no_variable_says_is_refused() -> None:
    """Rather than forgotten: it might be the one that makes the connection safe."""
    with pytest.raises(ConnectionUrlError, match="'keepalives'"):
        libpq_environment("postgresql://h/a?keepalives=0", {})


def test_without_a_url_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """As every command does."""
    with pytest.raises(SystemExit) as ended:
        main(["psql"])
    assert ended.value.code == 2
    assert "DATABASE_URL" in capsys.readouterr().err
