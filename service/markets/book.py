"""The order book that a market's direct pools amount to: what can be bought or sold at each price step.

Pools have no orders. A level at a price holds what a taker could trade at that price or better, less what the levels
before it hold: the LP fee is inside the price. The direct pools of the pair are summed as far as one transaction can
trade with them: where no router reaches them all (QuickSwap's and Uniswap's do not mix on Polygon), a side is that of
the router with the best first price. A pool with next to nothing in it (`LEAST_PART`) says no first price: what it
holds at a better one is in the first level.

    asks  prices rounded up to the tick: a taker never pays more than the level says
    bids  prices rounded down: a taker never gets less

Guarantees: the amounts of the first n levels are what the pools give up to that price, to the base unit; walking the
book for a size costs what the best split of that size over those pools costs, within one tick. Not guaranteed: what
routes over other pairs or the other router would give, gas, or that the levels stand when a trade is mined. A bid above
an ask is possible while pools disagree by more than their fees: nobody has taken the difference yet.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chains.types import Address
from contracts.assets import AssetList, Market
from contracts.deployments import Router
from contracts.depth import swap_to_price, taker_price
from contracts.pools import PoolKey
from contracts.ratio import Ratio
from contracts.routing.model import GraphPool
from service.markets.filters import Filters, tick_ratio

MAX_LEVELS: Final = 1_000
NEAR: Final = Ratio(num=99, den=100)
"""What a pool trades up to a price a hundredth worse than its first says whether that first price counts."""
LEAST_PART: Final = 10_000
"""A pool speaks for a market's first price with at least this part of what the deepest one trades near its own."""
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

    def cut(self, levels: int) -> "Book":
        """The first levels of each side."""
        return replace(self, bids=self.bids[:levels], asks=self.asks[:levels])


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
    sold_at, bought_at = (first_prices(direct, token, quote=quote) for token in (base, quote))
    bids, asks = [], []
    for group in together:
        if side := (yield from _bids(group, base, tick, firsts=sold_at, levels=levels)):
            bids.append(side)
        if side := (yield from _asks(group, quote, tick, firsts=bought_at, levels=levels)):
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
    pools: Sequence[GraphPool], quote: Address, tick: Ratio, *, firsts: Mapping[PoolKey, Ratio], levels: int
) -> Generator[None, None, list[Level]]:
    best = best_of(firsts[pool.key] for pool in pools if pool.key in firsts)
    if best is None:
        return []
    first = _ticks_up(best.inverse, tick)
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


def _bids(
    pools: Sequence[GraphPool], base: Address, tick: Ratio, *, firsts: Mapping[PoolKey, Ratio], levels: int
) -> Generator[None, None, list[Level]]:
    best = best_of(firsts[pool.key] for pool in pools if pool.key in firsts)
    if best is None:
        return []
    first = _ticks_down(best, tick)
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


def first_prices(pools: Sequence[GraphPool], token_in: Address, *, quote: Address) -> dict[PoolKey, Ratio]:
    """What the first unit trades at, bought for sold base units, in each of the pools that hold enough to say so.

    Anybody may make a pool at any price and leave it empty, or nearly so; old ones stay behind when their market moves.
    Counted in quote: that is what whoever offers too good a price has to lose.
    """
    found = []
    for pool in pools:
        token0_in = pool.zero_for_one(token_in)
        if (price := taker_price(pool.state, token0_in=token0_in)) is not None:
            near = swap_to_price(pool.state, price * NEAR, token0_in=token0_in)
            found.append((pool.key, price, near.amount_in if token_in == quote else near.amount_out))
    most = max((amount for _, _, amount in found), default=0)
    return {key: price for key, price, amount in found if amount > 0 and amount * LEAST_PART >= most}


def best_of(prices: Iterable[Ratio]) -> Ratio | None:
    """The most bought for what is sold; None of none."""
    best: Ratio | None = None
    for price in prices:
        if best is None or price.num * best.den > best.num * price.den:
            best = price
    return best


def _ticks_up(price: Ratio, tick: Ratio) -> int:
    return max(1, -(-price.num * tick.den // (price.den * tick.num)))


def _ticks_down(price: Ratio, tick: Ratio) -> int:
    return price.num * tick.den // (price.den * tick.num)
