"""What is stored beside what it should be: first starts, reorgs, restarts, pauses, new pools, refusals, old days."""

import random
from dataclasses import replace

import pytest

from chains.errors import RpcError
from chains.tx.store import StaleState
from chains.types import address_from_bytes
from contracts.deployments import Venue
from contracts.pools import PoolKey
from contracts.trades import PoolTrade
from service.db.engine import Database
from service.markets.history import backfill, storage
from service.markets.history.candles import BASES, DAY_S, of_trades
from service.markets.history.following import LEAST_KEPT, LEAST_WINDOW, rows_of
from service.markets.history.ingester import Ingester
from service.markets.history.model import Trade
from service.markets.history.storage import gaps_of, head_of, pools_of
from service.markets.history.writing import candles_between, trades_between
from tests.service.markets.history.forkable import (
    CONFIG,
    KEYS,
    POLICY,
    TIME_S,
    TradingChain,
    clock_at,
    ingester,
)
from tests.service.markets.history.rows import DAI, ETHEREUM, USDC, WETH

FOR_EVER_S = TIME_S * 2


async def finish(one: Ingester, *, rounds: int = 400) -> None:
    """Until nothing is left to do."""
    for _ in range(rounds):
        if not await one.step():
            return
    pytest.fail("it never has nothing to do")


async def is_history_of(db: Database, chain: TradingChain, *, first: int = 0) -> list[Trade]:
    """The stored trades, once they and their candles were found to be exactly the chain's from a block on."""
    pools = await db.read(lambda c: pools_of(c, ETHEREUM))
    times_ms = {number: chain.time_s(number) * 1000 for number in range(len(chain.blocks))}
    expected = rows_of(chain.canonical(first=first), pools, times_ms=times_ms)
    found: list[Trade] = []
    for pair_id in {pool.pair_id for pool in pools}:
        trades = await db.read(lambda c, p=pair_id: trades_between(c, p, start_ms=0, end_ms=FOR_EVER_S * 1000))  # type: ignore[misc]
        for seconds in BASES:
            kept = await db.read(
                lambda c, p=pair_id, s=seconds: candles_between(c, p, seconds=s, start_s=0, end_s=FOR_EVER_S)  # type: ignore[misc]
            )
            assert kept == of_trades(trades, seconds=seconds), seconds
        found += trades
    found.sort(key=lambda trade: trade.id)
    assert found == expected
    head = await db.read(lambda c: head_of(c, ETHEREUM))
    assert head is not None
    assert head.ref == chain.blocks[-1].ref
    return found


async def test_a_first_start_reads_the_newest_blocks_at_once_and_the_rest_from_the_top(sqlite_db: Database) -> None:
    chain = TradingChain(2_000)
    one = ingester(sqlite_db, chain)
    await one.step()
    assert chain.ranges[0][1] == 1_999 - LEAST_WINDOW
    await finish(one)
    assert [upto for _, upto in chain.ranges] == sorted((upto for _, upto in chain.ranges), reverse=True)
    assert len(await is_history_of(sqlite_db, chain)) > 1_000
    assert await sqlite_db.read(lambda c: gaps_of(c, ETHEREUM)) == []


async def test_history_goes_back_as_far_as_it_is_told_and_says_what_is_missing(sqlite_db: Database) -> None:
    chain = TradingChain(2_000)
    await finish(ingester(sqlite_db, chain, policy=replace(POLICY, backfill_ms=3_600_000)))
    first = 1_999 - 300
    trades = await is_history_of(sqlite_db, chain, first=first)
    gaps = await sqlite_db.read(lambda c: gaps_of(c, ETHEREUM))
    assert {(gap.first, gap.last, gap.complete_from_ms) for gap in gaps} == {
        (0, first - 1, (TIME_S + 12 * first) * 1000)
    }
    assert len(gaps) == len(KEYS)
    assert trades[0].block_number >= first


async def test_random_reorgs_restarts_and_pauses_end_in_the_history_of_the_chain_that_is_left(db: Database) -> None:
    chance = random.Random(5)
    chain = TradingChain(500)
    one = ingester(db, chain)
    for turn in range(40):
        match chance.randrange(5):
            case 0:
                chain.mine(chance.randrange(1, 5))
            case 1:
                depth = chance.randrange(1, 9)
                chain.reorg(depth, depth + chance.randrange(1, 3))
            case 2:
                chain.mine(1)
                one = ingester(db, chain)
            case 3:
                chain.mine(LEAST_WINDOW + chance.randrange(1, 40))
            case _:
                chain.reorg(chance.randrange(1, 9), chance.randrange(9, 90))
        if turn % 2:
            await one.step()
    await finish(one)
    # A head that is lower than the one known is the same chain's, as far as can be told: one block more and it is seen.
    await is_history_of(db, chain)


async def test_a_reorg_while_old_blocks_are_being_read_leaves_none_of_its_trades(sqlite_db: Database) -> None:
    chain = TradingChain(300)
    chain.hidden = set(KEYS)
    one = ingester(sqlite_db, chain)
    await finish(one)
    # New pools: what was written before lacks them, up to the newest block.
    chain.hidden.clear()
    chain.mine(1)
    await one._follower.turn()
    original = chain.headers

    async def reorg_then_headers(numbers: list[int]) -> object:
        found = await original(numbers)
        chain.headers = original  # type: ignore[method-assign]
        chain.reorg(3, 4)
        await one._follower.turn()
        return found

    chain.headers = reorg_then_headers  # type: ignore[assignment, method-assign]
    with pytest.raises(StaleState):
        await one._backfill.turn()
    await finish(one)
    await is_history_of(sqlite_db, chain)


async def test_a_pause_longer_than_the_window_is_filled_in_and_not_complete_until_then(sqlite_db: Database) -> None:
    chain = TradingChain(200)
    one = ingester(sqlite_db, chain)
    await finish(one)
    chain.mine(400)
    await one._follower.turn()
    [gap, *_] = await sqlite_db.read(lambda c: gaps_of(c, ETHEREUM))
    assert (gap.first, gap.last) == (200, 599 - LEAST_WINDOW)
    assert gap.complete_from_ms == (TIME_S + 12 * (600 - LEAST_WINDOW)) * 1000
    await finish(one)
    await is_history_of(sqlite_db, chain)
    assert await sqlite_db.read(lambda c: gaps_of(c, ETHEREUM)) == []


async def test_a_pause_longer_than_the_horizon_leaves_a_hole_that_is_told(sqlite_db: Database) -> None:
    chain = TradingChain(200)
    policy = replace(POLICY, backfill_ms=100 * 12_000)
    await finish(ingester(sqlite_db, chain, policy=policy))
    chain.mine(1_000)
    await finish(ingester(sqlite_db, chain, policy=policy))
    gaps = await sqlite_db.read(lambda c: gaps_of(c, ETHEREUM))
    assert {(gap.first, gap.last) for gap in gaps} == {(0, 98), (200, 1_098)}


async def test_a_pool_that_is_new_gets_its_history_too(sqlite_db: Database) -> None:
    chain = TradingChain(300)
    one = ingester(sqlite_db, chain, policy=replace(POLICY, backfill_ms=10**9))
    await finish(one)
    key = PoolKey.of(Venue.UNISWAP_V3, (DAI, USDC), fee_pips=100)
    chain.known_pools[key] = address_from_bytes(b"\x04" * 20)
    chain.mine(20)
    await finish(one)
    assert await is_history_of(sqlite_db, chain)
    pair = await sqlite_db.read(lambda c: storage.pair_of(c, ETHEREUM, (USDC, DAI)))
    assert pair is not None


async def test_a_node_that_refuses_larger_ranges_gives_all_of_them_in_the_end(sqlite_db: Database) -> None:
    chain = TradingChain(1_000)
    chain.range_limit = 7
    await finish(ingester(sqlite_db, chain))
    await is_history_of(sqlite_db, chain)
    assert max(upto - first + 1 for first, upto in chain.ranges) <= 7


async def test_a_node_that_refuses_many_headers_is_asked_for_fewer_blocks(sqlite_db: Database) -> None:
    chain = TradingChain(600)
    one = ingester(sqlite_db, chain)
    await one._follower.turn()
    chain.most = 20
    refused = 0
    for _ in range(400):
        try:
            if not await one.step():
                break
        except RpcError:
            refused += 1
    assert refused > 0
    await is_history_of(sqlite_db, chain)


async def test_logs_whose_block_is_another_one_by_now_are_not_written(sqlite_db: Database) -> None:
    chain = TradingChain(300)
    one = ingester(sqlite_db, chain)
    await one._follower.turn()
    number = next(n for n in range(220, 100, -1) if chain.trades[chain.blocks[n].hash])
    block = chain.blocks[number]
    true = chain.trades[block.hash]
    other = replace(block.ref, hash=chain.blocks[0].hash)
    chain.trades[block.hash] = tuple(replace(trade, block=other) for trade in true)
    with pytest.raises(RpcError):
        await one._backfill.turn()
    chain.trades[block.hash] = true
    await finish(one)
    await is_history_of(sqlite_db, chain)


async def test_a_reorg_of_all_kept_blocks_begins_anew(sqlite_db: Database) -> None:
    chain = TradingChain(700)
    one = ingester(sqlite_db, chain)
    await finish(one)
    chain.mine(LEAST_KEPT)
    await finish(one)
    chain.reorg(LEAST_KEPT + 50, LEAST_KEPT + 60)
    assert await one._follower.turn() is None
    assert await sqlite_db.read(lambda c: head_of(c, ETHEREUM)) is None
    await finish(ingester(sqlite_db, chain))
    await is_history_of(sqlite_db, chain)


async def test_many_trades_of_a_range_are_written_in_parts(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "TRADES_AT_ONCE", 10)
    chain = TradingChain(400)
    await finish(ingester(sqlite_db, chain))
    await is_history_of(sqlite_db, chain)


async def test_days_whose_trades_are_not_kept_are_not_read_again_after_they_went(sqlite_db: Database) -> None:
    chain = TradingChain(4_000, block_s=60)
    clock = clock_at(chain)
    policy = replace(POLICY, trades_kept_ms=DAY_S * 1000 + 1, backfill_ms=100 * DAY_S * 1000)
    one = ingester(sqlite_db, chain, policy=policy, clock=clock)
    await finish(one)
    kept_from_s = (clock.now_ms() // 1000 - DAY_S - 1) // DAY_S * DAY_S
    first = (kept_from_s - TIME_S) // chain.block_s
    assert 0 < first < len(chain.blocks)
    found = await is_history_of(sqlite_db, chain, first=first)
    assert found[0].time_ms >= kept_from_s * 1000
    gaps = await sqlite_db.read(lambda c: gaps_of(c, ETHEREUM))
    assert {gap.first for gap in gaps} == {0}
    assert all(first <= gap.last + 1 <= first + 20 for gap in gaps)


async def test_a_trade_too_small_to_have_a_price_is_left_out(sqlite_db: Database) -> None:
    chain = TradingChain(30)
    block = chain.blocks[20]
    address = next(iter(KEYS.values()))
    dust = PoolTrade(
        pool=address,
        block=block.ref,
        log_index=60,
        tx_hash=chain.canonical()[0].tx_hash,
        zero_for_one=True,
        amount0=1,
        amount1=10**18,
    )
    before = chain.canonical()
    chain.trades[block.hash] += (dust,)
    await finish(ingester(sqlite_db, chain))
    assert len(await is_history_of(sqlite_db, chain)) == len(before)


def test_the_chain_of_these_tests_is_the_one_whose_rows_are_looked_at() -> None:
    assert CONFIG.chain_id == ETHEREUM
    assert WETH != USDC
