"""Bans hold in every process and over restarts, and nobody makes them a storm of writes."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import Connection, func, insert, select

from service.db.engine import Database
from service.db.models import rate_bans
from service.ratelimits.bans import FIRST_BAN_S, FORGIVEN_AFTER_S, LONGEST_BAN_S, STRIKES
from service.ratelimits.sharedbans import MOST_A_READ, MOST_A_WRITE, SYNC_EVERY_S, SharedBans
from tests.clock import FakeClock

SYNC_MS = round(SYNC_EVERY_S * 1_000)


async def process(open_ones: AsyncExitStack, url: str, clock: FakeClock) -> SharedBans:
    db = await Database.open(url)
    open_ones.push_async_callback(db.close)
    return SharedBans(db, clock=clock)


async def strike_out(bans: SharedBans, client: str = "a") -> None:
    for _ in range(STRIKES):
        await bans.strike(client)


async def rows_of(db: Database) -> int:
    return await db.read(lambda c: c.execute(select(func.count()).select_from(rate_bans)).scalar_one())


async def left_s(bans: SharedBans, client: str = "a") -> int | None:
    """As a request learns it."""
    await bans.sync()
    return bans.left_s(client)


async def test_a_ban_holds_in_the_next_process_and_grows_there(db: Database, clock: FakeClock) -> None:
    """After a restart, or beside it."""
    first = SharedBans(db, clock=clock)
    await strike_out(first)
    clock.advance_ms(10_000)
    after = SharedBans(db, clock=clock)
    assert await left_s(after) == FIRST_BAN_S - 10 + 1
    assert after.is_known
    assert await left_s(after, "b") is None
    clock.advance_ms(FIRST_BAN_S * 1_000)
    # One that is over makes the next one longer, as it does where it was made.
    later = SharedBans(db, clock=clock)
    assert await left_s(later) is None
    await strike_out(later)
    assert await left_s(later) == 2 * FIRST_BAN_S + 1
    assert await rows_of(db) == 1


@pytest.mark.postgres
async def test_a_ban_of_one_process_is_kept_by_another_from_its_next_look_on(
    postgres_url: str, clock: FakeClock
) -> None:
    async with AsyncExitStack() as open_ones:
        here, there = [await process(open_ones, postgres_url, clock) for _ in range(2)]
        assert await left_s(here) is None
        assert await left_s(there) is None
        await strike_out(here)
        clock.advance_ms(SYNC_MS)
        assert await left_s(here) == FIRST_BAN_S
        assert await left_s(there) == FIRST_BAN_S
        # Told again it is no longer one.
        clock.advance_ms(SYNC_MS)
        assert [await left_s(one) for one in (here, there)] == [FIRST_BAN_S - 1] * 2


async def test_however_many_are_banned_few_rows_are_written_a_second(sqlite_db: Database, clock: FakeClock) -> None:
    bans, seconds = SharedBans(sqlite_db, clock=clock), 3
    for second in range(seconds):
        for number in range(3 * MOST_A_WRITE):
            await strike_out(bans, f"{second}-{number}")
        clock.advance_ms(SYNC_MS)
        await bans.sync()
        assert await rows_of(sqlite_db) <= (second + 1) * (MOST_A_WRITE + 1)
    # Here they are all banned.
    assert all(
        bans.left_s(f"{second}-{number}") for second in range(seconds) for number in range(3 * MOST_A_WRITE)
    )  # fmt: skip


async def test_a_ban_is_not_overlooked_before_the_first_look(sqlite_db: Database, clock: FakeClock) -> None:
    """What answers without a look at the database asks this first."""
    bans = SharedBans(sqlite_db, clock=clock)
    known = [bans.is_known]
    await bans.sync()
    assert [*known, bans.is_known] == [False, True]


async def test_where_nothing_is_to_be_told_nothing_is_written_and_alone_nothing_is_read_again(
    sqlite_db: Database, clock: FakeClock
) -> None:
    bans = SharedBans(sqlite_db, clock=clock)
    await bans.sync()
    await sqlite_db.close()
    for _ in range(10):
        clock.advance_ms(10 * SYNC_MS)
        await bans.sync()
    for _ in range(STRIKES - 1):
        await bans.strike("a")


async def test_a_database_that_fails_refuses_nobody_and_is_told_later(
    sqlite_db: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bans = SharedBans(sqlite_db, clock=clock)
    await bans.sync()

    async def never(work: object) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_db, "run_aside", never)
        clock.advance_ms(SYNC_MS)
        await strike_out(bans)
        assert await left_s(bans, "b") is None
    assert await rows_of(sqlite_db) == 0
    clock.advance_ms(SYNC_MS)
    assert await left_s(bans) == FIRST_BAN_S
    assert await rows_of(sqlite_db) == 1


async def test_rows_go_when_they_are_forgiven(sqlite_db: Database, clock: FakeClock) -> None:
    bans = SharedBans(sqlite_db, clock=clock)
    await strike_out(bans, "old")
    clock.advance_ms((FIRST_BAN_S + FORGIVEN_AFTER_S + 1) * 1_000)
    await bans.sync()
    await strike_out(bans, "new")
    clock.advance_ms(SYNC_MS)
    await bans.sync()
    found = await sqlite_db.read(lambda c: c.execute(select(rate_bans.c.client)).scalars().all())
    assert found == ["new"]


async def test_no_row_bans_anybody_for_longer_than_the_longest_ban(sqlite_db: Database, clock: FakeClock) -> None:
    """Of a process whose clock is days ahead, or of an editor of the database."""

    def write(c: Connection) -> None:
        until_ms = clock.now_ms() + 10**9
        rows = [{"client": str(n), "until_ms": until_ms, "length_s": 10**9} for n in range(MOST_A_READ + 5)]
        c.execute(insert(rate_bans), rows)

    await sqlite_db.run(write)
    bans = SharedBans(sqlite_db, clock=clock)
    assert await left_s(bans, "0") == LONGEST_BAN_S + 1
    clock.advance_ms(LONGEST_BAN_S * 1_000)
    await strike_out(bans, "0")
    assert await left_s(bans, "0") == LONGEST_BAN_S + 1
