"""How a user's TradingView cookies are bound to their row at rest."""

from uuid import UUID


def session_owner(column: str, user_id: UUID) -> str:
    """The owner of an encrypted column of `user_config`, for `KeyRing.encrypt` and `decrypt`.

    Never change what it returns: cookies already stored would not decrypt any more.
    """
    return f"user_config.{column}/{user_id}"
