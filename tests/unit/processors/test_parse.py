import base64
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from processors.indicators import PARSER_REVISION
from schemas.codec import decode, encode
from schemas.plans import Plan
from schemas.records import Lane, ParseStatus, Signal, SourceFormat, Warning_
from tests.support.webhooks import RECEIVED_AT, SIGNAL_ID, TENANT, parse, shipped_book

Case = dict[str, Any]

CASES: list[Case] = [
    json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text("utf-8").splitlines()
]
EXACT = [case for case in CASES if "exact_warnings" in case]


def parsed(case: Case) -> dict[str, Any]:
    """The signal of a case as JSON, with the parts of `source` beside the other fields."""
    body = base64.b64decode(case["body_base64"]) if "body_base64" in case else case["body"]
    signal: dict[str, Any] = json.loads(encode(parse(body, case.get("query", ""))))
    source = signal["source"]
    return signal | {"source_format": source["format"], "indicator_file": source["indicator_file"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_message_is_read_as_expected(case: Case) -> None:
    """Every named field has the expected value and every expected warning is there."""
    signal = parsed(case)
    expected = {key: value for key, value in case["expect"].items() if key != "warnings"}
    assert {key: signal[key] for key in expected} == expected
    assert set(case["expect"].get("warnings", [])) <= set(signal["warnings"])


@pytest.mark.parametrize("case", EXACT, ids=lambda case: case["id"])
def test_a_message_raises_no_other_warning(case: Case) -> None:
    """Exactly the listed warnings, each once and in the order of the closed list."""
    assert parsed(case)["warnings"] == case["exact_warnings"]


def test_the_warnings_of_the_cases_cover_the_closed_list() -> None:
    """No warning exists that no case shows, the two of the bounds aside."""
    shown = {warning for case in EXACT for warning in case["exact_warnings"]}
    assert {*shown, "truncated_fields", "truncated_message"} == set(Warning_)


def test_identity_comes_from_the_metadata_and_the_tenant() -> None:
    """The parser neither mints nor reads time."""
    signal = parse("x")
    assert (signal.signal_id, signal.received_at) == (SIGNAL_ID, RECEIVED_AT)
    assert (signal.user_id, signal.plan, signal.lane) == (TENANT.user_id, Plan.PRO, Lane.MAIN)


def test_the_source_tells_parser_and_files() -> None:
    """A replay compares the revision; people look for the file."""
    source = parse("🐸 ADX DEF [APIDEVS] 👑\nTicker: A").source
    assert source.format is SourceFormat.LABELLED_TEXT
    assert source.indicator_file == "adx_def.toml"
    assert source.parse_revision == shipped_book().parse_revision > PARSER_REVISION


def test_the_tenants_chart_is_the_last_resort() -> None:
    """A tenant's default serves only alerts that name no valid chart."""
    tenant = replace(TENANT, default_chart_id="Default1")
    assert parse("Ticker: A", tenant=tenant).chart_id == "Default1"
    assert parse("Ticker: A", "chart=Ab3dE9xZ", tenant).chart_id == "Ab3dE9xZ"
    assert parse("Chart: !!", "chart=..", tenant).warnings == [Warning_.INVALID_CHART]


def test_a_long_message_is_cut() -> None:
    """65,536 characters of the message are kept, and what follows is still read."""
    signal = parse("x" * 65_536 + "\nTicker: OKX:OPUSDT")
    assert len(signal.message) == 65_536
    assert signal.ticker == "OKX:OPUSDT"
    assert Warning_.TRUNCATED_MESSAGE in signal.warnings


def test_a_message_of_the_limit_is_not_cut() -> None:
    """The bound counts characters, not bytes."""
    signal = parse("Ticker: A\n" + "🟢" * (65_536 - 10))
    assert len(signal.message) == 65_536
    assert Warning_.TRUNCATED_MESSAGE not in signal.warnings


def test_indicator_and_signal_type_are_bounded() -> None:
    """512 characters of each are kept."""
    signal = parse("Indicador: " + "i" * 513 + "\nSeñal: " + "s" * 512)
    assert (signal.indicator, signal.signal_type) == ("i" * 512, "s" * 512)
    assert signal.warnings == [Warning_.TRUNCATED_FIELDS]


def test_fields_are_bounded_in_number() -> None:
    """The first 64 are kept."""
    signal = parse("\n".join(f"Campo {number}: {number}" for number in range(65)))
    assert list(signal.fields) == [f"Campo {number}" for number in range(64)]
    assert signal.warnings == [Warning_.TRUNCATED_FIELDS]


def test_fields_are_bounded_in_size() -> None:
    """1,024 characters of a value are kept, and a name is cut as well."""
    signal = parse(json.dumps({"a": "v" * 1025, "n" * 200: "x", "c": ["w" * 2000]}))
    assert signal.fields == {"a": "v" * 1024, "n" * 128: "x", "c": '["' + "w" * 1022}
    assert signal.warnings == [Warning_.TRUNCATED_FIELDS]


def test_fields_of_the_limit_are_whole() -> None:
    """Nothing is said of what just fits."""
    fields = {f"k{number}": "v" * 1024 for number in range(64)}
    signal = parse(json.dumps(fields | {"message": "x"}))
    assert signal.fields == fields
    assert signal.warnings == []


def test_lines_without_end_are_left_unread() -> None:
    """Beyond 2,048 lines a text is no alert; the reader says that it stopped."""
    signal = parse("a\n" * 2048 + "Ticker: OKX:OPUSDT")
    assert signal.ticker is None
    assert signal.warnings == [Warning_.TRUNCATED_FIELDS]


def test_keys_without_end_are_left_unread() -> None:
    """Beyond 2,048 keys an object is no alert either."""
    keys: dict[str, object] = {f"k{number}": None for number in range(2048)}
    signal = parse(json.dumps(keys | {"ticker": "OKX:OPUSDT"}))
    assert signal.parse_status is ParseStatus.UNPARSED
    assert signal.warnings == [Warning_.TRUNCATED_FIELDS]


def test_a_signal_survives_the_wire() -> None:
    """What the processors publish is what the sink reads."""
    signal = parse('{"ticker":"OKX:OPUSDT","price":1e-7,"time":1773480413125,"x":{"y":[1.50]}}')
    assert decode(encode(signal), Signal) == signal
