"""Two workers on one PostgreSQL, nodes that fail, and a database that breaks: who writes, and what ends what."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Connection, func, select

from chains.errors import RpcUnavailable
from chains.tx.leases import LeaseLost
from chains.types import Address, Header
from service.db import models as m
from service.db.engine import Database
from service.db.errors import CommitFailed
from service.markets.history import ingester as ingesting
from service.markets.history import writing
from service.markets.history.backfill import Filled
from service.markets.history.candles import DAY_S
from service.markets.history.ingester import history_lease
from service.markets.history.storage import head_of
from service.workers.membership import TTL_S, Membership
from tests.clock import FakeClock
from tests.service.markets.history.forkable import CONFIG, POLICY, TIME_S, Silent, TradingChain, clock_at, ingester
from tests.service.markets.history.rows import ETHEREUM
from tests.service.markets.history.test_ingester import finish, is_history_of

LEASE = history_lease(ETHEREUM)
QUICK = replace(CONFIG, block_time_ms=1_000)
"""Looked at four times a second: what runs in real time should not take long."""


async def nobody() -> Sequence[Address]:
    return ()


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[tuple[Database, Database]]:
    found = await Database.open(postgres_url), await Database.open(postgres_url)
    yield found
    for one in found:
        await one.close()


@pytest.mark.postgres
async def test_of_two_workers_one_writes_and_the_other_goes_on_when_it_is_gone(
    two: tuple[Database, Database],
) -> None:
    chain, clocks = TradingChain(300), (FakeClock(), FakeClock())
    members = [Membership(db, clock=clock, wallets=nobody) for db, clock in zip(two, clocks, strict=True)]
    ingesters = [ingester(db, chain, leases=member) for db, member in zip(two, members, strict=True)]
    for member in members:
        await member.turn()
    for member in members:
        await member.turn()
    did = [await one.step() for one in ingesters]
    assert sorted(did) == [False, True]
    first, second = (0, 1) if did[0] else (1, 0)
    await finish(ingesters[first])
    await is_history_of(two[first], chain)
    chain.mine(3)
    # The first one stands still for longer than it may; the other one takes it for dead and goes on.
    for _ in range(int(TTL_S) + 4):
        clocks[second].advance_ms(1_000)
        await members[second].turn()
    await finish(ingesters[second])
    await is_history_of(two[second], chain)
    chain.reorg(5, 6)
    with pytest.raises(LeaseLost):
        await ingesters[first]._follower.turn()
    with pytest.raises(LeaseLost):
        await ingesters[first]._uow.run(lambda c: c)
    await finish(ingesters[second])
    await is_history_of(two[second], chain)


class Unsteady(TradingChain):
    """A chain whose node is down, or leaves questions unanswered."""

    unanswered = 0
    """Of the next questions; each makes the ingester wait for twice as long as the one before."""
    down = False

    async def head(self) -> Header:
        self.unanswered, missed = max(0, self.unanswered - 1), self.unanswered > 0
        if self.down or missed:
            raise RpcUnavailable("no answer", endpoint="a", method="eth_getBlockByNumber")
        return await super().head()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await condition():  # noqa: ASYNC110 - it is a question to the database
            await asyncio.sleep(0.02)


async def test_a_node_that_fails_pauses_history_and_ends_nothing(sqlite_db: Database) -> None:
    chain, stop = Unsteady(120), asyncio.Event()
    one = ingester(sqlite_db, chain, config=QUICK)

    async def has_it_all() -> bool:
        head = await sqlite_db.read(lambda c: head_of(c, ETHEREUM))
        return head is not None and head.ref == chain.blocks[-1].ref

    chain.unanswered = 2
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        await until(has_it_all)
        chain.unanswered = 2
        chain.mine(2)
        await until(has_it_all)
        stop.set()
    assert not chain.unanswered


async def test_a_database_that_breaks_ends_the_loop(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(work: object) -> None:
        raise CommitFailed("nothing was written: the disk is full")

    one = ingester(sqlite_db, TradingChain(120))
    monkeypatch.setattr(sqlite_db, "run", broken)
    with pytest.raises(ExceptionGroup) as failed:
        await one.run(asyncio.Event())
    assert failed.group_contains(CommitFailed)


async def test_a_question_that_hangs_does_not_keep_the_process(sqlite_db: Database) -> None:
    chain, stop, asked = TradingChain(120), asyncio.Event(), asyncio.Event()

    async def hangs() -> Header:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    chain.head = hangs  # type: ignore[method-assign]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(ingester(sqlite_db, chain).run(stop))
        await asked.wait()
        stop.set()


async def test_the_loops_tell_that_they_live_and_what_is_missing(sqlite_db: Database) -> None:
    chain, stop = TradingChain(1_000), asyncio.Event()
    one = ingester(sqlite_db, chain, config=QUICK)
    watcher = one._watcher
    assert isinstance(watcher, Silent)

    async def done() -> bool:
        return any(isinstance(one, Filled) and one.missing_blocks == 0 for one in watcher.done)

    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        await until(done)
        stop.set()
    await is_history_of(sqlite_db, chain)


async def test_what_is_too_old_goes_while_history_runs(sqlite_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (writing, ingesting):
        monkeypatch.setattr(module, "PRUNED_AT_ONCE", 200)
    chain, stop = TradingChain(3_200, block_s=60), asyncio.Event()
    await finish(ingester(sqlite_db, chain, policy=replace(POLICY, backfill_ms=7 * DAY_S * 1000)))
    before = await is_history_of(sqlite_db, chain)
    policy = replace(POLICY, trades_kept_ms=DAY_S * 1000 + 1, minutes_kept_ms=DAY_S * 1000 + 1)
    one = ingester(sqlite_db, chain, policy=policy)
    clock = clock_at(chain)
    kept_from_s = (clock.now_ms() // 1000 - DAY_S - 1) // DAY_S * DAY_S
    assert before[0].time_ms < kept_from_s * 1000

    def oldest(c: Connection) -> tuple[int, ...]:
        times = (m.market_trades.c.time_ms, 1_000), (m.market_candles.c.start_s, 1)
        return tuple(c.execute(select(func.min(column))).scalar_one() // unit for column, unit in times)

    async def is_pruned() -> bool:
        minutes = select(func.min(m.market_candles.c.start_s)).where(m.market_candles.c.seconds == 60)
        first, _ = await sqlite_db.read(oldest)
        return first >= kept_from_s and await sqlite_db.read(lambda c: c.execute(minutes).scalar_one()) >= kept_from_s

    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        await until(is_pruned)
        stop.set()
    first, first_candle = await sqlite_db.read(oldest)
    assert first < kept_from_s + 600
    # Longer candles stay.
    assert first_candle == TIME_S


@pytest.mark.postgres
async def test_a_lease_that_another_worker_should_have_is_given_back(two: tuple[Database, Database]) -> None:
    chain, clock, stop = TradingChain(100), FakeClock(), asyncio.Event()
    first = Membership(two[0], clock=clock, wallets=nobody)
    await first.turn()
    await first.claim([LEASE])
    # Who should have it follows from random ids: workers come until it is another one.
    for _ in range(100):
        second = Membership(two[1], clock=clock, wallets=nobody)
        await second.turn()
        await first.turn()
        if LEASE in first.unwanted():
            break
        await second.leave()
    else:
        pytest.fail("the first worker should have it beside a hundred others")
    async with asyncio.TaskGroup() as group:
        group.create_task(ingester(two[0], chain, leases=first).run(stop))

        async def is_given() -> bool:
            return not first.holds(LEASE)

        await until(is_given)
        stop.set()
    await second.claim([LEASE])
    assert second.holds(LEASE)
