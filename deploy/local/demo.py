"""The demo tenant: someone to send an alert as on the first run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import SecretStr

from api.keys import ApiKeys, NewApiKey
from api.tenants import Tenants
from api.users import NewUser
from deploy.local.addresses import Addresses
from deploy.local.chart.sessions import mint
from deploy.local.keychain import Keychain
from runtime.clock import Clock
from runtime.encryption import KeyRing, parse_keys
from runtime.postgres import open_pool
from runtime.settings import EncryptionSettings, PostgresSettings, load_section
from schemas.plans import Plan

_NAME: Final = "demo"
_CHART_ID: Final = "DEMO1234"


@dataclass(frozen=True, slots=True)
class Demo:
    """What a person needs to try the pipeline. Its secrets go to the banner and `demo.json` alone."""

    user_id: UUID
    chart_id: str
    webhook_token: SecretStr
    platform_key: SecretStr
    user_key: SecretStr

    def webhook_url(self, addresses: Addresses) -> str:
        return f"{addresses.ingest_origin}/webhook/u/{self.webhook_token.get_secret_value()}"

    def to_json(self, addresses: Addresses) -> str:
        content = {
            "webhook_url": self.webhook_url(addresses),
            "api_url": addresses.api_origin,
            "api_key": self.platform_key.get_secret_value(),
            "user_api_key": self.user_key.get_secret_value(),
            "user_id": str(self.user_id),
            "chart_id": self.chart_id,
        }
        return json.dumps(content, indent=2) + "\n"


async def ensure_demo(
    keychain: Keychain, variables: Mapping[str, str], clock: Clock, *, look_alike: bool
) -> Demo:
    """Make the demo tenant what it should be. Repeating it changes nothing.

    With the chart look-alike it is signed in there and opted in to captures; on a real site a person has to
    do both.
    """
    async with open_pool(load_section(PostgresSettings, variables), "up") as pool:
        ring = KeyRing(parse_keys(load_section(EncryptionSettings, variables).keys))
        await _ensure_tenant(Tenants(pool, ring, clock), keychain, look_alike=look_alike)
        await _ensure_keys(ApiKeys(pool, clock), keychain)
    return Demo(
        user_id=keychain.demo_user_id,
        chart_id=_CHART_ID,
        webhook_token=keychain.demo_webhook_token,
        platform_key=keychain.demo_platform_key,
        user_key=keychain.demo_user_key,
    )


async def _ensure_tenant(tenants: Tenants, keychain: Keychain, *, look_alike: bool) -> None:
    user_id = keychain.demo_user_id
    user = NewUser(_NAME, Plan.PREMIUM, _CHART_ID, user_id, keychain.demo_webhook_token)
    await tenants.create_user(user)
    if look_alike:
        session = mint(keychain.chart_site_secret, _NAME, keychain.demo_session_id.get_secret_value())
        await tenants.set_session(user_id, session.sessionid, session.sessionid_sign)
        await tenants.set_captures(user_id, consented=True)


async def _ensure_keys(keys: ApiKeys, keychain: Keychain) -> None:
    await keys.create_api_key(NewApiKey("demo platform", key=keychain.demo_platform_key))
    await keys.create_api_key(NewApiKey("demo user", keychain.demo_user_id, keychain.demo_user_key))
