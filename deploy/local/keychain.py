"""The secrets of one clone: made up at its first start, kept with its data."""

import base64
import secrets
from pathlib import Path
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer

from deploy.local.errors import LocalError
from deploy.local.files import write_private
from runtime.clock import SystemClock
from runtime.ids import SignalIds
from runtime.tokens import new_api_key, new_token

_SECRET_BYTES: Final = 32
_KEY_ID: Final = "local"


def _new_secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(_SECRET_BYTES))


def _new_encryption_keys() -> SecretStr:
    return SecretStr(f"{_KEY_ID}:{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}")


class Keychain(BaseModel):
    """Secrets by use. A secret that an older file lacks is made up and added."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    postgres_password: SecretStr = Field(default_factory=_new_secret)
    sink_database_password: SecretStr = Field(default_factory=_new_secret)
    capture_database_password: SecretStr = Field(default_factory=_new_secret)
    api_database_password: SecretStr = Field(default_factory=_new_secret)
    storage_key_secret: SecretStr = Field(default_factory=_new_secret)
    api_link_secret: SecretStr = Field(default_factory=_new_secret)
    chart_site_secret: SecretStr = Field(default_factory=_new_secret)
    encryption_keys: SecretStr = Field(default_factory=_new_encryption_keys)
    demo_user_id: UUID = Field(default_factory=lambda: SignalIds(SystemClock()).mint())
    demo_webhook_token: SecretStr = Field(default_factory=new_token)
    demo_platform_key: SecretStr = Field(default_factory=new_api_key)
    demo_user_key: SecretStr = Field(default_factory=new_api_key)
    demo_session_id: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_hex(16)))

    @field_serializer("*", when_used="json")
    def _reveal(self, value: SecretStr | UUID) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def load_keychain(path: Path) -> Keychain:
    """Read the file, or make it. Raises `LocalError` when it cannot be read: its data needs these secrets."""
    try:
        keychain = Keychain.model_validate_json(path.read_text() if path.exists() else "{}")
    except (OSError, ValidationError) as error:
        raise LocalError(f"{path} cannot be read; without it the data in .local is lost") from error
    text = keychain.model_dump_json(indent=2)
    if not path.exists() or path.read_text() != text:
        write_private(path, text)
    return keychain
