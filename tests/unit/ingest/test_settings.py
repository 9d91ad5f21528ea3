"""Settings of the ingress that can be wrong in more ways than their type tells."""

import pytest

from ingest.settings import IngestSection
from runtime.settings import SettingsError, load_section


@pytest.mark.parametrize("subject", ["TradingView Webhooks", "CN", "nonsense=1", ","])
@pytest.mark.parametrize("required", ["true", "false"])
def test_a_subject_that_says_nothing_is_a_wrong_setting(subject: str, required: str) -> None:
    """Told at the start, beside all other problems, also while no certificate is required."""
    values = {
        "INGEST_CERTIFICATE_SUBJECT": subject,
        "INGEST_CERTIFICATE_REQUIRED": required,
        "INGEST_PORT": "none",
    }
    with pytest.raises(SettingsError) as caught:
        load_section(IngestSection, values)
    told = sorted(caught.value.problems)
    assert [problem.partition(":")[0] for problem in told] == ["INGEST_CERTIFICATE_SUBJECT", "INGEST_PORT"]
    assert repr(subject) in told[0]


def test_a_subject_of_ones_own_is_taken() -> None:
    """In the notation of RFC 4514."""
    values = {"INGEST_CERTIFICATE_SUBJECT": r"CN=sender,O=Example\, Inc."}
    assert load_section(IngestSection, values).certificate_subject == r"CN=sender,O=Example\, Inc."


@pytest.mark.parametrize("field", ["TRUSTED_PROXIES", "ALLOWED_ADDRESSES"])
def test_a_list_with_a_bad_entry_is_a_wrong_setting(field: str) -> None:
    """The entry is named."""
    with pytest.raises(SettingsError, match=f"INGEST_{field}.*'203.0.113.7/24'"):
        load_section(IngestSection, {f"INGEST_{field}": "tradingview, 203.0.113.7/24"})


def test_a_list_is_split_at_its_commas() -> None:
    """Blanks and empty parts do not count."""
    settings = load_section(IngestSection, {"INGEST_ALLOWED_ADDRESSES": " tradingview,, ::1 ,"})
    assert settings.entries("allowed_addresses") == ["tradingview", "::1"]
