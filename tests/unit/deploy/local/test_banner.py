import json
import shlex
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from deploy.local.addresses import Addresses
from deploy.local.banner import banner
from deploy.local.demo import Demo
from deploy.local.layout import Layout

USER = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
ADDRESSES = Addresses("127.0.0.1", "0.0.0.0", {"ingest_port": 8080, "api_port": 8081})


@pytest.fixture
def demo() -> Demo:
    return Demo(
        USER, "DEMO1234", SecretStr("the-token"), SecretStr("the-platform-key"), SecretStr("the-user-key")
    )


def commands(text: str) -> list[list[str]]:
    """The arguments of the shell commands in a text, as a shell would see them."""
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("curl ")]


def test_the_banner_holds_two_commands_to_paste(demo: Demo) -> None:
    """One sends an alert to the demo tenant, one reads what became of it."""
    send, read = commands(banner(Layout(Path("/clone")), ADDRESSES, demo))
    assert "http://127.0.0.1:8080/webhook/u/the-token?chart=DEMO1234" in send
    assert json.loads(send[-1])["ticker"] == "BINANCE:BTCUSDT"
    assert "Authorization: Bearer the-user-key" in read
    assert f"http://127.0.0.1:8081/api/users/{USER}/signals?limit=5" in read


def test_the_banner_tells_where_logs_are_and_how_to_stop(demo: Demo) -> None:
    """What a person needs next."""
    text = banner(Layout(Path("/a clone")), ADDRESSES, demo)
    assert "/a clone/.local/logs/" in text
    assert "Ctrl-C" in text


def test_programs_find_the_demo_in_json(demo: Demo) -> None:
    """Exactly the agreed members; the API's origin has no path."""
    assert json.loads(demo.to_json(ADDRESSES)) == {
        "webhook_url": "http://127.0.0.1:8080/webhook/u/the-token",
        "api_url": "http://127.0.0.1:8081",
        "api_key": "the-platform-key",
        "user_api_key": "the-user-key",
        "user_id": str(USER),
        "chart_id": "DEMO1234",
    }


def test_a_demo_shows_no_secret_in_a_traceback(demo: Demo) -> None:
    """Its repr hides them."""
    assert "the-" not in repr(demo)
