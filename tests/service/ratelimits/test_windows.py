"""Weights in windows: alone, and leased between processes."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from service.db.engine import Database
from service.db.models import rate_leases
from service.ratelimits.windows import CUT_OFF_SHARES, FREE_SHARES, MINUTE_MS, Sharing, Windows
from tests.clock import FakeClock

LIMIT = 1_200


def alone(db: Database, clock: FakeClock, *, max_clients: int = 10) -> Windows:
    return Windows("weight", length_ms=MINUTE_MS, clock=clock, db=db, sharing=None, max_clients=max_clients)


def shared(db: Database, clock: FakeClock) -> Windows:
    return Windows("weight", length_ms=MINUTE_MS, clock=clock, db=db, sharing=Sharing())


async def passed(windows: Windows, client: str = "a", cost: int = 1) -> bool:
    return (await windows.take(client, cost, limit=LIMIT)).passed


async def rows_of(db: Database) -> int:
    return await db.read(lambda c: c.execute(select(func.count()).select_from(rate_leases)).scalar_one())


@pytest.fixture
async def other(database_url: str, db: Database) -> AsyncIterator[Database]:
    """The same database for another process; SQLite has none, and stands for both."""
    if db.is_exclusive:
        yield db
        return
    found = await Database.open(database_url)
    yield found
    await found.close()


async def test_a_window_is_used_up_and_the_next_begins_anew(sqlite_db: Database, clock: FakeClock) -> None:
    windows = alone(sqlite_db, clock)
    clock.advance_ms(15_000)
    for used in range(0, LIMIT, 100):
        taken = await windows.take("a", 100, limit=LIMIT)
        assert (taken.limit, taken.used, taken.remaining) == (LIMIT, used + 100, LIMIT - used - 100)
    refused = await windows.take("a", 1, limit=LIMIT)
    assert (refused.passed, refused.retry_after_s, refused.reset_s, refused.used) == (False, 45, 45, LIMIT)
    assert await passed(windows, "b")
    clock.advance_ms(45_000)
    assert await passed(windows)


async def test_a_refusal_costs_nothing_and_what_is_given_back_is_there(sqlite_db: Database, clock: FakeClock) -> None:
    windows = alone(sqlite_db, clock)
    assert await passed(windows, cost=LIMIT - 5)
    assert not await passed(windows, cost=6)
    assert await passed(windows, cost=5)
    windows.give_back("a", 5, limit=LIMIT)
    assert await passed(windows, cost=5)
    assert not await passed(windows)


async def test_counting_alone_needs_no_database(sqlite_db: Database, clock: FakeClock) -> None:
    windows = alone(sqlite_db, clock)
    await sqlite_db.close()
    assert [await passed(windows) for _ in range(LIMIT + 1)] == [True] * LIMIT + [False]


async def test_the_clients_seen_longest_ago_are_forgotten_first(sqlite_db: Database, clock: FakeClock) -> None:
    windows = alone(sqlite_db, clock, max_clients=2)
    for client in ("a", "b", "a", "c"):
        assert await passed(windows, client, cost=LIMIT // 2)
    assert not await passed(windows, "a")
    assert await passed(windows, "b", cost=LIMIT)


async def test_two_processes_never_pass_more_than_the_limit_and_their_free_shares(
    db: Database, other: Database, clock: FakeClock
) -> None:
    here, there = shared(db, clock), shared(other, clock)
    rng, used = random.Random(1), 0
    for _ in range(400):
        cost = rng.choice([1, 2, 5, 20])
        used += cost * await passed(rng.choice([here, there]), cost=cost)
    assert used <= LIMIT + 2 * (LIMIT // FREE_SHARES)
    # Nor much less: what lapses is at most the last slices.
    assert used >= LIMIT * 3 // 4


async def test_racing_requests_of_two_processes_pass_no_more(db: Database, other: Database, clock: FakeClock) -> None:
    here, there = shared(db, clock), shared(other, clock)
    asked = [passed(one, cost=10) for one in (here, there) for _ in range(150)]
    used = 10 * sum(await asyncio.gather(*asked))
    assert LIMIT * 3 // 4 <= used <= LIMIT + 2 * (LIMIT // FREE_SHARES)


async def test_a_client_that_asks_little_costs_no_row(db: Database, clock: FakeClock) -> None:
    windows = shared(db, clock)
    for client in range(50):
        assert await passed(windows, f"client{client}", cost=LIMIT // FREE_SHARES)
    assert await rows_of(db) == 0


async def test_a_client_at_its_limit_costs_few_writes(db: Database, clock: FakeClock) -> None:
    windows, begun = shared(db, clock), db.changes.stamp()
    while await passed(windows):
        pass
    for _ in range(100):
        assert not await passed(windows)
    ended = db.changes.stamp()
    assert begun is not None
    assert ended is not None
    assert (ended - begun) // 2 < 40
    assert await rows_of(db) == 1


async def test_old_windows_are_deleted(db: Database, clock: FakeClock) -> None:
    for _ in range(5):
        windows = shared(db, clock)
        assert await passed(windows, cost=LIMIT // 2)
        clock.advance_ms(MINUTE_MS)
    assert await rows_of(db) <= 3


async def test_a_database_that_fails_leaves_a_share_and_no_more(sqlite_db: Database, clock: FakeClock) -> None:
    windows = shared(sqlite_db, clock)
    await sqlite_db.close()
    used = sum([await passed(windows) for _ in range(LIMIT)])
    assert used == LIMIT // CUT_OFF_SHARES


async def test_a_window_without_a_free_share_is_durable(db: Database, clock: FakeClock) -> None:
    def day() -> Windows:
        sharing = Sharing(slices=64, free_shares=None)
        return Windows("day", length_ms=86_400_000, clock=clock, db=db, sharing=sharing)

    used = 0
    for _ in range(200):
        # Each time a process that begins anew.
        used += await passed(day(), cost=10) * 10
    assert used <= LIMIT
