"""Why a route won: every path alone, the best split, and what each would leave after gas.

    explain(graph, ..., sold=ETH, bought=USDC, amount=10**18, exact="in", gas=..., block=...) -> Explanation

Guarantees: the winner is `find_route`'s for the same arguments; plain frozen values; amounts in base units. Numbers are
values, and `reason` says in words which of them decided. Not guaranteed: paths that `paths.find_paths` left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chains.types import BlockRef
from contracts.assets import Asset, AssetList
from contracts.deployments import Deployments, Router, Venue
from contracts.errors import QuoteError, TicksNotLoaded
from contracts.ratio import Ratio
from contracts.routes import Exact
from contracts.routing.execution import Share
from contracts.routing.gas import GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import Leg, RoutedSwap
from contracts.routing.paths import MAX_HOPS
from contracts.routing.search import Offer, Option, Trade, best_of, offers, option, options, routed
from contracts.swaps.model import MAX_LEGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to make the whole trade.

    `gas_cost` is the gas in base units of the asset that is compared: the bought one with exact input, the sold one
    with exact output. `net` is what is bought less that (may be negative), or what is sold and that: less is then best.
    """

    router: Router
    legs: tuple[Leg, ...]
    amount_in: int
    amount_out: int
    gas_estimate: int
    gas_cost: int
    net: int

    @property
    def is_split(self) -> bool:
        return len(self.legs) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`singles` are all paths that fill the trade alone, the best first; `splits` each router's best one, if any.

    `gain` is how much better the winner's net is than the next best single path's (0: the winner is one itself), in the
    compared asset. `gas_price_wei` and `wei_value` are what gas was counted at.
    """

    winner: RoutedSwap
    won: Candidate
    reason: str
    gain: int
    singles: tuple[Candidate, ...]
    splits: tuple[Candidate, ...]
    gas_price_wei: int
    wei_value: Ratio


def explain(
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
) -> Explanation:
    """`find_route`'s search with all that it looked at. Raises: as `find_route`."""
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
    compared = list(options(trade, offered))
    best = best_of(trade, offered, iter(compared))
    alone = sorted(_alone(trade, offered), key=lambda each: -each.worth)
    won = _candidate(trade, best)
    return Explanation(
        winner=routed(trade, best),
        won=won,
        reason=_reason(best, alone, exact),
        gain=best.worth - alone[0].worth if won.is_split and alone else 0,
        singles=tuple(_candidate(trade, each) for each in alone),
        splits=tuple(_candidate(trade, each) for each in compared if len(each.shares) > 1),
        gas_price_wei=trade.gas.price_wei,
        wei_value=trade.gas.wei_value,
    )


def _alone(trade: Trade, offered: Sequence[Offer]) -> Iterator[Option]:
    for offer in offered:
        for single in offer.singles:
            try:
                yield option(trade, offer, [Share(offer.market.paths[single.path], trade.amount)])
            except (QuoteError, TicksNotLoaded):
                continue


def _candidate(trade: Trade, chosen: Option) -> Candidate:
    executed = chosen.executed
    return Candidate(
        router=chosen.router,
        legs=executed.legs,
        amount_in=executed.amount_in,
        amount_out=executed.amount_out,
        gas_estimate=chosen.gas,
        gas_cost=trade.gas.cost(chosen.gas),
        net=abs(chosen.worth) if trade.exact == "out" else chosen.worth,
    )


def _reason(won: Option, alone: Sequence[Option], exact: Exact) -> str:
    better = "buys more" if exact == "in" else "sells less"
    if len(won.shares) > 1:
        if not alone:
            return "no path alone fills the amount; these paths together do"
        return f"these paths together: after gas, the split {better} than the best path alone"
    if len(alone) == 1:
        return "the only path that fills the amount, and no split does better after gas"
    first, second = alone[0], alone[1]
    if won.worth == second.worth:
        return "this path does as well as the next one, and comes first"
    gross = _gross(first, exact) - _gross(second, exact)
    if gross < 0:
        return "this path alone: another one does better before gas, and worse after it; no split pays for its gas"
    return f"this path alone {better} than any other after gas, and no split pays for its gas"


def _gross(each: Option, exact: Exact) -> int:
    return each.executed.amount_out if exact == "in" else -each.executed.amount_in
