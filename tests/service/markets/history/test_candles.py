"""Candles beside a brute-force calculation with fractions, from random trades."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from chains.types import TxHash
from contracts.ratio import Ratio
from service.markets.history.candles import (
    BASES,
    DAY_S,
    INTERVALS,
    base_of,
    filled,
    inverted,
    merged,
    of_trades,
    summed,
)
from service.markets.history.model import LEAST_UNITS, Candle, Trade, trade_id

TX = TxHash("0x" + "11" * 32)
AMOUNTS = st.integers(min_value=LEAST_UNITS, max_value=2**128)


@st.composite
def trade_lists(draw: st.DrawFn) -> list[Trade]:
    """Trades in the chain's order: blocks of some seconds' distance, several trades in some."""
    time_s, trades = 1_767_225_600 + draw(st.integers(0, DAY_S)), []
    for number in range(1, draw(st.integers(1, 30))):
        time_s += draw(st.sampled_from([1, 2, 12, 59, 60, 61, 700, 3_600, 50_000]))
        for log_index in range(draw(st.integers(0, 3))):
            trade = Trade(
                id=trade_id(number, log_index),
                pair_id=1,
                pool_id=1,
                time_ms=time_s * 1000,
                tx_hash=TX,
                zero_for_one=draw(st.booleans()),
                amount0=draw(AMOUNTS),
                amount1=draw(AMOUNTS),
            )
            trades.append(trade)
    return trades


def fraction(price: Ratio) -> Fraction:
    return Fraction(price.num, price.den)


def brute(trades: Sequence[Trade], *, start_s: int, seconds: int) -> Candle | None:
    """The candle of one interval, straight from its definition."""
    own = [trade for trade in trades if start_s <= trade.time_ms // 1000 < start_s + seconds]
    if not own:
        return None
    prices = sorted((Fraction(trade.amount1, trade.amount0) for trade in own), key=lambda price: price)
    return Candle(
        start_s=start_s,
        seconds=seconds,
        first_id=own[0].id,
        last_id=own[-1].id,
        open=Ratio.of(own[0].amount1, own[0].amount0),
        high=Ratio(num=prices[-1].numerator, den=prices[-1].denominator),
        low=Ratio(num=prices[0].numerator, den=prices[0].denominator),
        close=Ratio.of(own[-1].amount1, own[-1].amount0),
        volume0=sum(trade.amount0 for trade in own),
        volume1=sum(trade.amount1 for trade in own),
        sold0=sum(trade.amount0 for trade in own if trade.zero_for_one),
        sold1=sum(trade.amount1 for trade in own if trade.zero_for_one),
        count=len(own),
    )


def all_brute(trades: Sequence[Trade], seconds: int) -> list[Candle]:
    starts = sorted({trade.time_ms // 1000 // seconds * seconds for trade in trades})
    return [candle for start in starts if (candle := brute(trades, start_s=start, seconds=seconds)) is not None]


@given(trades=trade_lists(), name=st.sampled_from(sorted(INTERVALS)))
def test_candles_of_trades_are_those_of_the_definition(trades: list[Trade], name: str) -> None:
    assert of_trades(trades, seconds=INTERVALS[name]) == all_brute(trades, INTERVALS[name])


@given(trades=trade_lists())
def test_candles_of_kept_candles_are_those_of_the_trades(trades: list[Trade]) -> None:
    kept = {BASES[0]: of_trades(trades, seconds=BASES[0])}
    for shorter, longer in pairwise(BASES):
        kept[longer] = merged(kept[shorter], seconds=longer)
    for seconds in INTERVALS.values():
        base = base_of(seconds)
        found = of_trades(trades, seconds=seconds) if base is None else merged(kept[base], seconds=seconds)
        assert found == all_brute(trades, seconds), seconds


@given(trades=trade_lists())
def test_a_market_of_the_other_direction_has_the_candles_of_trades_turned_round(trades: list[Trade]) -> None:
    turned = [
        replace(trade, amount0=trade.amount1, amount1=trade.amount0, zero_for_one=not trade.zero_for_one)
        for trade in trades
    ]
    assert [inverted(candle) for candle in of_trades(trades, seconds=60)] == of_trades(turned, seconds=60)


@given(trades=trade_lists(), skipped=st.integers(0, 5), more=st.integers(0, 20))
def test_flat_candles_fill_what_is_between_and_never_come_before_the_first_trade(
    trades: list[Trade], skipped: int, more: int
) -> None:
    seconds = 3_600
    candles = of_trades(trades, seconds=seconds)
    if not candles:
        assert filled([], seconds=seconds, start_s=0, end_s=seconds * more, before=None) == []
        return
    start_s, end_s = candles[0].start_s - seconds * skipped, candles[-1].end_s + seconds * more
    found = filled(candles, seconds=seconds, start_s=start_s, end_s=end_s, before=None)
    assert [candle.start_s for candle in found] == list(range(candles[0].start_s, end_s, seconds))
    assert [candle for candle in found if candle.count] == candles
    for before, candle in pairwise(found):
        if not candle.count:
            assert candle.open == candle.high == candle.low == candle.close == before.close
            assert (candle.volume0, candle.volume1, candle.sold0, candle.sold1) == (0, 0, 0, 0)


def test_with_a_candle_before_it_the_first_interval_is_filled_too() -> None:
    trade = Trade(id=7, pair_id=1, pool_id=1, time_ms=0, tx_hash=TX, zero_for_one=True, amount0=2_000, amount1=3_000)
    [before] = of_trades([trade], seconds=60)
    found = filled([], seconds=60, start_s=600, end_s=720, before=before)
    assert [(candle.start_s, fraction(candle.close), candle.last_id) for candle in found] == [
        (600, Fraction(3, 2), 7),
        (660, Fraction(3, 2), 7),
    ]


@given(trades=trade_lists())
def test_the_sum_of_all_candles_is_the_candle_of_all_trades(trades: list[Trade]) -> None:
    candles = of_trades(trades, seconds=60)
    if not candles:
        return
    whole = summed(candles)
    assert (whole.open, whole.close) == (trades[0].price, trades[-1].price)
    assert fraction(whole.high) == max(Fraction(trade.amount1, trade.amount0) for trade in trades)
    assert fraction(whole.low) == min(Fraction(trade.amount1, trade.amount0) for trade in trades)
    assert (whole.count, whole.volume0) == (len(trades), sum(trade.amount0 for trade in trades))


def test_every_interval_is_made_of_at_most_six_kept_candles_or_of_trades() -> None:
    for seconds in INTERVALS.values():
        base = base_of(seconds)
        assert (base is None) == (seconds == 1)
        if base is not None:
            assert seconds // base <= 6
