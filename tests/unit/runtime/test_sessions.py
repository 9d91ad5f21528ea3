from uuid import UUID

from runtime.sessions import session_owner


def test_the_owner_of_stored_cookies_never_changes() -> None:
    """Every blob in every database was sealed for exactly this text."""
    user = UUID("019cebc1-0000-7000-8000-00000000000a")
    assert session_owner("tv_sessionid", user) == f"user_config.tv_sessionid/{user}"
