"""Keys remembered between requests: never longer than their rows are what they were."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, update

from service.auth import authority, keymemory
from service.auth.authority import Tampered
from service.auth.keymemory import CHECK_EVERY_S, MAX_AGE_S, SWEEP_EVERY_S, UNUSED_S, KeyMemory
from service.auth.keys import create_key, revoke_key
from service.auth.ready import Ready, ready_of
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import api_keys
from tests.clock import FakeClock
from tests.service.auth.seed import new_key, seed_key, seed_wallet
from tests.service.books_seed import NOW_MS

MASTER = MasterKey(bytes(32))


class Counted(Database):
    """Counts reads."""

    reads = 0

    async def read(self, work):  # type: ignore[no-untyped-def]
        self.reads += 1
        return await super().read(work)


@pytest.fixture
async def counted(db: Database) -> Counted:
    return Counted(db._backend, dialect=db.dialect)


def memory(db: Database, clock: FakeClock) -> KeyMemory:
    return KeyMemory(db, master=MASTER, clock=clock)


async def test_a_key_is_loaded_once_and_remembered(counted: Counted, clock: FakeClock) -> None:
    key = (await counted.run(lambda c: seed_key(c, MASTER))).key
    keys = memory(counted, clock)
    assert await keys.remembered(key.id) is None
    loaded = await keys.load(key.id)
    assert loaded is not None
    assert loaded.key == key
    before = counted.reads
    for _ in range(100):
        assert await keys.remembered(key.id) == loaded
    assert counted.reads == before


async def test_an_unknown_key_is_not_remembered(db: Database, clock: FakeClock) -> None:
    keys = memory(db, clock)
    assert await keys.load("ck_nobody") is None
    assert await keys.remembered("ck_nobody") is None


async def test_f73_an_id_that_no_key_has_costs_the_statements_and_macs_of_one_that_has(
    sqlite_db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seed(c: Connection) -> list[str]:
        wallet = seed_wallet(c, MASTER)
        new = [new_key(wallet, label=label) for label in ("one", "two", "three")]
        return sorted(create_key(c, one, master=MASTER, now_ms=NOW_MS).key.id for one in new)

    known = await sqlite_db.run(seed)
    done: list[str] = []
    keys, execute, right = memory(sqlite_db, clock), Connection.execute, authority.mac

    def executed(c: Connection, statement: Any, *more: Any, **named: Any) -> Any:
        done.append(str(statement))
        return execute(c, statement, *more, **named)

    def worked_out(master: MasterKey, table: Table, row: Any) -> bytes:
        done.append(f"mac of {table.name}")
        return right(master, table, row)

    monkeypatch.setattr(Connection, "execute", executed)
    monkeypatch.setattr(authority, "mac", worked_out)
    costs = []
    for key_id in (*known, "ck_0000000000000000", "ck_ffffffffffffffff", "ck_nobody", "nobody"):
        done.clear()
        loaded = await keys.load(key_id)
        assert (loaded is not None and loaded.key.id == key_id) is (key_id in known)
        costs.append(list(done))
    assert all(cost == costs[0] for cost in costs), costs
    assert {"mac of api_keys", "mac of wallets"} < set(costs[0])


async def test_an_altered_key_that_stands_in_for_none_changes_no_answer(sqlite_db: Database, clock: FakeClock) -> None:
    key = (await sqlite_db.run(lambda c: seed_key(c, MASTER))).key
    await sqlite_db.run(lambda c: c.execute(update(api_keys).values(label="altered")) and None)
    keys = memory(sqlite_db, clock)
    assert await keys.load("ck_nobody") is None
    with pytest.raises(Tampered):
        await keys.load(key.id)


async def test_a_revocation_in_this_process_counts_from_its_commit_on(db: Database, clock: FakeClock) -> None:
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    keys = memory(db, clock)
    await keys.load(key.id)
    await db.run(lambda c: revoke_key(c, key.id, master=MASTER, now_ms=NOW_MS))
    assert await keys.remembered(key.id) is None
    loaded = await keys.load(key.id)
    assert loaded is not None
    assert loaded.key.revoked_ms == NOW_MS


@pytest.mark.postgres
async def test_a_revocation_in_another_process_counts_within_a_second(postgres_url: str, clock: FakeClock) -> None:
    here, there = await Database.open(postgres_url), await Database.open(postgres_url)
    try:
        key = (await here.run(lambda c: seed_key(c, MASTER))).key
        keys = memory(here, clock)
        await keys.load(key.id)
        await there.run(lambda c: revoke_key(c, key.id, master=MASTER, now_ms=NOW_MS))
        clock.advance_ms(int(CHECK_EVERY_S * 1_000))
        assert await keys.remembered(key.id) is None
    finally:
        await here.close()
        await there.close()


@pytest.mark.postgres
async def test_a_row_edited_by_hand_elsewhere_is_found_although_its_mac_is_the_same(
    postgres_url: str, clock: FakeClock
) -> None:
    here, there = await Database.open(postgres_url), await Database.open(postgres_url)
    try:
        key = (await here.run(lambda c: seed_key(c, MASTER))).key
        keys = memory(here, clock)
        await keys.load(key.id)
        await there.run(lambda c: c.exec_driver_sql("UPDATE api_keys SET revoked_ms = 1") and None)
        clock.advance_ms(int(CHECK_EVERY_S * 1_000))
        assert await keys.remembered(key.id) is None
        with pytest.raises(Tampered):
            await keys.load(key.id)
    finally:
        await here.close()
        await there.close()


async def test_what_nobody_checked_for_a_second_is_not_used(sqlite_db: Database, clock: FakeClock) -> None:
    key = (await sqlite_db.run(lambda c: seed_key(c, MASTER))).key
    keys = memory(sqlite_db, clock)
    await keys.load(key.id)
    await sqlite_db.close()
    assert await keys.remembered(key.id) is not None
    clock.advance_ms(int(MAX_AGE_S * 1_000))
    with pytest.raises(Exception, match="closed"):
        await keys.remembered(key.id)


async def test_a_check_that_finds_all_as_it_was_costs_one_read_for_all(counted: Counted, clock: FakeClock) -> None:
    key = (await counted.run(lambda c: seed_key(c, MASTER))).key
    keys = memory(counted, clock)
    loaded = await keys.load(key.id)
    before = counted.reads
    clock.advance_ms(int(CHECK_EVERY_S * 1_000))
    for _ in range(10):
        assert await keys.remembered(key.id) == loaded
    assert counted.reads == before + 1


async def test_a_key_that_is_not_used_is_forgotten(db: Database, clock: FakeClock, tmp_path: Path) -> None:
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    keys = memory(db, clock)
    await keys.load(key.id)
    clock.advance_ms(61_000)
    assert await keys.remembered(key.id) is None


async def test_what_signatures_are_made_with_is_worked_out_when_it_is_asked_for_and_once(
    db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    made = []

    def counted_ready(*args: Any, **named: Any) -> Ready | None:
        made.append(args)
        return ready_of(*args, **named)

    monkeypatch.setattr(keymemory, "ready_of", counted_ready)
    keys = memory(db, clock)
    assert keys.at_hand(key.id) is None
    await keys.load(key.id)
    assert await keys.remembered(key.id) is not None
    assert made == []
    held = keys.at_hand(key.id)
    assert held is not None
    # As a wrong signature does: the key is loaded again, and is what it was.
    await keys.load(key.id)
    again = keys.at_hand(key.id)
    assert again is not None
    assert again[1] is held[1]
    assert len(made) == 1


async def test_what_is_worked_out_is_of_the_key_as_it_is(db: Database, clock: FakeClock) -> None:
    key = (await db.run(lambda c: seed_key(c, MASTER))).key
    keys = memory(db, clock)
    await keys.load(key.id)
    assert keys.at_hand(key.id) is not None
    await db.run(lambda c: revoke_key(c, key.id, master=MASTER, now_ms=NOW_MS) and None)
    assert keys.at_hand(key.id) is None
    await keys.load(key.id)
    assert keys.at_hand(key.id) is None


async def test_a_key_that_nobody_names_is_forgotten_without_another_request(db: Database, clock: FakeClock) -> None:
    def two(c: Connection) -> list[str]:
        wallet_id = seed_wallet(c, MASTER)
        both = [replace(new_key(wallet_id), label=label) for label in ("one", "other")]
        return [create_key(c, new, master=MASTER, now_ms=NOW_MS).key.id for new in both]

    first, second = await db.run(two)
    keys = memory(db, clock)
    await keys.load(first)
    clock.advance_ms(int(UNUSED_S * 500))
    await keys.load(second)
    clock.advance_ms(int(UNUSED_S * 500))
    # Nobody asks any more; this is what the timer does.
    handle = keys._sweep
    assert handle is not None
    assert 0 < handle.when() - asyncio.get_running_loop().time() <= SWEEP_EVERY_S
    keys._forget_unused()
    assert set(keys._entries) == {second}
    assert keys._sweep is not handle
    clock.advance_ms(int(UNUSED_S * 1_000))
    keys._forget_unused()
    assert not keys._entries
    # And nothing goes on for nothing.
    assert keys._sweep is None
