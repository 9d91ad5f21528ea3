from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from capture.storage_keys import key_of_request
from runtime.pictures import is_picture_key
from schemas.plans import Plan
from tests.support.capture_parts import KEY_SECRET, capture_request


def test_a_key_tells_nothing_and_never_changes() -> None:
    """It depends on the secret, the signal and the number of the request; it shows plan and day."""
    request = capture_request(1)
    key = key_of_request(KEY_SECRET, request)
    assert key == key_of_request(KEY_SECRET, capture_request(1))
    others = [
        key_of_request(KEY_SECRET, capture_request(2)),
        key_of_request(KEY_SECRET, capture_request(1, request_no=2)),
        key_of_request(SecretStr("another secret"), request),
    ]
    assert len({key, *others}) == 4
    folder, _, name = key.rpartition("/")
    assert folder == "pro/2026/03/14"
    assert len(name) == len("0" * 64 + ".png")
    assert is_picture_key(key)
    assert str(request.user_id) not in key
    assert str(request.signal_id) not in key


@pytest.mark.parametrize("plan", Plan)
def test_the_folder_is_the_retention_class(plan: Plan) -> None:
    """By the plan of the request, so that what is asked again finds the same."""
    assert key_of_request(KEY_SECRET, capture_request(1, plan=plan)).startswith(f"{plan}/2026/03/14/")


def test_the_day_is_the_one_it_was_asked_for() -> None:
    """Not later than the picture: what is taken after midnight still counts from the day before."""
    midnight = datetime(2026, 3, 15, tzinfo=UTC)
    asked_at = midnight - timedelta(seconds=1)
    request = capture_request(1, received_at=asked_at, capture_by=asked_at + timedelta(minutes=15))
    assert key_of_request(KEY_SECRET, request).startswith("pro/2026/03/14/")
