"""Origins and addresses."""

import pytest
from pydantic import SecretStr

from api.settings import ApiSection, ApiSettings, WebhookAddress
from runtime.settings import SettingsError, load_section, load_settings

SECRET = "a-secret-of-sixteen-and-more"


def test_links_name_the_public_origin_when_there_is_one() -> None:
    """Without one, the address of the port is used; an IPv6 address gets its brackets."""
    assert section().origin() == "http://127.0.0.1:8081"
    assert section(API_HOST="::1", API_PORT="9").origin() == "http://[::1]:9"
    assert section(API_PUBLIC_ORIGIN="https://alerts.test:444/").origin() == "https://alerts.test:444"


@pytest.mark.parametrize(
    "text", ["alerts.test", "ftp://alerts.test", "https://", "https://a.test/x", "https://a?b"]
)
def test_only_an_origin_is_an_origin(text: str) -> None:
    """A path or a missing scheme would make links that lead nowhere."""
    with pytest.raises(SettingsError, match="API_PUBLIC_ORIGIN"):
        section(API_PUBLIC_ORIGIN=text)
    with pytest.raises(SettingsError, match="INGEST_PUBLIC_ORIGIN"):
        load_section(WebhookAddress, {"INGEST_PUBLIC_ORIGIN": text})


def test_a_webhook_url_is_where_the_ingress_listens() -> None:
    """The URL for people follows the ingress's port, or its public origin."""
    address = load_section(WebhookAddress, {"INGEST_PORT": "8085"})
    assert address.webhook_url(SecretStr("token")) == "http://127.0.0.1:8085/webhook/u/token"
    public = load_section(WebhookAddress, {"INGEST_PUBLIC_ORIGIN": "https://in.test"})
    assert public.webhook_url(SecretStr("token")) == "https://in.test/webhook/u/token"


def test_the_api_cannot_start_without_a_secret_for_its_links() -> None:
    """A missing or short secret is named with every other problem, and never shown."""
    with pytest.raises(SettingsError) as missing:
        load_settings(ApiSettings, {"API_LINK_SECRET": "tooshort"})
    assert any(problem.startswith("API_LINK_SECRET: ") for problem in missing.value.problems)
    assert any(problem.startswith("DATABASE_URL: ") for problem in missing.value.problems)
    assert "tooshort" not in str(missing.value)


def section(**values: str) -> ApiSection:
    return load_section(ApiSection, {"API_LINK_SECRET": SECRET, **values})
