"""Keys that wait, follow one another and are used, in the database of both kinds: races, restarts, edited rows."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, update

from service.auth import keys
from service.auth.authority import Tampered
from service.auth.keys import ApiKey, KeyState, Permission, Rotation
from service.auth.last_use import LastUses
from service.auth.secrets import MasterKey
from service.db import models as m
from service.db.engine import Database
from service.errors import ApiError
from tests.service.auth.seed import DAY_MS, new_key, seed_wallet
from tests.service.books_seed import NOW_MS

MASTER = MasterKey(bytes(32))
LAPSES_MS = NOW_MS + DAY_MS
IDLE_MS = 30 * DAY_MS


def waiting_key(c: Connection) -> ApiKey:
    new = replace(new_key(seed_wallet(c, MASTER), Permission.READ), lapses_ms=LAPSES_MS, made_by=1)
    return keys.create_key(c, new, master=MASTER, now_ms=NOW_MS).key


def loaded(c: Connection, key_id: str) -> ApiKey:
    key = keys.load_key(c, key_id, master=MASTER)
    assert key is not None
    return key


def activate_if_waiting(c: Connection, key_id: str, now_ms: int) -> bool:
    """As `service.keys.making` does it."""
    key = loaded(c, key_id)
    if key.state(now_ms, idle_ms=IDLE_MS) is not KeyState.WAITING:
        return False
    keys.activate_key(c, key, master=MASTER, now_ms=now_ms)
    return True


async def test_f77_of_activations_at_once_in_the_database_one_finds_the_key_waiting(db: Database) -> None:
    key = await db.run(waiting_key)
    asked = [db.run(lambda c, at=at: activate_if_waiting(c, key.id, NOW_MS + at)) for at in range(1, 9)]  # type: ignore[misc]
    assert sorted(await asyncio.gather(*asked)) == [False] * 7 + [True]
    found = await db.read(lambda c: loaded(c, key.id))
    assert (found.lapses_ms, found.state(NOW_MS + 10, idle_ms=IDLE_MS)) == (None, KeyState.ACTIVE)


async def test_what_waits_still_waits_after_a_restart_and_what_is_active_stays_so(sqlite_url: str) -> None:
    first = await Database.open(sqlite_url)
    waits = await first.run(waiting_key)
    await first.close()
    second = await Database.open(sqlite_url)
    assert await second.read(lambda c: loaded(c, waits.id)) == waits
    active = await second.run(lambda c: keys.activate_key(c, loaded(c, waits.id), master=MASTER, now_ms=NOW_MS))
    await second.close()
    third = await Database.open(sqlite_url)
    assert await third.read(lambda c: loaded(c, waits.id)) == active
    await third.close()


@pytest.mark.parametrize(
    "change",
    [
        {"lapses_ms": None},
        {"lapses_ms": LAPSES_MS * 2},
        {"last_used_ms": NOW_MS * 2},
        {"last_used_ms": None},
        {"made_by_user_id": 2},
        {"made_by_user_id": None},
        {"rotates_key_id": "ck_0000000000000000"},
        {"rotation_overlap_ms": 1},
    ],
)
async def test_a_key_that_was_activated_or_kept_alive_in_the_database_grants_nothing(
    sqlite_db: Database, change: dict[str, Any]
) -> None:
    key = await sqlite_db.run(waiting_key)
    await sqlite_db.run(lambda c: c.execute(update(m.api_keys).values(**change)) and None)
    with pytest.raises(Tampered):
        await sqlite_db.read(lambda c: loaded(c, key.id))


async def test_activating_a_successor_ends_the_old_key_after_the_overlap_and_never_later(sqlite_db: Database) -> None:
    wallet = await sqlite_db.run(lambda c: seed_wallet(c, MASTER))

    def rotated(c: Connection, old_end_ms: int | None, overlap_ms: int) -> int | None:
        label = f"{old_end_ms} {overlap_ms}"
        old = keys.create_key(
            c, replace(new_key(wallet, label=label), expires_ms=old_end_ms), master=MASTER, now_ms=NOW_MS
        ).key
        rotation = Rotation(key_id=old.id, overlap_ms=overlap_ms)
        new = replace(new_key(wallet, label=f"{label} new"), rotation=rotation, lapses_ms=LAPSES_MS)
        successor = keys.create_key(c, new, master=MASTER, now_ms=NOW_MS).key
        assert loaded(c, old.id).expires_ms == old_end_ms
        keys.activate_key(c, successor, master=MASTER, now_ms=NOW_MS + 10)
        return loaded(c, old.id).expires_ms

    for old_end_ms, overlap_ms, expected in (
        (None, 0, NOW_MS + 10),
        (None, 500, NOW_MS + 510),
        (NOW_MS + 100, 500, NOW_MS + 100),
        (NOW_MS + 900, 500, NOW_MS + 510),
    ):
        assert await sqlite_db.run(lambda c: rotated(c, old_end_ms, overlap_ms)) == expected  # noqa: B023


async def test_uses_that_could_not_be_written_are_written_later_and_the_newest_counts(sqlite_db: Database) -> None:
    key = await sqlite_db.run(waiting_key)
    uses = LastUses()
    uses.note(replace(key, last_used_ms=None), now_ms=NOW_MS + 5)

    class Broken:
        async def run(self, work: object) -> None:
            uses.note(replace(key, last_used_ms=None), now_ms=NOW_MS + 9)
            raise ApiError("not_saved", "no disk")

    with pytest.raises(ApiError):
        await uses.flush(Broken(), MASTER)  # type: ignore[arg-type]
    await uses.flush(sqlite_db, MASTER)
    assert (await sqlite_db.read(lambda c: loaded(c, key.id))).last_used_ms == NOW_MS + 9
    await sqlite_db.run(lambda c: keys.note_use(c, key.id, used_ms=NOW_MS + 7, master=MASTER))
    assert (await sqlite_db.read(lambda c: loaded(c, key.id))).last_used_ms == NOW_MS + 9


async def test_a_row_that_was_tampered_with_does_not_keep_the_other_uses_from_being_written(
    sqlite_db: Database,
) -> None:
    key = await sqlite_db.run(waiting_key)
    uses = LastUses()
    uses.note(replace(key, id="ck_" + "f" * 16, last_used_ms=None), now_ms=NOW_MS + 5)
    uses.note(replace(key, last_used_ms=None), now_ms=NOW_MS + 5)
    await sqlite_db.run(lambda c: c.execute(update(m.api_keys).values(can_trade=True)) and None)
    await uses.flush(sqlite_db, MASTER)
    with pytest.raises(Tampered):
        await sqlite_db.read(lambda c: loaded(c, key.id))
