"""Whatever is known of tenants survives the way to the disk and back, and damage is seen."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.snapshot import Place, SnapshotError, SnapshotFile, parse
from runtime.tenants import TenantDirectory
from schemas.plans import Plan
from schemas.records import Tenant

OFFSETS = st.integers(0, 2**63 - 1)
PLACES = st.builds(
    Place,
    cluster_id=st.text(),
    topic=st.text(),
    partition=st.integers(0, 2**31 - 1),
    offset=OFFSETS,
    last_offset=OFFSETS,
    last_timestamp_ms=OFFSETS,
)
TENANTS = st.builds(
    Tenant,
    user_id=st.uuids(),
    revision=st.integers(1, 2**63 - 1),
    plan=st.sampled_from(Plan),
    token_hashes=st.lists(st.text(), max_size=2),
    webhook_enabled=st.booleans(),
    captures_enabled=st.booleans(),
    default_chart_id=st.none() | st.text(),
    deleted=st.booleans(),
    allowed_addresses=st.lists(st.text(), max_size=2),
)


def saved(place: Place, directory: TenantDirectory) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "directory"
        SnapshotFile(path).save(place, directory.records())
        return path.read_bytes()


def directory_of(tenants: list[Tenant]) -> TenantDirectory:
    directory = TenantDirectory()
    for tenant in tenants:
        directory.apply(tenant)
    return directory


@settings(max_examples=50)
@given(place=PLACES, tenants=st.lists(TENANTS, max_size=5))
def test_a_directory_is_the_same_after_the_disk(place: Place, tenants: list[Tenant]) -> None:
    """Also with line breaks and other odd text in every field."""
    directory = directory_of(tenants)
    snapshot = parse(saved(place, directory))
    loaded = TenantDirectory.of(snapshot.records)
    assert snapshot.place == place
    assert loaded.revisions() == directory.revisions()
    for tenant in tenants:
        assert loaded.by_id(tenant.user_id) == directory.by_id(tenant.user_id)
        for token_hash in tenant.token_hashes:
            assert loaded.by_token_hash(token_hash) == directory.by_token_hash(token_hash)


@settings(max_examples=50)
@given(tenants=st.lists(TENANTS, max_size=3), damage=st.binary(min_size=1, max_size=9), data=st.data())
def test_damage_is_seen(tenants: list[Tenant], damage: bytes, data: st.DataObject) -> None:
    """Any other bytes at any place, inserted or written over."""
    content = saved(data.draw(PLACES), directory_of(tenants))
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    damaged = content[:start] + damage + content[end:]
    if damaged == content:
        return
    with pytest.raises(SnapshotError):
        parse(damaged)


@given(content=st.binary(max_size=200))
def test_nothing_else_is_taken_for_a_snapshot(content: bytes) -> None:
    """Nothing but a `SnapshotError` comes of other files."""
    with pytest.raises(SnapshotError):
        parse(content)
