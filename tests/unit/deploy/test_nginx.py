"""The NGINX example against what the ingress expects of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from ingest.certificate import CertificatePolicy
from ingest.settings import IngestSection
from ingest.webhook import MAX_BODY_BYTES

EXAMPLE: Final = Path(__file__).resolve().parents[3] / "deploy" / "nginx" / "alerts.conf"
SENDER_WAITS_S: Final = 3.0
INGRESS_ANSWERS_WITHIN_S: Final = 2.5
SECONDS: Final = {"ms": 0.001, "s": 1.0}

_TOKEN: Final = re.compile(r"#[^\n]*|'([^']*)'|([{};])|([^\s{};'#]+)")

Directive = tuple[str, ...]


def directives(text: str) -> Iterator[tuple[Directive, Directive]]:
    """Each directive with the block it stands in; a block is itself a directive."""
    blocks: list[Directive] = [()]
    words: list[str] = []
    for quoted, mark, word in _TOKEN.findall(text):
        if mark == "}":
            blocks.pop()
        elif mark:
            yield blocks[-1], tuple(words)
            blocks += [tuple(words)] if mark == "{" else []
            words = []
        elif quoted or word:
            words.append(quoted or word)


ALL: Final = list(directives(EXAMPLE.read_text()))


def values(name: str, block: str = "server") -> list[Directive]:
    return [words[1:] for where, words in ALL if words[0] == name and (where or ("http",))[0] == block]


def seconds(name: str) -> float:
    [[text]] = values(name)
    number, unit = re.fullmatch(r"(\d+)(ms|s)", text).groups()  # type: ignore[union-attr]  # else the test fails
    return int(number) * SECONDS[unit]


def test_it_sets_every_header_that_the_ingress_believes() -> None:
    """Set, and not added to, so that none of a client's own gets through."""
    policy = CertificatePolicy()
    passed_on = {words[0]: words[1] for words in values("proxy_set_header")}
    assert passed_on[policy.verify_header] == "$ssl_client_verify"
    assert passed_on[policy.subject_header] == "$ssl_client_s_dn"
    assert passed_on["X-Forwarded-For"] == "$remote_addr"


def test_the_settings_it_speaks_of_exist() -> None:
    """Without them the ingress believes nothing of it."""
    named = set(re.findall(r"INGEST_[A-Z_]+", EXAMPLE.read_text()))
    known = {IngestSection.variable(field) for field in IngestSection.model_fields}
    assert named == {"INGEST_TRUSTED_PROXIES", "INGEST_CERTIFICATE_REQUIRED"} & known


def test_no_location_drops_those_headers() -> None:
    """NGINX inherits them only into blocks that set none of their own."""
    assert [where for where, words in ALL if words[0] == "proxy_set_header" and where != ("server",)] == []
    assert len(values("proxy_pass", "location")) == 2


def test_a_body_that_the_ingress_takes_gets_through() -> None:
    """The two limits are one."""
    assert values("client_max_body_size") == [(f"{MAX_BODY_BYTES // 1024}k",)]


def test_the_answer_comes_before_the_sender_leaves() -> None:
    """Two tries to connect and the time that the ingress may take."""
    assert seconds("proxy_read_timeout") > INGRESS_ANSWERS_WITHIN_S
    assert 2 * seconds("proxy_connect_timeout") + seconds("proxy_read_timeout") < SENDER_WAITS_S
    assert values("proxy_next_upstream_tries") == [("2",)]


def test_what_the_sender_would_drop_is_answered_so_that_it_comes_again() -> None:
    """TradingView sends again after 503, not after 504, nor after the 400 for a bad certificate."""
    assert ("502", "504", "=503", "@unavailable") in values("error_page")
    assert ("495", "=", "@alerts") in values("error_page")


@pytest.mark.parametrize(
    "variable", ["$request ", "$request_uri", "$uri", "$document_uri", "$args", "$query"]
)
def test_no_log_holds_a_path_or_query(variable: str) -> None:
    """They hold the token; the error log quotes them with every line about a request."""
    [(name, *parts)] = values("log_format", "http")
    assert variable not in "".join(parts) + " "
    assert "$http_" not in "".join(parts)
    assert [words[-1] for words in values("access_log")] == [name]
    assert [words[-1] for words in values("error_log")] == ["emerg"]
