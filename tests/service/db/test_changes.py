"""Memories of reads end with the commit that makes them untrue, before anyone can be told of it."""

from sqlalchemy import insert, select

from service.auth.keys import revoke_key
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import accounts
from tests.service.auth.seed import seed_key
from tests.service.books_seed import NOW_MS

MASTER = MasterKey(bytes(32))


async def test_a_commit_ends_what_was_remembered_and_a_read_does_not(db: Database) -> None:
    stamp = db.changes.stamp()
    assert stamp is not None
    await db.read(lambda c: c.execute(select(accounts.c.id)).all())
    assert db.changes.unchanged_since(stamp)
    await db.run(lambda c: c.execute(insert(accounts).values(name="x", created_ms=NOW_MS)))
    assert not db.changes.unchanged_since(stamp)
    later = db.changes.stamp()
    assert later is not None
    assert db.changes.unchanged_since(later)


async def test_nothing_may_be_remembered_while_a_commit_is_under_way(db: Database) -> None:
    stamp = db.changes.stamp()
    assert stamp is not None
    db.changes.begin()
    assert db.changes.stamp() is None
    assert not db.changes.unchanged_since(stamp)
    db.changes.end(touched_authority=False)
    assert not db.changes.unchanged_since(stamp)


async def test_only_commits_that_touch_keys_count_for_authority(db: Database) -> None:
    before = db.changes.authority
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    made = db.changes.authority
    assert made > before
    await db.run(lambda c: c.execute(insert(accounts).values(name="y", created_ms=NOW_MS)))
    assert db.changes.authority == made
    await db.run(lambda c: revoke_key(c, key.id, master=MASTER, now_ms=NOW_MS))
    assert db.changes.authority == made + 1


async def test_sql_written_by_hand_counts_too(db: Database) -> None:
    before = db.changes.authority
    await db.run(lambda c: c.exec_driver_sql("UPDATE api_keys SET label = 'z'") and None)
    assert db.changes.authority == before + 1
