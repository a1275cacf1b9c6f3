"""Trades, kept candles and gaps on both databases, in any order of writing."""

import random

import pytest
from sqlalchemy import Connection

from chains.tx.store import StaleState
from chains.types import BlockHash, ChainId
from service.db.engine import Database
from service.markets.history import storage
from service.markets.history.candles import BASES, DAY_S, of_trades
from service.markets.history.model import MOST_UNITS, Candle, FollowedPool, HistoryHead, Trade
from service.markets.history.writing import (
    Touched,
    add_trades,
    candles_between,
    clear_some,
    prune_candles,
    prune_trades,
    rebuild,
    remove_from,
    trades_between,
)
from tests.service.markets.history.rows import ETHEREUM, OTHER_POOL, POOL, START_S, USDC, WETH, key, trade

FOR_EVER_S = START_S + 1_000 * DAY_S


@pytest.fixture
async def pool(db: Database) -> FollowedPool:
    return await db.run(lambda c: storage.follow(c, ETHEREUM, key(), POOL))


async def write(db: Database, *trades: Trade) -> None:
    def work(c: Connection) -> None:
        touched = Touched()
        add_trades(c, trades, touched)
        rebuild(c, touched)

    await db.run(work)


async def reorg(db: Database, first_block: int, *added: Trade) -> None:
    def work(c: Connection) -> None:
        touched = Touched()
        remove_from(c, ETHEREUM, first_block, touched)
        add_trades(c, added, touched)
        rebuild(c, touched)

    await db.run(work)


async def stored(db: Database, pool: FollowedPool) -> list[Trade]:
    return await db.read(lambda c: trades_between(c, pool.pair_id, start_ms=0, end_ms=FOR_EVER_S * 1000))


async def kept(db: Database, pool: FollowedPool, seconds: int) -> list[Candle]:
    return await db.read(lambda c: candles_between(c, pool.pair_id, seconds=seconds, start_s=0, end_s=FOR_EVER_S))


async def all_right(db: Database, pool: FollowedPool) -> list[Trade]:
    """The trades, once every kept candle was found to be theirs."""
    trades = await stored(db, pool)
    for seconds in BASES:
        assert await kept(db, pool, seconds) == of_trades(trades, seconds=seconds), seconds
    return trades


def random_trades(pool: FollowedPool, blocks: range, *, seed: int) -> list[Trade]:
    chance = random.Random(seed)
    return [
        trade(
            pool,
            block,
            log_index,
            amounts=(chance.randrange(10**9, 10**10), chance.randrange(10**18, 10**19)),
            zero_for_one=chance.random() < 0.5,
        )
        for block in blocks
        for log_index in sorted(chance.sample(range(100), chance.randrange(3)))
    ]


async def test_what_is_stored_comes_back_whole_and_in_the_chains_order(db: Database, pool: FollowedPool) -> None:
    large = trade(pool, 3, amounts=(MOST_UNITS - 1, 2**190), zero_for_one=False)
    await write(db, trade(pool, 5), large, trade(pool, 3, 7))
    assert await stored(db, pool) == [large, trade(pool, 3, 7), trade(pool, 5)]


async def test_a_trade_that_is_told_again_is_one_row(db: Database, pool: FollowedPool) -> None:
    await write(db, trade(pool, 5))
    await write(db, trade(pool, 5), trade(pool, 6))
    assert len(await all_right(db, pool)) == 2


async def test_candles_are_those_of_all_trades_whatever_the_order_of_writing(db: Database, pool: FollowedPool) -> None:
    trades = random_trades(pool, range(0, 20_000, 37), seed=1)
    parts = [trades[start : start + 40] for start in range(0, len(trades), 40)]
    random.Random(2).shuffle(parts)
    for part in parts:
        await write(db, *part)
    assert await all_right(db, pool) == trades


async def test_after_reorgs_everything_is_as_if_the_blocks_that_left_had_never_been(
    db: Database, pool: FollowedPool
) -> None:
    chance = random.Random(3)
    chain = random_trades(pool, range(900), seed=4)
    await write(db, *chain)
    for turn in range(12):
        first = 900 - chance.randrange(1, 9) * (50 if turn % 3 == 0 else 1)
        new = random_trades(pool, range(first, 900), seed=10 + turn)
        await reorg(db, first, *new)
        chain = [one for one in chain if one.block_number < first] + new
        assert await all_right(db, pool) == chain


async def test_a_reorg_to_blocks_without_trades_leaves_no_candle_of_them(db: Database, pool: FollowedPool) -> None:
    await write(db, trade(pool, 4))
    await reorg(db, 4)
    assert await all_right(db, pool) == []


async def test_a_reorg_of_one_chain_leaves_the_others_trades(db: Database, pool: FollowedPool) -> None:
    other = await db.run(lambda c: storage.follow(c, ChainId(137), key(), OTHER_POOL))
    await write(db, trade(pool, 4), trade(other, 4))
    await reorg(db, 4)
    assert await stored(db, pool) == []
    assert len(await all_right(db, other)) == 1


async def test_old_trades_go_in_whole_days_and_leave_the_longer_candles(db: Database, pool: FollowedPool) -> None:
    old, new = trade(pool, 1), trade(pool, 2, time_s=START_S + DAY_S)
    await write(db, old, new)
    before = {seconds: await kept(db, pool, seconds) for seconds in BASES}
    in_the_second_day_ms = (START_S + DAY_S + 3_600) * 1000
    assert await db.run(lambda c: prune_trades(c, pool.pair_id, before_ms=in_the_second_day_ms)) == 1
    assert await db.run(lambda c: prune_trades(c, pool.pair_id, before_ms=in_the_second_day_ms)) == 0
    assert await db.run(lambda c: prune_candles(c, pool.pair_id, seconds=60, before_ms=in_the_second_day_ms)) == 1
    assert await stored(db, pool) == [new]
    assert await kept(db, pool, 60) == before[60][1:]
    assert await kept(db, pool, 900) == before[900]
    # What comes to the second day still gives its whole candles.
    await write(db, trade(pool, 3, time_s=START_S + DAY_S + 60))
    assert [candle.count for candle in await kept(db, pool, DAY_S)] == [1, 2]


async def test_pools_of_the_same_tokens_share_a_pair_in_either_order_of_tokens(
    db: Database, pool: FollowedPool
) -> None:
    second = await db.run(lambda c: storage.follow(c, ETHEREUM, key(3_000), OTHER_POOL))
    assert second.pair_id == pool.pair_id
    for tokens in ((WETH, USDC), (USDC, WETH)):
        found = await db.read(lambda c, tokens=tokens: storage.pair_of(c, ETHEREUM, tokens))  # type: ignore[misc]
        assert found is not None
        assert (found.id, found.token0, found.token1) == (pool.pair_id, USDC, WETH)
    assert await db.read(lambda c: storage.pools_of(c, ETHEREUM)) == [pool, second]


async def test_a_gap_is_worked_off_from_its_top_and_says_from_when_on_history_is_complete(
    db: Database, pool: FollowedPool
) -> None:
    await db.run(lambda c: storage.add_gaps(c, [pool.id], first=10, last=99, complete_from_ms=100_000))
    assert await db.read(lambda c: storage.complete_from_ms(c, pool.pair_id)) == 100_000
    [gap] = await db.read(lambda c: storage.gaps_of(c, ETHEREUM))
    await db.run(lambda c: storage.narrow(c, gap, first_written=50, complete_from_ms=50_000))
    [narrower] = await db.read(lambda c: storage.gaps_of(c, ETHEREUM))
    assert (narrower.first, narrower.last, narrower.complete_from_ms) == (10, 49, 50_000)
    with pytest.raises(StaleState):
        await db.run(lambda c: storage.narrow(c, gap, first_written=40, complete_from_ms=40_000))
    await db.run(lambda c: storage.narrow(c, narrower, first_written=10, complete_from_ms=10_000))
    assert await db.read(lambda c: storage.gaps_of(c, ETHEREUM)) == []
    assert await db.read(lambda c: storage.complete_from_ms(c, pool.pair_id)) is None


async def test_missing_blocks_are_counted_once_and_from_the_lowest_that_is_wanted(
    db: Database, pool: FollowedPool
) -> None:
    second = await db.run(lambda c: storage.follow(c, ETHEREUM, key(3_000), OTHER_POOL))
    await db.run(lambda c: storage.add_gaps(c, [pool.id, second.id], first=0, last=99, complete_from_ms=1))
    gaps = await db.read(lambda c: storage.gaps_of(c, ETHEREUM))
    assert storage.missing_blocks(gaps, lowest=90) == 10
    assert storage.missing_blocks(gaps, lowest=100) == 0
    assert storage.missing_blocks([], lowest=0) == 0


async def test_a_chains_history_is_cleared_in_steps_until_nothing_is_left(db: Database, pool: FollowedPool) -> None:
    await write(db, *random_trades(pool, range(900), seed=5))
    head = HistoryHead(chain_id=ETHEREUM, number=899, hash=BlockHash("0x" + "09" * 32), time_ms=1)
    await db.run(lambda c: storage.set_head(c, head))
    await db.run(lambda c: storage.add_gaps(c, [pool.id], first=0, last=9, complete_from_ms=1))
    assert await db.read(lambda c: storage.head_of(c, ETHEREUM)) == head
    await db.run(lambda c: storage.forget_head(c, ETHEREUM))
    for _ in range(50):
        if not await db.run(lambda c: clear_some(c, ETHEREUM)):
            break
    else:
        pytest.fail("it never ends")
    assert await db.read(lambda c: storage.head_of(c, ETHEREUM)) is None
    assert await db.read(lambda c: storage.pools_of(c, ETHEREUM)) == []
    assert await db.read(lambda c: storage.gaps_of(c, ETHEREUM)) == []
    assert await stored(db, pool) == []
