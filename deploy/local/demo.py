"""The demo tenant: someone to send an alert as on the first run."""

import json
from dataclasses import dataclass
from uuid import UUID

from pydantic import SecretStr

from deploy.local.addresses import Addresses
from deploy.local.keychain import Keychain
from deploy.local.variables import Variables


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


async def ensure_demo(keychain: Keychain, variables: Variables, *, has_look_alike: bool) -> Demo:
    del variables, has_look_alike
    return Demo(
        UUID(int=1),
        "DEMO1234",
        keychain.demo_webhook_token,
        keychain.demo_platform_key,
        keychain.demo_user_key,
    )
