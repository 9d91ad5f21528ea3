"""What is known of the tenants, in memory. Pure; compact enough for a hundred thousand of them."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from uuid import UUID

from schemas.codec import decode, encode
from schemas.records import Tenant

_ACTIVE: Final = 4096


@lru_cache(_ACTIVE)
def _tenant_of(record: bytes) -> Tenant:
    """Those who send now are looked up again and again."""
    return decode(record, Tenant)


class TenantDirectory:
    """Tenants by id and by token hash. The highest revision of a tenant wins, in whatever order they come.

    Holds bytes and no objects that the garbage collector would have to visit, a hundred thousand times.
    """

    def __init__(self) -> None:
        self._by_id: dict[bytes, tuple[int, bytes]] = {}
        self._by_hash: dict[str, bytes] = {}
        self._overwritten: set[bytes] = set()

    @classmethod
    def of(cls, records: Iterable[bytes]) -> "TenantDirectory":
        """Of encoded tenants. Raises `RecordDecodeError`."""
        directory = cls()
        for record in records:
            directory.apply(decode(record, Tenant))
        return directory

    def __len__(self) -> int:
        return len(self._by_id)

    def apply(self, tenant: Tenant) -> None:
        key = tenant.user_id.bytes
        known = self._by_id.get(key)
        if known is not None:
            revision, record = known
            if revision > tenant.revision:
                self._overwritten.add(key)
                return
            self._overwritten.discard(key)
            if revision == tenant.revision:
                return
            self._forget_tokens(key, record)
        self._by_id[key] = (tenant.revision, encode(tenant))
        if not tenant.deleted:
            self._by_hash.update(dict.fromkeys(tenant.token_hashes, key))

    def overwrite(self, record_key: bytes) -> None:
        """The last record under this key is no tenant, and compaction will keep just that one."""
        try:
            key = UUID(record_key.decode()).bytes
        except ValueError:
            return
        if key in self._by_id:
            self._overwritten.add(key)

    def become(self, other: "TenantDirectory") -> None:
        """Take over all that the other knows, and forget the rest."""
        vars(self).update(vars(other))

    def by_token_hash(self, token_hash: str) -> Tenant | None:
        key = self._by_hash.get(token_hash)
        return None if key is None else _tenant_of(self._by_id[key][1])

    def by_id(self, user_id: UUID) -> Tenant | None:
        """Also a deleted tenant."""
        known = self._by_id.get(user_id.bytes)
        return None if known is None else _tenant_of(known[1])

    def revisions(self) -> dict[UUID, int]:
        return {UUID(bytes=key): revision for key, (revision, _) in self._by_id.items()}

    def overwritten(self) -> dict[UUID, int]:
        """Users whose last record on the topic is not their newest, with the highest revision seen.

        Whoever reads the topic after its compaction would know less of them than this directory.
        """
        return {UUID(bytes=key): self._by_id[key][0] for key in self._overwritten}

    def records(self) -> list[bytes]:
        """The encoded tenants."""
        return [record for _, record in self._by_id.values()]

    def _forget_tokens(self, key: bytes, record: bytes) -> None:
        for token_hash in _tenant_of(record).token_hashes:
            if self._by_hash.get(token_hash) == key:
                del self._by_hash[token_hash]
