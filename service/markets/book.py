"""The order book that a market's direct pools amount to: what can be bought or sold at each price step.

Pools have no orders. A level at a price holds what a taker could trade at that price or better, less what the levels
before it hold: the LP fee is inside the price. The direct pools of the pair are summed as far as one transaction can
trade with them: where no router reaches them all (QuickSwap's and Uniswap's do not mix on Polygon), a side is that of
the router with the best first price.

    asks  prices rounded up to the tick: a taker never pays more than the level says
    bids  prices rounded down: a taker never gets less

Guarantees: the amounts of the first n levels are what the pools give up to that price, to the base unit; walking the
book for a size costs what the best split of that size over those pools costs, within one tick. Not guaranteed: what
routes over other pairs or the other router would give, gas, or that the levels stand when a trade is mined. A bid above
an ask is possible while pools disagree by more than their fees: nobody has taken the difference yet.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import Address
from contracts.assets import AssetList, Market
from contracts.deployments import Router
from contracts.depth import swap_to_price, taker_price
from contracts.ratio import Ratio
from contracts.routing.model import GraphPool
from service.markets.filters import Filters, tick_ratio

MAX_LEVELS: Final = 1_000
STEPS_A_TURN: Final = 100
"""Price steps without a break: about a millisecond a pool."""
STEPS_A_LEVEL: Final = 8
"""Price steps looked at for each level wanted: where liquidity has gaps, steps are empty and are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """`ticks` is the price in ticks of the filters; `base` and `quote` are base units, the level's own."""

    ticks: int
    base: int
    quote: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Best price first on both sides."""

    market: Market
    filters: Filters
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


def build_book(
    market: Market,
    pools: Sequence[GraphPool],
    *,
    assets: AssetList,
    routers: Sequence[Router],
    filters: Filters,
    levels: int,
) -> Book:
    """`building` in one go. Raises: TicksNotLoaded."""
    work = building(market, pools, assets=assets, routers=routers, filters=filters, levels=levels)
    while True:
        try:
            next(work)
        except StopIteration as done:
            book: Book = done.value
            return book


def building(
    market: Market,
    pools: Sequence[GraphPool],
    *,
    assets: AssetList,
    routers: Sequence[Router],
    filters: Filters,
    levels: int,
) -> Generator[None, None, Book]:
    """At most `levels` a side. Pools of other pairs, and those that none of the routers reaches, are left out.

    A book of a thousand levels takes tens of milliseconds: every `STEPS_A_TURN` price steps the generator yields, so
    that an event loop can do something else in between.

    Raises:
        TicksNotLoaded: a pool's ticks are not loaded as far as the book goes.
    """
    base, quote = (assets.token_of(asset).token_address for asset in (market.base, market.quote))
    direct = [pool for pool in pools if pool.key.pair == {base, quote}]
    tick = tick_ratio(market, filters)
    together = _together(direct, routers)
    bids, asks = [], []
    for group in together:
        if side := (yield from _bids(group, base, tick, levels=levels)):
            bids.append(side)
        if side := (yield from _asks(group, quote, tick, levels=levels)):
            asks.append(side)
    return Book(
        market=market,
        filters=filters,
        bids=tuple(sorted(bids, key=_bid_order)[-1]) if bids else (),
        asks=tuple(sorted(asks, key=_ask_order)[0]) if asks else (),
    )


def _together(pools: Sequence[GraphPool], routers: Sequence[Router]) -> list[list[GraphPool]]:
    """The pools that one transaction can trade with, for each router that reaches more than another one does."""
    reached = {frozenset(pool.key.venue for pool in pools) & router.venues for router in routers}
    widest = [venues for venues in reached if venues and not any(venues < other for other in reached)]
    return [[pool for pool in pools if pool.key.venue in venues] for venues in sorted(widest, key=sorted)]


def _bid_order(side: Sequence[Level]) -> tuple[int, int]:
    return side[0].ticks, side[0].base


def _ask_order(side: Sequence[Level]) -> tuple[int, int]:
    return side[0].ticks, -side[0].base


def _asks(
    pools: Sequence[GraphPool], quote: Address, tick: Ratio, *, levels: int
) -> Generator[None, None, list[Level]]:
    best = [price.inverse for pool in pools if (price := _first(pool, quote)) is not None]
    if not best:
        return []
    first = min(_ticks_up(price, tick) for price in best)
    found: list[Level] = []
    had_base = had_quote = 0
    for ticks in range(first, first + levels * STEPS_A_LEVEL):
        if (ticks - first) % STEPS_A_TURN == STEPS_A_TURN - 1:
            yield
        worst = Ratio.of(tick.den, tick.num * ticks)  # base for quote, at that price
        sums = [swap_to_price(pool.state, worst, token0_in=pool.zero_for_one(quote)) for pool in pools]
        got_quote, got_base = sum(one.amount_in for one in sums), sum(one.amount_out for one in sums)
        if got_base > had_base:
            found.append(Level(ticks=ticks, base=got_base - had_base, quote=got_quote - had_quote))
            had_base, had_quote = got_base, got_quote
            if len(found) == levels:
                break
    return found


def _bids(pools: Sequence[GraphPool], base: Address, tick: Ratio, *, levels: int) -> Generator[None, None, list[Level]]:
    best = [price for pool in pools if (price := _first(pool, base)) is not None]
    if not best:
        return []
    first = max(_ticks_down(price, tick) for price in best)
    found: list[Level] = []
    had_base = had_quote = 0
    for ticks in range(first, max(0, first - levels * STEPS_A_LEVEL), -1):
        if (first - ticks) % STEPS_A_TURN == STEPS_A_TURN - 1:
            yield
        worst = Ratio.of(tick.num * ticks, tick.den)
        sums = [swap_to_price(pool.state, worst, token0_in=pool.zero_for_one(base)) for pool in pools]
        got_base, got_quote = sum(one.amount_in for one in sums), sum(one.amount_out for one in sums)
        if got_quote > had_quote:
            found.append(Level(ticks=ticks, base=got_base - had_base, quote=got_quote - had_quote))
            had_base, had_quote = got_base, got_quote
            if len(found) == levels:
                break
    return found


def _first(pool: GraphPool, token_in: Address) -> Ratio | None:
    """What the pool's first unit trades at, bought for sold base units."""
    return taker_price(pool.state, token0_in=pool.zero_for_one(token_in))


def _ticks_up(price: Ratio, tick: Ratio) -> int:
    return max(1, -(-price.num * tick.den // (price.den * tick.num)))


def _ticks_down(price: Ratio, tick: Ratio) -> int:
    return price.num * tick.den // (price.den * tick.num)
