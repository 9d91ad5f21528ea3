from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from runtime.tenants import TenantDirectory
from schemas.plans import Plan
from schemas.records import Tenant

USERS = [UUID(int=number) for number in range(1, 4)]


def tenant(user: UUID = USERS[0], revision: int = 1, *hashes: str, **changes: Any) -> Tenant:
    values = {"plan": Plan.PRO, "webhook_enabled": True, "captures_enabled": False, **changes}
    return Tenant(user_id=user, revision=revision, token_hashes=list(hashes), **values)


def directory(*tenants: Tenant) -> TenantDirectory:
    made = TenantDirectory()
    for item in tenants:
        made.apply(item)
    return made


@st.composite
def histories(draw: st.DrawFn) -> list[Tenant]:
    """For each user some revisions, each with tokens old and new, and maybe a deletion."""
    history = []
    for user in USERS:
        for revision in range(1, draw(st.integers(0, 5)) + 1):
            numbers = draw(st.sets(st.integers(0, 4), max_size=3))
            hashes = [f"{user.int}-{number}" for number in sorted(numbers)]
            history.append(tenant(user, revision, *hashes, deleted=draw(st.booleans())))
    return history


@given(history=histories(), data=st.data())
def test_the_highest_revision_wins_in_whatever_order(history: list[Tenant], data: st.DataObject) -> None:
    """Records come twice, late and out of order; what is known in the end is the same."""
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=4) if history else st.just([]))
    known = directory(*data.draw(st.permutations(repeated)))
    newest = {item.user_id: item for item in sorted(history, key=lambda item: item.revision)}
    assert len(known) == len(newest)
    assert known.revisions() == {user: item.revision for user, item in newest.items()}
    for user in USERS:
        assert known.by_id(user) == newest.get(user)
        for number in range(5):
            token_hash = f"{user.int}-{number}"
            item = newest.get(user)
            valid = item is not None and not item.deleted and token_hash in item.token_hashes
            assert known.by_token_hash(token_hash) == (item if valid else None)


def test_rotation_keeps_the_old_token_while_it_is_listed() -> None:
    """The grace time is over when a revision comes without it."""
    known = directory(tenant(USERS[0], 1, "old"), tenant(USERS[0], 2, "new", "old"))
    assert known.by_token_hash("old") == known.by_token_hash("new") == known.by_id(USERS[0])
    known.apply(tenant(USERS[0], 3, "new"))
    assert known.by_token_hash("old") is None
    assert known.by_token_hash("new") is not None


def test_a_deleted_tenant_is_known_but_has_no_token() -> None:
    """Its late records are told from those of a tenant not yet heard of."""
    known = directory(tenant(USERS[0], 1, "hash"), tenant(USERS[0], 2, "hash", deleted=True))
    assert known.by_token_hash("hash") is None
    gone = known.by_id(USERS[0])
    assert gone is not None
    assert gone.deleted


@given(history=histories(), data=st.data())
def test_users_whose_last_record_is_not_their_newest_are_named(
    history: list[Tenant], data: st.DataObject
) -> None:
    """With the highest revision; compaction would keep just that last record."""
    records = list(data.draw(st.permutations(history)))
    known, highest, last = directory(*records), dict[UUID, int](), dict[UUID, int]()
    for item in records:
        highest[item.user_id] = max(highest.get(item.user_id, 0), item.revision)
        last[item.user_id] = item.revision
    expected = {user: revision for user, revision in highest.items() if last[user] < revision}
    assert known.overwritten() == expected


def test_the_newest_revision_again_puts_it_right() -> None:
    """So does a newer one."""
    for revision in (2, 3):
        known = directory(tenant(USERS[0], 2), tenant(USERS[0], 1))
        assert known.overwritten() == {USERS[0]: 2}
        known.apply(tenant(USERS[0], revision))
        assert known.overwritten() == {}


def test_only_a_known_tenants_key_can_be_overwritten() -> None:
    """Whatever else somebody wrote under whatever key."""
    known = directory(tenant())
    for key in (b"", b"nonsense", b"\xff", str(USERS[1]).encode()):
        known.overwrite(key)
    assert known.overwritten() == {}
    known.overwrite(str(USERS[0]).encode())
    assert known.overwritten() == {USERS[0]: 1}


def test_a_token_that_moved_on_stays_with_its_new_tenant() -> None:
    """When the old tenant's revision without it comes later."""
    known = directory(tenant(USERS[0], 1, "hash"), tenant(USERS[1], 1, "hash"), tenant(USERS[0], 2))
    found = known.by_token_hash("hash")
    assert found is not None
    assert found.user_id == USERS[1]


def test_one_directory_becomes_another() -> None:
    """For all who hold it; what the other did not know is forgotten."""
    known = directory(tenant(USERS[0], 2, "old"), tenant(USERS[0], 1))
    known.become(directory(tenant(USERS[1], 1, "new")))
    assert known.by_token_hash("old") is None
    assert known.by_token_hash("new") is not None
    assert (known.revisions(), known.overwritten()) == ({USERS[1]: 1}, {})


def test_the_records_make_the_same_directory() -> None:
    """Deleted tenants too: their late records are told from those of unknown ones."""
    known = directory(tenant(USERS[0], 1, "a"), tenant(USERS[1], 4, "b", deleted=True))
    again = TenantDirectory.of(known.records())
    assert again.revisions() == known.revisions()
    assert again.by_id(USERS[1]) == known.by_id(USERS[1])
    assert again.by_token_hash("a") == known.by_token_hash("a")
    assert again.by_token_hash("b") is None
