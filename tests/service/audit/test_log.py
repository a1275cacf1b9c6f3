"""F98: what is written to the audit log stays as it was, or `verify` finds it."""

import asyncio
from typing import Any, Final

import pytest
from sqlalchemy import Connection, delete, func, select, update

from service.audit import reading, verifying
from service.audit.acts import ACTS, MAX_DETAILS_BYTES, UnknownAct, details_of
from service.audit.appending import PURPOSE, append, heads
from service.audit.model import Actor, ActorKind, Head, NewEntry, Subject, canonical
from service.audit.verifying import Broken
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import audit_chains, audit_entries

MASTER: Final = MasterKey(bytes(range(32)))
NOW_MS: Final = 1_800_000_000_000
ACCOUNT: Final = 7


def entry(number: int = 0) -> NewEntry:
    return NewEntry(
        act="panic.on",
        actor=Actor(kind=ActorKind.OPERATOR, id="ada:1000"),
        subject=Subject(kind="wallet", id=f"w{number}"),
        account_id=ACCOUNT,
        request_id="r",
        client_ip="192.0.2.1",
        code="c",
        details={"reason": "a drill", "closing": number},
    )


async def write(db: Database, count: int, chain: int = 0) -> None:
    for number in range(count):
        await db.run(lambda c, n=number: append(c, [entry(n)], master=MASTER, now_ms=NOW_MS + n, chain=chain))  # type: ignore[misc]


def found(c: Connection) -> Broken | None:
    """What a verification of everything finds first."""
    key = MASTER.subkey(PURPOSE)
    ends = list(heads(c))
    every = [head for head, _ in ends]
    first = verifying.check_chains(every, begun=reading.begun_chains(c), newest=reading.newest_by_chain(c))
    if first is not None:
        return first
    for head, mac in ends:
        rows = reading.following(c, head.chain, after_seq=0, up_to=head.seq, limit=1_000)
        reached = verifying.check_entries(rows, after=verifying.start_of(head.chain), key=key)
        if isinstance(reached, Broken):
            return reached
        broken = verifying.check_reached(reached, head) or verifying.check_end(head, mac, key=key)
        if broken is not None:
            return broken
    return None


async def test_what_nobody_touched_is_whole(db: Database) -> None:
    await write(db, 5)
    await write(db, 3, chain=ACCOUNT)
    assert await db.read(found) is None
    # The installation's chain tells of the beginning of the account's.
    assert await db.read(reading.newest_by_chain) == {0: 6, ACCOUNT: 3}


OTHER: Final[dict[str, Any]] = {
    "time_ms": NOW_MS - 1,
    "act": "panic.off",
    "outcome": "refused",
    "code": None,
    "actor_kind": "key",
    "actor": "eve:1001",
    "subject_kind": "chain",
    "subject": "w9",
    "account_id": 8,
    "request_id": "other",
    "client_ip": "192.0.2.2",
    "details": '{"closing":3,"reason":"a drill"}',
    "hash": bytes(32),
    "mac": bytes(32),
}


def test_every_column_is_tried_below() -> None:
    assert set(OTHER) == {column.name for column in audit_entries.columns} - {"chain", "seq"}


@pytest.mark.parametrize("column", OTHER)
@pytest.mark.parametrize("seq", [1, 3, 5])
async def test_an_edited_field_is_found_at_its_entry(sqlite_db: Database, column: str, seq: int) -> None:
    """F98"""
    await write(sqlite_db, 5)
    where = (audit_entries.c.chain == 0, audit_entries.c.seq == seq)
    await sqlite_db.run(lambda c: c.execute(update(audit_entries).where(*where).values({column: OTHER[column]})))
    broken = await sqlite_db.read(found)
    assert broken is not None
    assert broken.seq == seq


@pytest.mark.parametrize("seq", [1, 3, 5])
async def test_a_removed_entry_is_found(sqlite_db: Database, seq: int) -> None:
    """F98"""
    await write(sqlite_db, 5)
    await sqlite_db.run(lambda c: c.execute(delete(audit_entries).where(audit_entries.c.seq == seq)))
    broken = await sqlite_db.read(found)
    assert broken is not None
    assert broken.seq == seq


async def test_two_entries_in_each_others_place_are_found(sqlite_db: Database) -> None:
    """F98"""
    await write(sqlite_db, 5)

    def swap(c: Connection) -> None:
        for old, new in ((2, 99), (4, 2), (99, 4)):
            c.execute(update(audit_entries).where(audit_entries.c.seq == old).values(seq=new))

    await sqlite_db.run(swap)
    broken = await sqlite_db.read(found)
    assert broken is not None
    assert broken.seq == 2


async def test_a_tail_that_was_cut_off_is_found_also_after_more_was_appended(sqlite_db: Database) -> None:
    """F98"""
    await write(sqlite_db, 5)

    def cut(c: Connection) -> None:
        c.execute(delete(audit_entries).where(audit_entries.c.seq > 3))
        last = c.execute(select(audit_entries.c.hash).where(audit_entries.c.seq == 3)).scalar_one()
        c.execute(update(audit_chains).values(seq=3, hash=last))

    await sqlite_db.run(cut)
    assert await sqlite_db.read(found) is not None
    await write(sqlite_db, 4)
    broken = await sqlite_db.read(found)
    assert broken is not None
    assert "went on" in broken.why


async def test_a_chain_without_its_end_is_found_also_after_more_was_appended(sqlite_db: Database) -> None:
    """F98"""
    await write(sqlite_db, 3)
    await sqlite_db.run(lambda c: c.execute(delete(audit_chains)))
    assert await sqlite_db.read(found) is not None
    await write(sqlite_db, 1)
    assert await sqlite_db.read(found) is not None


async def test_a_whole_account_chain_that_is_gone_is_found(sqlite_db: Database) -> None:
    """F98"""
    await write(sqlite_db, 1, chain=ACCOUNT)

    def wipe(c: Connection) -> None:
        for table in (audit_chains, audit_entries):
            c.execute(delete(table).where(table.c.chain == ACCOUNT))

    await sqlite_db.run(wipe)
    broken = await sqlite_db.read(found)
    assert broken is not None
    assert broken.chain == ACCOUNT


async def test_an_older_copy_is_found_by_the_ends_of_a_later_export(sqlite_db: Database) -> None:
    """F98: what nothing in the database itself can show."""
    await write(sqlite_db, 2)
    older = [head for head, _ in await sqlite_db.read(lambda c: list(heads(c)))]
    later = [Head(chain=0, seq=3, hash=b"x" * 32)]
    hashes = await sqlite_db.read(lambda c: reading.hashes_at(c, [*older, *later]))
    assert verifying.missing(older, hashes=hashes) is None
    assert verifying.missing(later, hashes=hashes) is not None


async def test_an_entry_goes_with_its_unit_of_work(db: Database) -> None:
    def work(c: Connection) -> None:
        append(c, [entry()], master=MASTER, now_ms=NOW_MS)
        raise LookupError

    with pytest.raises(LookupError):
        await db.run(work)
    assert await db.read(lambda c: c.execute(select(func.count()).select_from(audit_entries)).scalar_one()) == 0


async def test_many_at_once_are_gapless(database_url: str) -> None:
    """Two connections' worth of writers: one number an entry, in one chain."""
    first = await Database.open(database_url)
    second = first if first.dialect == "sqlite" else await Database.open(database_url)
    try:

        async def one(db: Database, number: int) -> None:
            await db.run(lambda c: append(c, [entry(number)], master=MASTER, now_ms=NOW_MS, chain=ACCOUNT))

        await asyncio.gather(*(one((first, second)[number % 2], number) for number in range(24)))
        assert await first.read(reading.newest_by_chain) == {0: 1, ACCOUNT: 24}
        assert await first.read(found) is None
    finally:
        await first.close()
        await second.close()


def test_only_listed_details_are_kept_and_they_are_bounded() -> None:
    kept = details_of("key.create", {"label": "x" * 9_999, "secret": "s3cret", "destinations": [{"a": "b" * 500}] * 99})
    assert "secret" not in kept
    assert len(canonical(kept)) <= MAX_DETAILS_BYTES
    with pytest.raises(UnknownAct):
        details_of("key.steal", {})


def test_no_act_lists_a_secret() -> None:
    for act in ACTS.values():
        assert not {"secret", "password", "secret_password", "public_key", "token", "code"} & set(act.fields)
