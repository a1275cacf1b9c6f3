"""Trades, candles and the last 24 hours of a market, out of what is stored of its pair, in the market's own direction.

Markets of the same two tokens share their rows: ETHUSDC and WETHUSDC differ in how an order is settled, and where the
base is token1 everything is turned round here.

Guarantees: exact base units and ratios, from one snapshot; each answer says up to which block it goes (`Extent.head`)
and since when nothing is missing (`Extent.complete_from_ms`); reads are bounded (`MOST`, six rows a candle).
Not guaranteed: that a candle which has not ended by the head's time stays as it is, flat ones included; that what is
older than `complete_from_ms` is all there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from chains.types import ChainId
from contracts.assets import AssetList, Market
from contracts.ratio import Ratio
from service.db import models as m
from service.markets.history import storage
from service.markets.history.candles import (
    BASES,
    DAY_S,
    aligned,
    base_of,
    filled,
    inverted,
    merged,
    of_trades,
    summed,
)
from service.markets.history.model import Candle, HistoryHead, Pair, Trade
from service.markets.history.writing import candle_of, candles_between, trade_of, trades_between

MOST: Final = 1_000
"""Trades or candles of one answer."""
_OF_TRADES: Final = 1
"""Seconds of the candles that are made of trades."""
_TRADES: Final = m.market_trades
_CANDLES: Final = m.market_candles


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What an answer is made of. `head` None: nothing was written yet of this chain."""

    head: HistoryHead | None
    complete_from_ms: int | None
    """Since when nothing is missing, neither unread nor pruned; None: since the chain's first block. Of a market
    without a known pool it is the head's time: what there was before is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTrade:
    """A trade as its taker saw it: he paid quote and got base, or the other way, the LP fee inside. Base units."""

    id: int
    time_ms: int
    base: int
    quote: int
    taker_sold: bool
    """Base went into the pool."""
    trade: Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesPage:
    extent: Extent
    trades: Sequence[MarketTrade]
    """Oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesPage:
    """Candles of the market's direction: token0 is its base."""

    extent: Extent
    candles: Sequence[Candle]
    """Oldest first, without a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The 24 hours up to now, in the market's direction: volume0 is base. `trades` is None when there was none in them;
    `last` is the last trade's price ever, None before the first."""

    extent: Extent
    from_ms: int
    to_ms: int
    trades: Candle | None
    last: Ratio | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesWanted:
    """Which trades: from an id on, or of a time (both ends included), the oldest; neither: the newest."""

    limit: int
    from_id: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlesWanted:
    """Which candles: `limit` from the one that `start_ms` is in, or up to the one that `end_ms` (or now) is in."""

    seconds: int
    limit: int
    start_ms: int | None = None
    end_ms: int | None = None


def read_trades(c: Connection, assets: AssetList, market: Market, wanted: TradesWanted) -> TradesPage:
    """In a read of the database (`db.read`)."""
    pair, turned = _pair(c, assets, market)
    extent = _extent(c, assets.chain_id, pair, seconds=_OF_TRADES)
    if pair is None:
        return TradesPage(extent=extent, trades=())
    return TradesPage(extent=extent, trades=[_seen(one, turned) for one in _trades(c, pair, wanted)])


def read_candles(
    c: Connection, assets: AssetList, market: Market, wanted: CandlesWanted, *, now_ms: int
) -> CandlesPage:
    """In a read of the database. None begins after now; none before the first trade that is kept."""
    pair, turned = _pair(c, assets, market)
    extent = _extent(c, assets.chain_id, pair, seconds=wanted.seconds)
    if pair is None or extent.head is None:
        return CandlesPage(extent=extent, candles=())
    seconds, limit = wanted.seconds, min(wanted.limit, MOST)
    # The clock of the machine may be behind the chain's.
    last_s = max(now_ms, extent.head.time_ms) // 1000
    end_s = aligned(last_s if wanted.end_ms is None else min(wanted.end_ms // 1000, last_s), seconds) + seconds
    kept = _kept(c, pair, seconds)
    if kept is None:
        return CandlesPage(extent=extent, candles=())
    wanted_s = end_s - limit * seconds if wanted.start_ms is None else wanted.start_ms // 1000
    start_s = aligned(max(wanted_s, kept.from_s), seconds)
    end_s = min(end_s, start_s + limit * seconds)
    if start_s >= end_s:
        return CandlesPage(extent=extent, candles=())
    before = _before(c, pair, start_s, seconds)
    there = _made(c, pair, seconds=seconds, start_s=start_s, end_s=end_s)
    found = filled(there, seconds=seconds, start_s=start_s, end_s=end_s, before=before)
    return CandlesPage(extent=extent, candles=[inverted(one) for one in found] if turned else found)


def read_day(c: Connection, assets: AssetList, market: Market, *, now_ms: int) -> Day:
    """The rolling 24 hours, to the millisecond; in a read of the database."""
    pair, turned = _pair(c, assets, market)
    extent = _extent(c, assets.chain_id, pair, seconds=_OF_TRADES)
    from_ms = now_ms - DAY_S * 1000
    if pair is None or extent.head is None:
        return Day(extent=extent, from_ms=from_ms, to_ms=now_ms, trades=None, last=None)
    parts = _since(c, pair, from_ms, upto_ms=max(now_ms, extent.head.time_ms))
    traded = summed(parts) if parts else None
    newest = traded or _before(c, pair, aligned(now_ms // 1000, BASES[0]) + BASES[0], BASES[0])
    if turned:
        traded = None if traded is None else inverted(traded)
        newest = None if newest is None else inverted(newest)
    last = None if newest is None else newest.close
    return Day(extent=extent, from_ms=from_ms, to_ms=now_ms, trades=traded, last=last)


# -- private ---------------------------------------------------------------------------------------------------


def _pair(c: Connection, assets: AssetList, market: Market) -> tuple[Pair | None, bool]:
    """The market's pair, and whether its base is token1."""
    base, quote = (assets.token_of(asset).token_address for asset in (market.base, market.quote))
    pair = storage.pair_of(c, assets.chain_id, (base, quote))
    return pair, pair is not None and pair.token1 == base


def _extent(c: Connection, chain_id: ChainId, pair: Pair | None, *, seconds: int) -> Extent:
    """For an answer that is made of candles of this length, or of trades (`_OF_TRADES`)."""
    head = storage.head_of(c, chain_id)
    if head is None or pair is None:
        return Extent(head=head, complete_from_ms=None if head is None else head.time_ms)
    read_from_ms = storage.complete_from_ms(c, pair.id)
    kept = _kept(c, pair, seconds)
    if kept is None or not kept.is_pruned:
        return Extent(head=head, complete_from_ms=read_from_ms)
    return Extent(head=head, complete_from_ms=max(kept.from_s * 1000, read_from_ms or 0))


def _trades(c: Connection, pair: Pair, wanted: TradesWanted) -> list[Trade]:
    limit = min(wanted.limit, MOST)
    if wanted.start_ms is not None and wanted.from_id is None:
        end_ms = _FOR_EVER_MS if wanted.end_ms is None else wanted.end_ms + 1
        return trades_between(c, pair.id, start_ms=wanted.start_ms, end_ms=end_ms, most=limit)
    rows = select(_TRADES).where(_TRADES.c.pair_id == pair.id)
    if wanted.end_ms is not None:
        rows = rows.where(_TRADES.c.time_ms <= wanted.end_ms)
    if wanted.from_id is not None:
        rows = rows.where(_TRADES.c.id >= wanted.from_id).order_by(_TRADES.c.id)
        return [trade_of(row) for row in c.execute(rows.limit(limit))]
    newest = rows.order_by(_TRADES.c.time_ms.desc(), _TRADES.c.id.desc())
    return [trade_of(row) for row in c.execute(newest.limit(limit))][::-1]


def _seen(trade: Trade, turned: bool) -> MarketTrade:
    base, quote = (trade.amount1, trade.amount0) if turned else (trade.amount0, trade.amount1)
    return MarketTrade(
        id=trade.id,
        time_ms=trade.time_ms,
        base=base,
        quote=quote,
        taker_sold=trade.zero_for_one is not turned,
        trade=trade,
    )


def _made(c: Connection, pair: Pair, *, seconds: int, start_s: int, end_s: int) -> list[Candle]:
    base = base_of(seconds)
    if base is None:
        trades = trades_between(c, pair.id, start_ms=start_s * 1000, end_ms=end_s * 1000)
        return of_trades(trades, seconds=seconds)
    kept = candles_between(c, pair.id, seconds=base, start_s=start_s, end_s=end_s)
    return kept if base == seconds else merged(kept, seconds=seconds)


def _before(c: Connection, pair: Pair, start_s: int, seconds: int) -> Candle | None:
    """A candle with the last trade before that time, of the shortest kept kind that still has it."""
    base = base_of(seconds)
    if base is None:
        row = c.execute(
            select(_TRADES)
            .where(_TRADES.c.pair_id == pair.id, _TRADES.c.time_ms < start_s * 1000)
            .order_by(_TRADES.c.time_ms.desc(), _TRADES.c.id.desc())
            .limit(1)
        ).one_or_none()
        if row is not None:
            return of_trades([trade_of(row)], seconds=1)[0]
    for kept in BASES:
        if base is not None and kept < base:
            continue
        row = c.execute(
            select(_CANDLES)
            .where(_CANDLES.c.pair_id == pair.id, _CANDLES.c.seconds == kept, _CANDLES.c.start_s <= start_s - kept)
            .order_by(_CANDLES.c.start_s.desc())
            .limit(1)
        ).one_or_none()
        if row is not None:
            return candle_of(row)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Since when there is something; whether there was more, and it was pruned."""

    from_s: int
    is_pruned: bool


def _kept(c: Connection, pair: Pair, seconds: int) -> _Kept | None:
    """Since when candles of that length can be made, flat ones included; None: nothing was ever traded.

    Rows are pruned by whole days. Whether they were shows in the candles of a day, which are not.
    """
    days = select(_CANDLES).where(_CANDLES.c.pair_id == pair.id, _CANDLES.c.seconds == DAY_S).limit(1)
    oldest_day = c.execute(days.order_by(_CANDLES.c.start_s)).one_or_none()
    if oldest_day is None:
        return None
    base = base_of(seconds)
    if base is None:
        of_pair = select(_TRADES.c.id, _TRADES.c.time_ms).where(_TRADES.c.pair_id == pair.id).limit(1)
        row = c.execute(of_pair.order_by(_TRADES.c.time_ms, _TRADES.c.id)).one_or_none()
        oldest = None if row is None else (row.id, row.time_ms // 1000)
    else:
        of_kind = select(_CANDLES.c.first_id, _CANDLES.c.start_s).limit(1)
        of_kind = of_kind.where(_CANDLES.c.pair_id == pair.id, _CANDLES.c.seconds == base)
        row = c.execute(of_kind.order_by(_CANDLES.c.start_s)).one_or_none()
        oldest = None if row is None else (row.first_id, row.start_s)
    if oldest is None:
        # All are pruned: nothing was traded since the last day that has a candle.
        newest_day = c.execute(days.order_by(_CANDLES.c.start_s.desc())).one()
        return _Kept(from_s=newest_day.start_s + DAY_S, is_pruned=True)
    first_id, first_s = oldest
    is_pruned = first_id != oldest_day.first_id
    return _Kept(from_s=aligned(first_s, DAY_S) if is_pruned else first_s, is_pruned=is_pruned)


def _since(c: Connection, pair: Pair, from_ms: int, *, upto_ms: int) -> list[Candle]:
    """Candles of all trades from that time on, oldest first: trades up to a whole minute, minutes up to a whole quarter
    of an hour and so on, so that a day is some 40 rows."""
    at_ms, parts = from_ms, []
    end_s = upto_ms // 1000 + 1
    for kept, longer in zip(BASES, (*BASES[1:], None), strict=True):
        if kept == BASES[0]:
            whole_s = -(-at_ms // (kept * 1000)) * kept
            parts += of_trades(trades_between(c, pair.id, start_ms=at_ms, end_ms=whole_s * 1000), seconds=1)
            at_s = whole_s
        next_s = end_s if longer is None or longer == DAY_S else min(end_s, -(-at_s // longer) * longer)
        parts += candles_between(c, pair.id, seconds=kept, start_s=at_s, end_s=next_s)
        at_s = max(at_s, next_s)
    return parts


_FOR_EVER_MS: Final = 2**52
"""Later than any block."""
