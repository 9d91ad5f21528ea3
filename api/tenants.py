"""Administration of tenants in Postgres, the system of record.

    from api.tenants import Tenants
    from api.users import NewUser

    tenants = Tenants(pool, KeyRing(parse_keys(settings.encryption.keys)), clock)
    user = await tenants.create_user(NewUser(name="demo", plan=Plan.PREMIUM, user_id=…, token=…))
    await tenants.set_session(user.user_id, sessionid, sessionid_sign)
    await tenants.set_captures(user.user_id, consented=True)

Also `set_plan set_webhook_enabled set_default_chart set_allowed_addresses stop_captures rotate_token
delete_user`, and to read `get_user list_users webhook_token`. API keys are in `api.keys`. Every method is
one transaction; setting what is set changes nothing. What ingress or processors must learn raises
`users.revision`.
Errors: `InvalidError` (`unknown_user invalid_chart invalid_cookie invalid_token invalid_address
too_many_addresses rotation_in_progress`), else asyncpg's and `TimeoutError`.
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr

from api.database import read_rows, transaction
from api.users import CreatedUser, NewUser, UserSummary, check_chart, check_cookies, check_token
from runtime.addresses import parse_list
from runtime.clock import Clock, utc_now
from runtime.encryption import KeyRing
from runtime.errors import InvalidError
from runtime.ids import SignalIds
from runtime.postgres import Connection, Pool
from runtime.sessions import session_owner
from runtime.sql import load_queries
from runtime.tokens import RandomText, new_token, token_hash
from schemas.plans import PLAN_TERMS, Plan

_QUERIES: Final = load_queries("api", "tenants.sql")


class Tenants:
    """Creates and changes users. Blocks up to 10 s while another process changes the same user."""

    def __init__(
        self, pool: Pool, keyring: KeyRing, clock: Clock, random_text: RandomText = secrets.token_urlsafe
    ) -> None:
        self._pool = pool
        self._keyring = keyring
        self._clock = clock
        self._random_text = random_text
        self._ids = SignalIds(clock)

    async def create_user(self, new: NewUser) -> CreatedUser:
        """Create the user, or make the one with this id what `new` says, deleted or not.

        A user who exists keeps the token unless one is given, and the list of addresses that may send.
        """
        check_chart(new.default_chart_id)
        check_token(new.token)
        user_id = new.user_id or self._ids.mint()
        async with transaction(self._pool) as connection:
            await connection.execute(_QUERIES["lock_user"], user_id)
            known = await connection.fetchrow(_QUERIES["read_user"], user_id)
            token = new.token or (self._token_of(known) if known else new_token(self._random_text))
            await self._put(connection, user_id, new, token)
        return CreatedUser(user_id, token)

    async def set_plan(self, user_id: UUID, plan: Plan) -> None:
        """Also sets the plan's quota and its mode."""
        terms = PLAN_TERMS[plan]
        values = (plan.value, terms.signals_per_month, terms.quota_mode.value)
        await self._change(user_id, "set_plan", *values)

    async def set_webhook_enabled(self, user_id: UUID, *, enabled: bool) -> None:
        await self._change(user_id, "set_webhook_enabled", enabled)

    async def set_default_chart(self, user_id: UUID, chart_id: str | None) -> None:
        check_chart(chart_id)
        await self._change(user_id, "set_default_chart", chart_id)

    async def set_allowed_addresses(self, user_id: UUID, entries: Sequence[str]) -> None:
        """Who may send: networks, addresses and names as in `runtime.addresses`. None: anybody."""
        parse_list(entries)
        await self._change(user_id, "set_allowed_addresses", [entry.strip() for entry in entries])

    async def set_captures(self, user_id: UUID, *, consented: bool) -> None:
        """Record the user's consent or its withdrawal. Consent also releases the kill switch."""
        if consented:
            await self._change(user_id, "allow_captures", utc_now(self._clock))
        else:
            await self._change(user_id, "withdraw_captures")

    async def stop_captures(self, user_id: UUID, reason: str) -> None:
        """The kill switch of one user; consent stays on record."""
        await self._change(user_id, "stop_captures", reason)

    async def set_session(self, user_id: UUID, sessionid: SecretStr, sessionid_sign: SecretStr) -> None:
        """Store the TradingView cookies encrypted, as a new version. The same valid ones change nothing."""
        cookies = {"tv_sessionid": sessionid, "tv_sessionid_sign": sessionid_sign}
        check_cookies(cookies.values())
        async with self._locked(user_id) as connection:
            row = await connection.fetchrow(_QUERIES["read_session"], user_id)
            if not self._holds(row, user_id, cookies):
                blobs = [
                    self._keyring.encrypt(value, session_owner(column, user_id))
                    for column, value in cookies.items()
                ]
                await connection.execute(_QUERIES["set_session"], user_id, *blobs, utc_now(self._clock))

    async def rotate_token(self, user_id: UUID, grace: timedelta) -> SecretStr:
        """A new token. The old one works for the grace time, none when it has leaked.

        Raises `InvalidError` (`rotation_in_progress`) when an older token is still in its grace time, which
        this would cut short; without grace all older tokens end at once.
        """
        token, now = new_token(self._random_text), utc_now(self._clock)
        async with self._locked(user_id) as connection:
            values = (*self._stored(token, user_id), now + grace if grace else None, now)
            if not await self._apply(connection, user_id, "rotate_token", *values):
                raise InvalidError("rotation_in_progress", "an older token is still in its grace time")
        return token

    async def delete_user(self, user_id: UUID) -> None:
        """Soft: signals stay until their retention. Keys are revoked and cookies erased at once."""
        now = utc_now(self._clock)
        async with self._locked(user_id) as connection:
            await connection.execute(_QUERIES["forget_session"], user_id)
            await self._apply(connection, user_id, "delete_user", now)
            await connection.execute(_QUERIES["revoke_keys_of_user"], user_id, now)

    async def get_user(self, user_id: UUID) -> UserSummary:
        summaries = await self._summaries(user_id)
        if not summaries:
            raise InvalidError("unknown_user", str(user_id))
        return summaries[0]

    async def list_users(self) -> list[UserSummary]:
        """All users that are not deleted, oldest first."""
        return await self._summaries(None)

    async def webhook_token(self, user_id: UUID) -> SecretStr:
        """The current token, to be shown to its owner again."""
        rows = await read_rows(self._pool, _QUERIES["read_user"], user_id)
        return self._token_of(_present(rows[0] if rows else None, user_id))

    async def _summaries(self, user_id: UUID | None) -> list[UserSummary]:
        rows = await read_rows(self._pool, _QUERIES["list_users"], user_id)
        return [_summary(row) for row in rows]

    async def _put(self, connection: Connection, user_id: UUID, new: NewUser, token: SecretStr) -> None:
        terms = PLAN_TERMS[new.plan]
        await connection.execute(
            _QUERIES["put_user"],
            user_id,
            new.name,
            new.plan.value,
            terms.signals_per_month,
            terms.quota_mode.value,
            next_month(utc_now(self._clock)),
            *self._stored(token, user_id),
        )
        await connection.execute(_QUERIES["put_config"], user_id)
        await self._apply(connection, user_id, "set_default_chart", new.default_chart_id)

    async def _change(self, user_id: UUID, query: str, *values: object) -> None:
        async with self._locked(user_id) as connection:
            await self._apply(connection, user_id, query, *values)

    async def _apply(self, connection: Connection, user_id: UUID, query: str, *values: object) -> bool:
        """Run a query that skips a row that is as wanted. If it changes one, the revision is raised too."""
        status = await connection.execute(_QUERIES[query], user_id, *values)
        changed = status != "UPDATE 0"
        if changed:
            await connection.execute(_QUERIES["raise_revision"], user_id)
        return changed

    @asynccontextmanager
    async def _locked(self, user_id: UUID) -> AsyncIterator[Connection]:
        """A transaction in which nobody else changes this user.

        `user_config` is locked before `users`, as the sink does: the other order could deadlock with it.
        """
        async with transaction(self._pool) as connection:
            await connection.execute(_QUERIES["lock_user"], user_id)
            _present(await connection.fetchrow(_QUERIES["read_user"], user_id), user_id)
            yield connection

    def _stored(self, token: SecretStr, user_id: UUID) -> tuple[bytes, bytes]:
        """The token's two stored forms: to look it up, and to show it again."""
        hashed = bytes.fromhex(token_hash(token.get_secret_value()))
        return hashed, self._keyring.encrypt(token, token_owner(user_id))

    def _token_of(self, row: Any) -> SecretStr:
        return self._keyring.decrypt(row["webhook_token"], token_owner(row["id"]))

    def _holds(self, row: Any, user_id: UUID, cookies: Mapping[str, SecretStr]) -> bool:
        if row["tv_sessionid"] is None or not row["tv_cookies_valid"]:
            return False
        try:
            return all(
                self._keyring.decrypt(row[column], session_owner(column, user_id)) == value
                for column, value in cookies.items()
            )
        except InvalidError:
            # encrypted with a key that is gone: the given cookies replace it
            return False


def next_month(moment: datetime) -> datetime:
    """The first moment of the month after this one, in the same zone."""
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def _summary(row: Any) -> UserSummary:
    changes = {"plan": Plan(row["plan"]), "allowed_addresses": tuple(row["allowed_addresses"])}
    return UserSummary(**{**row, **changes})


def _present(row: Any, user_id: UUID) -> Any:
    if row is None or row["deleted_at"] is not None:
        raise InvalidError("unknown_user", str(user_id))
    return row


def token_owner(user_id: UUID) -> str:
    """The owner of the encrypted webhook token. Never change what it returns: as `session_owner`."""
    return f"users.webhook_token/{user_id}"
