"""Candles out of trades, longer ones out of shorter ones, turned round, and filled up with flat ones. Pure.

    trades ─> 1m ─> 15m ─> 2h ─> 1d       kept (BASES), each made of the one before
    1s of trades; 3m and 5m of 1m; 30m and 1h of 15m; 4h to 12h of 2h       made when asked for

Guarantees: a candle made of shorter candles is the one made of their trades; prices stay exact, also when base and
quote change places. Intervals begin at whole multiples of their length since 1970, UTC.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from types import MappingProxyType
from typing import Final

from contracts.ratio import Ratio
from service.markets.history.model import Candle, Trade

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
INTERVALS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "1s": 1,
        "1m": MINUTE_S,
        "3m": 3 * MINUTE_S,
        "5m": 5 * MINUTE_S,
        "15m": 15 * MINUTE_S,
        "30m": 30 * MINUTE_S,
        "1h": HOUR_S,
        "2h": 2 * HOUR_S,
        "4h": 4 * HOUR_S,
        "6h": 6 * HOUR_S,
        "8h": 8 * HOUR_S,
        "12h": 12 * HOUR_S,
        "1d": DAY_S,
    }
)
"""Seconds by name."""
BASES: Final = (MINUTE_S, 15 * MINUTE_S, 2 * HOUR_S, DAY_S)
"""Lengths that are kept, each a multiple of the one before. A candle of any interval is made of at most six of them."""


def base_of(seconds: int) -> int | None:
    """The longest kept length that candles of this one are made of; None: they are made of trades."""
    return max((base for base in BASES if seconds % base == 0), default=None)


def aligned(time_s: int, seconds: int) -> int:
    """When the interval of this length began that the time is in."""
    return time_s - time_s % seconds


def of_trades(trades: Iterable[Trade], *, seconds: int) -> list[Candle]:
    """The candles of trades in the order of their ids."""
    return [
        _of(list(group), start_s=start_s, seconds=seconds)
        for start_s, group in groupby(trades, key=lambda trade: aligned(trade.time_ms // 1000, seconds))
    ]


def merged(candles: Iterable[Candle], *, seconds: int) -> list[Candle]:
    """Candles, oldest first, made into longer ones."""
    return [
        replace(summed(list(group)), start_s=start_s, seconds=seconds)
        for start_s, group in groupby(candles, key=lambda candle: aligned(candle.start_s, seconds))
    ]


def summed(candles: Sequence[Candle]) -> Candle:
    """All of them, oldest first, as one that begins with the first and ends with the last. Raises: ValueError: none."""
    if not candles:
        raise ValueError("of no candles there is no sum")
    first, last = candles[0], candles[-1]
    return Candle(
        start_s=first.start_s,
        seconds=last.end_s - first.start_s,
        first_id=first.first_id,
        last_id=last.last_id,
        open=first.open,
        high=highest(candle.high for candle in candles),
        low=lowest(candle.low for candle in candles),
        close=last.close,
        volume0=sum(candle.volume0 for candle in candles),
        volume1=sum(candle.volume1 for candle in candles),
        sold0=sum(candle.sold0 for candle in candles),
        sold1=sum(candle.sold1 for candle in candles),
        count=sum(candle.count for candle in candles),
    )


def inverted(candle: Candle) -> Candle:
    """The same with token0 and token1 in each other's place: the highest price of the one is the other's lowest."""
    return replace(
        candle,
        open=candle.open.inverse,
        high=candle.low.inverse,
        low=candle.high.inverse,
        close=candle.close.inverse,
        volume0=candle.volume1,
        volume1=candle.volume0,
        # What did not sell token0 sold token1.
        sold0=candle.volume1 - candle.sold1,
        sold1=candle.volume0 - candle.sold0,
    )


def flat(close: Ratio, *, start_s: int, seconds: int, last_id: int) -> Candle:
    """An interval in which nothing was traded, after a trade of this id at this price."""
    return Candle(
        start_s=start_s,
        seconds=seconds,
        first_id=last_id,
        last_id=last_id,
        open=close,
        high=close,
        low=close,
        close=close,
        volume0=0,
        volume1=0,
        sold0=0,
        sold1=0,
        count=0,
    )


def filled(candles: Iterable[Candle], *, seconds: int, start_s: int, end_s: int, before: Candle | None) -> list[Candle]:
    """One candle an interval from `start_s`, aligned, to before `end_s`; flat ones where nothing was traded, none
    before the first trade. `before` is the last candle that ended at or before `start_s`."""
    there = {candle.start_s: candle for candle in candles}
    found: list[Candle] = []
    last = before
    for at_s in range(start_s, end_s, seconds):
        candle = there.get(at_s)
        if candle is None and last is not None:
            candle = flat(last.close, start_s=at_s, seconds=seconds, last_id=last.last_id)
        if candle is not None:
            found.append(candle)
            last = candle
    return found


def highest(prices: Iterable[Ratio]) -> Ratio:
    """Raises: ValueError: there is none."""
    return _extreme(prices, is_better=lambda one, best: one.num * best.den > best.num * one.den)


def lowest(prices: Iterable[Ratio]) -> Ratio:
    """Raises: ValueError: there is none."""
    return _extreme(prices, is_better=lambda one, best: one.num * best.den < best.num * one.den)


def _extreme(prices: Iterable[Ratio], *, is_better: Callable[[Ratio, Ratio], bool]) -> Ratio:
    best: Ratio | None = None
    for one in prices:
        if best is None or is_better(one, best):
            best = one
    if best is None:
        raise ValueError("of no prices none is the extreme")
    return best


def _of(trades: Sequence[Trade], *, start_s: int, seconds: int) -> Candle:
    prices = [trade.price for trade in trades]
    sold = [trade for trade in trades if trade.zero_for_one]
    return Candle(
        start_s=start_s,
        seconds=seconds,
        first_id=trades[0].id,
        last_id=trades[-1].id,
        open=prices[0],
        high=highest(prices),
        low=lowest(prices),
        close=prices[-1],
        volume0=sum(trade.amount0 for trade in trades),
        volume1=sum(trade.amount1 for trade in trades),
        sold0=sum(trade.amount0 for trade in sold),
        sold1=sum(trade.amount1 for trade in sold),
        count=len(trades),
    )
