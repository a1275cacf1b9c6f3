"""What markets are told of their pair's history, beside the same calculated straight from the trades."""

import random
from collections.abc import Sequence
from fractions import Fraction

import pytest
from sqlalchemy import Connection

from chains.types import BlockHash
from contracts.assets import Market
from contracts.deployments import Venue
from contracts.pools import PoolKey
from service.db.engine import Database
from service.markets.history import storage
from service.markets.history.candles import DAY_S, INTERVALS
from service.markets.history.documents import candle_document, day_document, trade_document
from service.markets.history.model import Candle, FollowedPool, HistoryHead, Trade
from service.markets.history.reading import (
    CandlesWanted,
    Day,
    MarketTrade,
    TradesWanted,
    read_candles,
    read_day,
    read_trades,
)
from service.markets.history.schemas import CandleOut, DayOut, IntervalName, TradeOut
from service.markets.history.writing import Touched, add_trades, prune_candles, prune_trades, rebuild
from tests.service.markets.history.rows import ASSETS, DAI, ETHEREUM, OTHER_POOL, POOL, START_S, USDC, WETH, key, trade

TURNED = ASSETS.markets["WETHUSDC"]
"""Its base is token1."""
NATIVE = ASSETS.markets["ETHUSDC"]
STRAIGHT = ASSETS.markets["DAIUSDC"]
"""Its base is token0."""


@pytest.fixture
async def pools(db: Database) -> tuple[FollowedPool, FollowedPool]:
    other = PoolKey.of(Venue.UNISWAP_V3, (DAI, USDC), fee_pips=100)

    def work(c: Connection) -> tuple[FollowedPool, FollowedPool]:
        return storage.follow(c, ETHEREUM, key(), POOL), storage.follow(c, ETHEREUM, other, OTHER_POOL)

    return await db.run(work)


async def write(db: Database, trades: Sequence[Trade], *, head_s: int | None = None) -> None:
    head_ms = max(trade.time_ms for trade in trades) if head_s is None else head_s * 1000
    head = HistoryHead(chain_id=ETHEREUM, number=10**6, hash=BlockHash("0x" + "09" * 32), time_ms=head_ms)

    def work(c: Connection) -> None:
        touched = Touched()
        add_trades(c, trades, touched)
        rebuild(c, touched)
        storage.set_head(c, head)

    await db.run(work)


def random_trades(pool: FollowedPool, *, seed: int, count: int = 300, longest_s: int = 3_000) -> list[Trade]:
    chance, time_s, found = random.Random(seed), START_S + 100, []
    for block in range(count):
        time_s += chance.choice([1, 2, 12, 60, chance.randrange(longest_s)])
        found.append(
            trade(
                pool,
                block,
                amounts=(chance.randrange(10**6, 10**8), chance.randrange(10**6, 10**8)),
                zero_for_one=chance.random() < 0.5,
                time_s=time_s,
            )
        )
    return found


def brute(
    trades: Sequence[Trade], *, turned: bool, seconds: int, from_s: int, until_s: int
) -> list[tuple[object, ...]]:
    """Candles of a market as open time, four prices, four volumes and a count, flat ones included."""
    found: list[tuple[object, ...]] = []
    for start_s in range(from_s // seconds * seconds, until_s, seconds):
        rows = [one for one in trades if start_s <= one.time_ms // 1000 < start_s + seconds]
        sides = [(one.amount1, one.amount0) if turned else (one.amount0, one.amount1) for one in rows]
        bought = [side for side, one in zip(sides, rows, strict=True) if one.zero_for_one is turned]
        before = [one for one in trades if one.time_ms // 1000 < start_s]
        if rows:
            prices = [Fraction(quote, base) for base, quote in sides]
            ends = (prices[0], max(prices), min(prices), prices[-1])
        elif before:
            last = before[-1]
            ends = (Fraction(last.amount0, last.amount1) if turned else Fraction(last.amount1, last.amount0),) * 4
        else:
            continue
        volumes = (
            sum(b for b, _ in sides),
            sum(q for _, q in sides),
            sum(b for b, _ in bought),
            sum(q for _, q in bought),
        )
        found.append((start_s, *ends, *volumes, len(rows)))
    return found


def told(candles: Sequence[Candle]) -> list[tuple[object, ...]]:
    return [
        (
            one.start_s,
            *(Fraction(price.num, price.den) for price in (one.open, one.high, one.low, one.close)),
            one.volume0,
            one.volume1,
            one.volume0 - one.sold0,
            one.volume1 - one.sold1,
            one.count,
        )
        for one in candles
    ]


async def candles_of(
    db: Database,
    market: Market,
    name: str,
    *,
    now_s: int,
    limit: int = 1_000,
    start_s: int | None = None,
    end_s: int | None = None,
) -> Sequence[Candle]:
    wanted = CandlesWanted(
        seconds=INTERVALS[name],
        limit=limit,
        start_ms=None if start_s is None else start_s * 1000,
        end_ms=None if end_s is None else end_s * 1000,
    )
    page = await db.read(lambda c: read_candles(c, ASSETS, market, wanted, now_ms=now_s * 1000))
    return page.candles


async def day_of(db: Database, market: Market, *, now_s: int) -> Day:
    return await db.read(lambda c: read_day(c, ASSETS, market, now_ms=now_s * 1000))


async def trades_of(db: Database, market: Market, wanted: TradesWanted) -> Sequence[MarketTrade]:
    return (await db.read(lambda c: read_trades(c, ASSETS, market, wanted))).trades


@pytest.mark.parametrize("market", [TURNED, STRAIGHT])
async def test_candles_of_every_interval_are_those_of_the_trades_in_both_directions(
    db: Database, pools: tuple[FollowedPool, FollowedPool], market: Market
) -> None:
    turned = market is TURNED
    trades = random_trades(pools[0] if turned else pools[1], seed=3)
    await write(db, trades)
    now_s = trades[-1].time_ms // 1000 + 500
    first_s = trades[0].time_ms // 1000
    for name, seconds in INTERVALS.items():

        def expected(from_s: int, until_s: int, seconds: int = seconds) -> list[tuple[object, ...]]:
            """The thousand candles, or fewer, from one time to another."""
            first = max(from_s, first_s) // seconds * seconds
            return brute(trades, turned=turned, seconds=seconds, from_s=first, until_s=min(until_s, now_s + 1))

        newest_s = (now_s // seconds - 999) * seconds
        assert told(await candles_of(db, market, name, now_s=now_s)) == expected(newest_s, now_s + 1), name
        oldest = expected(0, first_s // seconds * seconds + 1_000 * seconds)
        assert told(await candles_of(db, market, name, now_s=now_s, start_s=0)) == oldest, name
        start_s = trades[100].time_ms // 1000
        part = await candles_of(db, market, name, now_s=now_s, start_s=start_s, limit=7)
        assert told(part) == expected(start_s, start_s // seconds * seconds + 7 * seconds), name
        end_s = trades[200].time_ms // 1000
        ended = await candles_of(db, market, name, now_s=now_s, end_s=end_s, limit=5)
        assert told(ended) == expected((end_s // seconds - 4) * seconds, end_s + 1), name


async def test_the_native_markets_candles_are_the_wrapped_ones(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    trades = random_trades(pools[0], seed=4, count=30)
    await write(db, trades)
    now_s = trades[-1].time_ms // 1000
    wrapped = await candles_of(db, TURNED, "5m", now_s=now_s)
    assert wrapped
    assert await candles_of(db, NATIVE, "5m", now_s=now_s) == wrapped


async def test_no_candle_begins_after_now_or_before_the_first_trade(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    first_s = START_S + 90
    await write(db, [trade(pools[0], 1, time_s=first_s)])
    found = await candles_of(db, TURNED, "1m", now_s=first_s + 120)
    assert [one.start_s for one in found] == [START_S + 60, START_S + 120, START_S + 180]
    later = await candles_of(db, TURNED, "1m", now_s=first_s + 120, start_s=first_s + 10_000)
    assert not later
    assert not await candles_of(db, STRAIGHT, "1m", now_s=first_s)


async def test_candles_of_pruned_days_are_left_out_and_not_shown_as_flat(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    early, late = START_S + 100, START_S + DAY_S + 5_000
    trades = [trade(pools[0], 1, time_s=early), trade(pools[0], 2, amounts=(10**9, 10**18), time_s=late)]
    await write(db, trades)
    cut_ms = (START_S + DAY_S) * 1000
    await db.run(lambda c: prune_trades(c, pools[0].pair_id, before_ms=cut_ms))
    await db.run(lambda c: prune_candles(c, pools[0].pair_id, seconds=60, before_ms=cut_ms))
    for name in ("1s", "1m"):
        found = await candles_of(db, TURNED, name, now_s=late, start_s=0, limit=3)
        # Flat from the first day on that is kept, at the price of the day before.
        assert [one.start_s for one in found] == [START_S + DAY_S + i * INTERVALS[name] for i in range(3)]
        assert {(one.close, one.count) for one in found} == {(trades[0].price.inverse, 0)}
    assert (await candles_of(db, TURNED, "15m", now_s=late, start_s=0))[0].start_s == START_S
    await db.run(lambda c: prune_candles(c, pools[0].pair_id, seconds=60, before_ms=cut_ms + DAY_S * 1000))
    found = await candles_of(db, TURNED, "1m", now_s=START_S + 2 * DAY_S + 100, start_s=0)
    assert [one.start_s for one in found] == [START_S + 2 * DAY_S, START_S + 2 * DAY_S + 60]
    assert found[0].close == trades[1].price.inverse


@pytest.mark.parametrize("market", [TURNED, STRAIGHT])
async def test_the_last_24_hours_are_those_of_the_trades_to_the_second(
    db: Database, pools: tuple[FollowedPool, FollowedPool], market: Market
) -> None:
    turned = market is TURNED
    trades = random_trades(pools[0] if turned else pools[1], seed=6)
    await write(db, trades)
    chance = random.Random(7)
    nows = [chance.randrange(START_S, trades[-1].time_ms // 1000 + 2 * DAY_S) for _ in range(40)]
    for now_s in [*nows, trades[50].time_ms // 1000 + DAY_S, trades[-1].time_ms // 1000]:
        # The chain does not go beyond now.
        known = [one for one in trades if one.time_ms // 1000 <= max(now_s, trades[-1].time_ms // 1000)]
        own = [one for one in known if one.time_ms // 1000 >= now_s - DAY_S]
        found = await day_of(db, market, now_s=now_s)
        if not own:
            assert found.trades is None
            assert found.last is not None
            continue
        sides = [(one.amount1, one.amount0) if turned else (one.amount0, one.amount1) for one in own]
        prices = [Fraction(quote, base) for base, quote in sides]
        assert found.trades is not None
        [row] = told([found.trades])
        assert row[1:7] == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            sum(base for base, _ in sides),
            sum(quote for _, quote in sides),
        )
        assert row[-1] == len(own)


async def test_trades_are_told_from_an_id_from_a_time_or_the_newest(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    trades = random_trades(pools[0], seed=8, count=60)
    await write(db, trades)
    ids = [one.id for one in trades]

    async def found(wanted: TradesWanted) -> list[int]:
        return [one.id for one in await trades_of(db, TURNED, wanted)]

    assert await found(TradesWanted(limit=5)) == ids[-5:]
    assert await found(TradesWanted(limit=1_000)) == ids
    assert await found(TradesWanted(limit=5, from_id=ids[10])) == ids[10:15]
    assert await found(TradesWanted(limit=5, from_id=ids[10] + 1)) == ids[11:16]
    assert await found(TradesWanted(limit=5, start_ms=trades[10].time_ms)) == ids[10:15]
    assert await found(TradesWanted(limit=5, end_ms=trades[10].time_ms)) == ids[6:11]
    between = TradesWanted(limit=50, start_ms=trades[10].time_ms, end_ms=trades[12].time_ms)
    assert await found(between) == ids[10:13]
    assert await found(TradesWanted(limit=50, from_id=ids[10], end_ms=trades[12].time_ms)) == ids[10:13]


async def test_a_taker_who_puts_base_into_the_pool_has_sold(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    weth_usdc = trade(pools[0], 1, amounts=(3_000 * 10**6, 10**18), zero_for_one=True)
    dai_usdc = trade(pools[1], 1, 1, amounts=(5 * 10**18, 4 * 10**6), zero_for_one=True)
    await write(db, [weth_usdc, dai_usdc])
    by_id = {pool.id: pool for pool in pools}
    [bought] = await trades_of(db, TURNED, TradesWanted(limit=9))
    shown = TradeOut.model_validate(trade_document(TURNED, bought, pools=by_id))
    assert (shown.price, shown.base, shown.quote, shown.is_buyer_maker) == ("3000", "1", "3000", False)
    [sold] = await trades_of(db, STRAIGHT, TradesWanted(limit=9))
    shown = TradeOut.model_validate(trade_document(STRAIGHT, sold, pools=by_id))
    assert (shown.price, shown.base, shown.quote, shown.is_buyer_maker) == ("0.8", "5", "4", True)


async def test_a_candle_is_closed_once_the_written_block_is_later(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    await write(db, [trade(pools[0], 1, time_s=START_S + 30)], head_s=START_S + 65)
    found = await candles_of(db, TURNED, "1m", now_s=START_S + 130)
    head = await db.read(lambda c: storage.head_of(c, ETHEREUM))
    assert head is not None
    shown = [CandleOut.model_validate(candle_document(TURNED, one, head=head)) for one in found]
    assert [one.is_closed for one in shown] == [True, False, False]
    assert (shown[0].open_ms, shown[0].close_ms) == (START_S * 1000, START_S * 1000 + 59_999)
    assert (shown[0].open, shown[0].base_volume, shown[0].taker_buy_base) == ("3000", "1", "1")
    assert (shown[1].close, shown[1].base_volume, shown[1].trades) == ("3000", "0", 0)


async def test_the_day_of_a_market_is_told_with_its_change(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    first = trade(pools[0], 1, amounts=(3_000 * 10**6, 10**18))
    last = trade(pools[0], 2, amounts=(2_970 * 10**6, 10**18))
    await write(db, [first, last])
    now_ms = last.time_ms + 1_000
    day = await day_of(db, NATIVE, now_s=now_ms // 1000)
    shown = DayOut.model_validate(day_document(NATIVE, day, now_ms=now_ms))
    assert (shown.open, shown.high, shown.low, shown.last) == ("3000", "3000", "2970", "2970")
    assert (shown.change, shown.change_bps, shown.trades) == ("-30", -100, 2)
    assert (shown.base_volume, shown.quote_volume) == ("2", "5970")
    assert shown.block.age_ms == 1_000
    quiet = await day_of(db, NATIVE, now_s=now_ms // 1000 + 3 * DAY_S)
    empty = DayOut.model_validate(day_document(NATIVE, quiet, now_ms=now_ms + 3 * DAY_S * 1000))
    assert (empty.open, empty.last, empty.base_volume, empty.trades) == (None, "2970", "0", 0)
    never = await day_of(db, STRAIGHT, now_s=now_ms // 1000)
    assert DayOut.model_validate(day_document(STRAIGHT, never, now_ms=now_ms)).last is None


async def test_each_answer_says_since_when_nothing_is_missing(
    db: Database, pools: tuple[FollowedPool, FollowedPool]
) -> None:
    await write(db, [trade(pools[0], 1)])
    page = await db.read(lambda c: read_trades(c, ASSETS, TURNED, TradesWanted(limit=1)))
    assert page.extent.complete_from_ms is None
    await db.run(lambda c: storage.add_gaps(c, [pools[0].id], first=0, last=5, complete_from_ms=77))
    page = await db.read(lambda c: read_trades(c, ASSETS, TURNED, TradesWanted(limit=1)))
    assert page.extent.complete_from_ms == 77
    other = await db.read(lambda c: read_trades(c, ASSETS, STRAIGHT, TradesWanted(limit=1)))
    assert other.extent.complete_from_ms is None
    # No pool of it was found: what there was is not known.
    unknown = await db.read(lambda c: read_trades(c, ASSETS, ASSETS.markets["WBTCUSDT"], TradesWanted(limit=1)))
    assert unknown.extent.head is not None
    assert unknown.extent.complete_from_ms == unknown.extent.head.time_ms


async def test_what_was_pruned_is_not_called_complete(db: Database, pools: tuple[FollowedPool, FollowedPool]) -> None:
    first_kept_s = START_S + DAY_S
    await write(db, [trade(pools[0], 1), trade(pools[0], 2, time_s=first_kept_s + 100)])

    async def complete_from(seconds: int) -> int | None:
        wanted = CandlesWanted(seconds=seconds, limit=1)
        page = await db.read(lambda c: read_candles(c, ASSETS, TURNED, wanted, now_ms=first_kept_s * 1000))
        return page.extent.complete_from_ms

    assert (await complete_from(1), await complete_from(60), await complete_from(DAY_S)) == (None, None, None)
    await db.run(lambda c: prune_trades(c, pools[0].pair_id, before_ms=first_kept_s * 1000))
    page = await db.read(lambda c: read_trades(c, ASSETS, TURNED, TradesWanted(limit=1)))
    assert page.extent.complete_from_ms == first_kept_s * 1000
    assert (await complete_from(1), await complete_from(60)) == (first_kept_s * 1000, None)
    later_ms = (first_kept_s + 50) * 1000
    await db.run(lambda c: storage.add_gaps(c, [pools[0].id], first=0, last=1, complete_from_ms=later_ms))
    assert (await complete_from(1), await complete_from(60)) == (later_ms, later_ms)


def test_the_intervals_of_the_api_are_those_there_are() -> None:
    assert set(IntervalName.__args__) == set(INTERVALS)  # type: ignore[attr-defined]
    assert WETH != DAI
