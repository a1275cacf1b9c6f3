"""Trades and the candles that are kept of them, written together.

Every change of trades names the time it touched, and the candles there are made anew from what is stored: the new end
of the chain, a reorg and old history take one and the same path, in any order, and two writers beside each other too,
since a unit of work sees all trades that another one committed.

Guarantees: after `rebuild` over what was touched, each kept candle is the one of the stored trades; a trade is one row,
however often it is told; a step of pruning is bounded, and takes no trade of which a candle could be made again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from chains.types import ChainId, TxHash
from service.db import models as m
from service.markets.history.candles import BASES, aligned, merged, of_trades
from service.markets.history.model import Candle, Trade, first_id_of

PRUNED_AT_ONCE: Final = 2_000
"""Rows taken away in one unit of work: some 20 ms of the only writer that SQLite has."""

_TRADES: Final = m.market_trades
_CANDLES: Final = m.market_candles
_PAIRS: Final = m.market_pairs


@dataclass(slots=True)
class Touched:
    """The time in which trades of each pair came or went, seconds, both ends included."""

    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, pair_id: int, time_s: int) -> None:
        first, last = self.spans.get(pair_id, (time_s, time_s))
        self.spans[pair_id] = (min(first, time_s), max(last, time_s))


def add_trades(c: Connection, trades: Sequence[Trade], touched: Touched) -> None:
    """Store those that are not there yet."""
    if not trades:
        return
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    rows = [
        {
            "pair_id": trade.pair_id,
            "id": trade.id,
            "pool_id": trade.pool_id,
            "time_ms": trade.time_ms,
            "tx_hash": trade.tx_hash,
            "zero_for_one": trade.zero_for_one,
            "amount0": trade.amount0,
            "amount1": trade.amount1,
        }
        for trade in trades
    ]
    c.execute(dialect.insert(_TRADES).on_conflict_do_nothing(), rows)
    for trade in trades:
        touched.add(trade.pair_id, trade.time_ms // 1000)


def remove_from(c: Connection, chain_id: ChainId, block_number: int, touched: Touched) -> int:
    """Take away the trades of this block and of all after it; how many."""
    mine = select(_PAIRS.c.id).where(_PAIRS.c.chain_id == chain_id)
    gone = _TRADES.c.pair_id.in_(mine) & (_TRADES.c.id >= first_id_of(block_number))
    time = _TRADES.c.time_ms
    for row in c.execute(select(_TRADES.c.pair_id, func.min(time), func.max(time)).where(gone).group_by("pair_id")):
        touched.add(row[0], row[1] // 1000)
        touched.add(row[0], row[2] // 1000)
    return c.execute(delete(_TRADES).where(gone)).rowcount if touched.spans else 0


def rebuild(c: Connection, touched: Touched) -> None:
    """Make the candles of the touched time anew, each length of the one before."""
    for pair_id, (first_s, last_s) in touched.spans.items():
        shortest = BASES[0]
        start_s, end_s = aligned(first_s, shortest), aligned(last_s, shortest) + shortest
        trades = trades_between(c, pair_id, start_ms=start_s * 1000, end_ms=end_s * 1000)
        _replace(c, pair_id, of_trades(trades, seconds=shortest), seconds=shortest, start_s=start_s, end_s=end_s)
        for shorter, longer in pairwise(BASES):
            start_s, end_s = aligned(first_s, longer), aligned(last_s, longer) + longer
            made = merged(candles_between(c, pair_id, seconds=shorter, start_s=start_s, end_s=end_s), seconds=longer)
            _replace(c, pair_id, made, seconds=longer, start_s=start_s, end_s=end_s)


def trades_between(c: Connection, pair_id: int, *, start_ms: int, end_ms: int, most: int | None = None) -> list[Trade]:
    """The trades from `start_ms` to before `end_ms`, oldest first; the oldest `most`."""
    found = (
        select(_TRADES)
        .where(_TRADES.c.pair_id == pair_id, _TRADES.c.time_ms >= start_ms, _TRADES.c.time_ms < end_ms)
        .order_by(_TRADES.c.time_ms, _TRADES.c.id)
        .limit(most)
    )
    return [trade_of(row) for row in c.execute(found)]


def candles_between(c: Connection, pair_id: int, *, seconds: int, start_s: int, end_s: int) -> list[Candle]:
    """The kept candles of this length that begin from `start_s` to before `end_s`, oldest first."""
    found = (
        select(_CANDLES)
        .where(_of(pair_id, seconds), _CANDLES.c.start_s >= start_s, _CANDLES.c.start_s < end_s)
        .order_by(_CANDLES.c.start_s)
    )
    return [candle_of(row) for row in c.execute(found)]


def trade_of(row: Row[Any]) -> Trade:
    return Trade(
        id=row.id,
        pair_id=row.pair_id,
        pool_id=row.pool_id,
        time_ms=row.time_ms,
        tx_hash=TxHash(row.tx_hash),
        zero_for_one=row.zero_for_one,
        amount0=row.amount0,
        amount1=row.amount1,
    )


def candle_of(row: Row[Any]) -> Candle:
    return Candle(
        start_s=row.start_s,
        seconds=row.seconds,
        first_id=row.first_id,
        last_id=row.last_id,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume0=row.volume0,
        volume1=row.volume1,
        sold0=row.sold0,
        sold1=row.sold1,
        count=row.trades,
    )


def prune_trades(c: Connection, pair_id: int, *, before_ms: int) -> int:
    """Take away some of the oldest trades before a time, whole days only; how many: 0 when none is left."""
    limit_ms = aligned(before_ms // 1000, BASES[-1]) * 1000
    oldest = (
        select(_TRADES.c.id)
        .where(_TRADES.c.pair_id == pair_id, _TRADES.c.time_ms < limit_ms)
        .order_by(_TRADES.c.time_ms, _TRADES.c.id)
        .limit(PRUNED_AT_ONCE)
    )
    ids = list(c.execute(oldest).scalars())
    if ids:
        c.execute(delete(_TRADES).where(_TRADES.c.pair_id == pair_id, _TRADES.c.id <= max(ids)))
    return len(ids)


def prune_candles(c: Connection, pair_id: int, *, seconds: int, before_ms: int) -> int:
    """The same of kept candles of one length."""
    limit_s = aligned(before_ms // 1000, BASES[-1])
    oldest = (
        select(_CANDLES.c.start_s)
        .where(_of(pair_id, seconds), _CANDLES.c.start_s < limit_s)
        .order_by(_CANDLES.c.start_s)
        .limit(PRUNED_AT_ONCE)
    )
    starts = list(c.execute(oldest).scalars())
    if starts:
        c.execute(delete(_CANDLES).where(_of(pair_id, seconds), _CANDLES.c.start_s <= starts[-1]))
    return len(starts)


def clear_some(c: Connection, chain_id: ChainId) -> bool:
    """Take away some of all that history has of a chain; False when nothing is left."""
    for pair_id in c.execute(select(_PAIRS.c.id).where(_PAIRS.c.chain_id == chain_id).order_by(_PAIRS.c.id)).scalars():
        if prune_trades(c, pair_id, before_ms=_FOR_EVER_MS):
            return True
        if any(prune_candles(c, pair_id, seconds=base, before_ms=_FOR_EVER_MS) for base in BASES):
            return True
        pools = select(m.market_pools.c.id).where(m.market_pools.c.pair_id == pair_id)
        c.execute(delete(m.market_gaps).where(m.market_gaps.c.pool_id.in_(pools)))
        c.execute(delete(m.market_pools).where(m.market_pools.c.pair_id == pair_id))
        c.execute(delete(_PAIRS).where(_PAIRS.c.id == pair_id))
        return True
    return False


_FOR_EVER_MS: Final = 2**52
"""Later than any block."""


def _of(pair_id: int, seconds: int) -> Any:
    return (_CANDLES.c.pair_id == pair_id) & (_CANDLES.c.seconds == seconds)


def _replace(c: Connection, pair_id: int, candles: Iterable[Candle], *, seconds: int, start_s: int, end_s: int) -> None:
    span = (_CANDLES.c.start_s >= start_s) & (_CANDLES.c.start_s < end_s)
    c.execute(delete(_CANDLES).where(_of(pair_id, seconds), span))
    rows = [
        {
            "pair_id": pair_id,
            "seconds": candle.seconds,
            "start_s": candle.start_s,
            "first_id": candle.first_id,
            "last_id": candle.last_id,
            "open": candle.open,
            "high": candle.high,
            "low": candle.low,
            "close": candle.close,
            "volume0": candle.volume0,
            "volume1": candle.volume1,
            "sold0": candle.sold0,
            "sold1": candle.sold1,
            "trades": candle.count,
        }
        for candle in candles
    ]
    if rows:
        c.execute(insert(_CANDLES), rows)
