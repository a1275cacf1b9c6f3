"""The best route of a trade over a graph of pools: every router's best path alone and best split, compared after gas.

    find_route(graph, ..., sold=ETH, bought=USDC, amount=10**18, exact="in", gas=GasPricing.of(...), block=...)

Guarantees: pure and deterministic, whatever the order in which the pools came; the amounts are those of `execution`, so
of the transaction when it is the next one at that state; a split never nets less than the best path alone; a partial
fill is not a fill. Equal nets: fewer legs, less gas, the registry's first router, the first path. Not guaranteed: the
best of all possible routes; `scripts.bench routing` prints how far from the convex bound it is. Where the pools are not
loaded whole, what lies beyond is asked for (`TicksNotLoaded`) once a split would go there, or nothing else fills.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from chains.types import Address, BlockRef
from contracts.assets import Asset, AssetList
from contracts.deployments import Deployments, Router, RouterKind, Venue
from contracts.errors import (
    AmountTooSmall,
    InsufficientLiquidity,
    InvalidTradeAmount,
    NoRoute,
    QuoteError,
    TicksNotLoaded,
    UnlistedAsset,
    UnsupportedPair,
)
from contracts.quoting import MAX_TRADE
from contracts.routes import Exact
from contracts.routing.choosing import best_split
from contracts.routing.execution import Executed, Share, execute
from contracts.routing.gas import GasModel, GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import RoutedSwap
from contracts.routing.paths import MAX_HOPS, Path, find_paths
from contracts.routing.pricing import routed_swap
from contracts.routing.splitting import Market, in_order
from contracts.swaps.model import MAX_LEGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What is to be traded, where, and what gas is worth."""

    graph: PoolGraph
    assets: AssetList
    deployments: Deployments
    sold: Asset
    bought: Asset
    amount: int
    exact: Exact
    gas: GasPricing
    block: BlockRef
    venue: Venue | None
    max_hops: int
    max_splits: int


class Option(NamedTuple):
    """One way to make the trade. `worth` is bought less gas, or minus what is sold and gas: more is better."""

    worth: int
    router: Router
    shares: tuple[Share, ...]
    executed: Executed
    gas: int


class Single(NamedTuple):
    """A path that takes the whole amount: its worth and its number in the router's market."""

    worth: int
    path: int


class Offer(NamedTuple):
    """One router's paths, and those that fill the trade alone, the best first."""

    router: Router
    market: Market
    singles: tuple[Single, ...]
    unloaded: TicksNotLoaded | None
    too_small: bool


def find_route(
    graph: PoolGraph,
    *,
    assets: AssetList,
    deployments: Deployments,
    sold: Asset,
    bought: Asset,
    amount: int,
    exact: Exact,
    gas: GasPricing,
    block: BlockRef,
    venue: Venue | None = None,
    max_hops: int = MAX_HOPS,
    max_splits: int = MAX_LEGS,
) -> RoutedSwap:
    """The route with the most bought, or the least sold, gas counted in that asset.

    `venue` leaves only that protocol's pools. `block` is the states' block, and passed on.

    Raises:
        UnlistedAsset: an asset is not in `assets`.
        UnsupportedPair: the same asset twice, or native against wrapped (that is a wrap, not a trade).
        InvalidTradeAmount: not in 1 .. 2^128 - 1.
        NoRoute: no pool connects the two (on that venue).
        InsufficientLiquidity: pools do, but cannot fill the amount together.
        AmountTooSmall: the amount buys nothing.
        TicksNotLoaded: the best route leaves a V3 pool's loaded words; load them and ask again.
    """
    trade = Trade(
        graph=graph,
        assets=assets,
        deployments=deployments,
        sold=sold,
        bought=bought,
        amount=amount,
        exact=exact,
        gas=gas,
        block=block,
        venue=venue,
        max_hops=max_hops,
        max_splits=max_splits,
    )
    offered = offers(trade)
    return routed(trade, best_of(trade, offered, options(trade, offered)))


def offers(trade: Trade) -> list[Offer]:
    """Every router's paths, looked at one by one. Raises: as `find_route` for a trade that cannot be."""
    token_in, token_out = _tokens(trade)
    if not 0 < trade.amount <= MAX_TRADE:
        raise InvalidTradeAmount("an amount to trade is between 1 and 2^128 - 1 base units")
    found = []
    for router in trade.deployments.routers(trade.assets.chain_id):
        venues = router.venues if trade.venue is None else router.venues & {trade.venue}
        paths = find_paths(trade.graph.only(venues), token_in, token_out, max_hops=trade.max_hops)
        if trade.exact == "out":
            paths = [path for path in paths if len({edge.pool.key.venue for edge in path}) == 1]
        if paths:
            found.append(_offer(trade, router, paths))
    if not found:
        raise NoRoute(f"no pool connects {trade.sold.symbol} and {trade.bought.symbol}")
    return found


def options(trade: Trade, offered: Sequence[Offer]) -> Iterator[Option]:
    """Each router's best path alone, then its best split, as they would execute."""
    for offer in offered:
        single = None
        for candidate in offer.singles:
            try:
                alone = option(trade, offer, [Share(offer.market.paths[candidate.path], trade.amount)])
            except QuoteError:
                # The router's own sums say yes, and the pair itself would refuse: a reserve beyond uint112.
                continue
            single = candidate
            yield alone
            break
        if offer.router.kind is RouterKind.SWAP_ROUTER_02 and trade.max_splits > 1:
            split = _split(trade, offer, single)
            if split is not None:
                yield split


def best_of(trade: Trade, offered: Sequence[Offer], found: Iterator[Option]) -> Option:
    """Raises: TicksNotLoaded, AmountTooSmall, InsufficientLiquidity: there is none, for that reason."""
    best = None
    for each in found:
        if best is None or (each.worth, -len(each.shares), -each.gas) > (best.worth, -len(best.shares), -best.gas):
            best = each
    if best is not None:
        return best
    for offer in offered:
        if offer.unloaded is not None:
            raise offer.unloaded
    if any(offer.too_small for offer in offered):
        raise AmountTooSmall(f"so little {trade.sold.symbol} buys no {trade.bought.symbol}")
    raise InsufficientLiquidity(f"the pools cannot fill this trade of {trade.sold.symbol} for {trade.bought.symbol}")


def option(trade: Trade, offer: Offer, shares: Sequence[Share]) -> Option:
    """What the shares do in their order. Raises: QuoteError, TicksNotLoaded: they do not fill."""
    router = offer.router
    executed = execute(shares, trade.exact, rounds_v2_up=router.kind is RouterKind.SWAP_ROUTER_02)
    gas = gas_model(trade, router).route([share.path for share in shares], ticks_crossed=executed.ticks_crossed)
    return Option(_worth(trade, executed.amount_in, executed.amount_out, gas), router, tuple(shares), executed, gas)


def routed(trade: Trade, chosen: Option) -> RoutedSwap:
    """An option as a routed swap."""
    return routed_swap(
        chain_id=trade.assets.chain_id,
        router=chosen.router,
        paths=[share.path for share in chosen.shares],
        legs=chosen.executed.legs,
        sold=trade.sold,
        bought=trade.bought,
        exact=trade.exact,
        gas_estimate=chosen.gas,
        block=trade.block,
    )


def gas_model(trade: Trade, router: Router) -> GasModel:
    """The gas of this trade through a router."""
    return GasModel(
        kind=router.kind, exact=trade.exact, native_in=trade.sold.is_native, native_out=trade.bought.is_native
    )


def _offer(trade: Trade, router: Router, paths: Sequence[Path]) -> Offer:
    market = Market(paths, trade.exact)
    model = gas_model(trade, router)
    singles, unloaded, too_small = [], None, False
    for number, (path, route) in enumerate(zip(paths, market.routes, strict=True)):
        if not _may_be_alone(trade, router, path):
            continue
        amount, ticks = trade.amount, 0
        try:
            for edge in route:
                point = market.curves[edge](amount)
                amount, ticks = point.other, ticks + point.ticks
                if not amount:
                    raise AmountTooSmall("the amount buys nothing on the way")
        except TicksNotLoaded as missing:
            unloaded = unloaded or missing
            continue
        except QuoteError as refused:
            too_small = too_small or isinstance(refused, AmountTooSmall)
            continue
        amounts = (trade.amount, amount) if trade.exact == "in" else (amount, trade.amount)
        if max(amounts) > MAX_TRADE:
            continue
        singles.append(Single(_worth(trade, *amounts, model.route([path], ticks_crossed=ticks)), number))
    # Sorting keeps the order of equals.
    singles.sort(key=lambda single: -single.worth)
    return Offer(router, market, tuple(singles), unloaded, too_small)


def _may_be_alone(trade: Trade, router: Router, path: Path) -> bool:
    """An exact output along one path of V2 pairs goes to a Router02, which gives exactly the amount (ADR 0006)."""
    if trade.exact == "in" or router.kind is RouterKind.ROUTER_02:
        return True
    return path[0].pool.key.venue is Venue.UNISWAP_V3


def _split(trade: Trade, offer: Offer, single: Single | None) -> Option | None:
    """The router's best split; None where no division of the amount is worth its gas."""
    market, model = offer.market, gas_model(trade, offer.router)

    def cost(paths: Sequence[int], ticks: int) -> int:
        return trade.gas.cost(model.route([market.paths[path] for path in paths], ticks_crossed=ticks))

    best = best_split(
        market,
        trade.amount,
        single=None if single is None else single.path,
        cost=cost,
        max_legs=min(trade.max_splits, MAX_LEGS),
    )
    if best is None:
        return None
    try:
        return option(trade, offer, [Share(market.paths[path], amount) for path, amount in in_order(best.flows)])
    except QuoteError:
        return None


def _worth(trade: Trade, amount_in: int, amount_out: int, gas: int) -> int:
    cost = trade.gas.cost(gas)
    return amount_out - cost if trade.exact == "in" else -amount_in - cost


def _tokens(trade: Trade) -> tuple[Address, Address]:
    assets, sold, bought = trade.assets, trade.sold, trade.bought
    for asset in (sold, bought):
        if asset not in assets:
            raise UnlistedAsset(assets.chain_id, asset.symbol)
    token_in, token_out = assets.token_of(sold), assets.token_of(bought)
    if token_in == token_out:
        wrap = f"{sold.symbol} and {bought.symbol} are one asset, wrapped and not: wrap or unwrap instead"
        raise UnsupportedPair("an asset cannot be traded for itself" if sold == bought else wrap)
    return token_in.token_address, token_out.token_address
