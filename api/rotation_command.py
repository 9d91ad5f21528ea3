"""`alerts keys rotate`: what is encrypted moves to the first key of ENCRYPTION_KEYS."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import click

from api.administration import show_table, with_pool
from api.rotation import KeyRotation, KeyUse, Unreadable
from runtime.encryption import KeyRing, parse_keys
from runtime.environment import Environment
from runtime.settings import EncryptionSettings, PostgresSettings, load_settings


@dataclass(frozen=True, slots=True)
class RotationSettings:
    postgres: PostgresSettings
    encryption: EncryptionSettings


@dataclass(frozen=True, slots=True)
class Result:
    """`uses` are counted at the end."""

    moved: int
    unreadable: Sequence[Unreadable]
    uses: Sequence[KeyUse]


@click.command("rotate")
@click.option("--dry-run", is_flag=True, help="change nothing; say what would be re-encrypted")
@click.pass_obj
def rotate(environment: Environment, *, dry_run: bool) -> None:
    """Re-encrypt cookies and webhook tokens with the first key of ENCRYPTION_KEYS.

    Everything may run meanwhile. First put the new key in front of the old ones in ENCRYPTION_KEYS and
    restart what reads it (capture), so that everybody can read what the new key encrypts. When no value is
    left under an old key, that key may go from ENCRYPTION_KEYS. An interrupted run is continued by the next.

    Exits 1, naming the users, when there are values that none of the keys decrypts: let these users have a
    new session (`alerts users set-session`) or a new token (`alerts users rotate-token`).

    \b
    Example:
      ENCRYPTION_KEYS="new:$(openssl rand -base64 32),$ENCRYPTION_KEYS" alerts keys rotate --dry-run
    """  # noqa: D301 - \b is click's mark for lines that stay as they are
    settings = load_settings(RotationSettings, environment.values)
    keys = parse_keys(settings.encryption.keys)
    current = next(iter(keys))
    result = with_pool(
        settings.postgres, lambda pool: _rotate(KeyRotation(pool, KeyRing(keys)), current, dry_run=dry_run)
    )
    _tell(result, keys, dry_run=dry_run)
    if result.unreadable:
        raise click.exceptions.Exit(1)


async def _rotate(rotation: KeyRotation, current: str, *, dry_run: bool) -> Result:
    outdated = _count_outdated(await rotation.count_by_key(), current)
    moved, unreadable = 0, list[Unreadable]()
    with click.progressbar(length=outdated, file=click.get_text_stream("stderr")) as bar:
        async for progress in rotation.run(dry=dry_run):
            moved += progress.moved
            unreadable += progress.unreadable
            bar.update(progress.seen)
    return Result(moved, unreadable, await rotation.count_by_key())


def _tell(result: Result, keys: Collection[str], *, dry_run: bool) -> None:
    current = next(iter(keys))
    outdated = _count_outdated(result.uses, current)
    click.echo(
        f"would re-encrypt {outdated - len(result.unreadable)}" if dry_run else f"re-encrypted {result.moved}"
    )
    click.echo(f"still under an old key {outdated}\n")
    show_table(("key", "values", "what"), [(*_shown(use), _standing(use, keys)) for use in result.uses])
    for value in result.unreadable:
        click.echo(f"cannot decrypt {value.secret} of user {value.user_id}: {value.reason}", err=True)


def _shown(use: KeyUse) -> tuple[str, int]:
    return use.key_id or "-", use.secrets


def _standing(use: KeyUse, keys: Collection[str]) -> str:
    if use.key_id is None:
        return "not encrypted by this program"
    if use.key_id not in keys:
        return "not in ENCRYPTION_KEYS"
    return "current" if use.key_id == next(iter(keys)) else "old"


def _count_outdated(uses: Sequence[KeyUse], current: str) -> int:
    return sum(use.secrets for use in uses if use.key_id != current)
