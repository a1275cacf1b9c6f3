"""What a market without a pool of its own trades at: the best route's price of a small, named amount of base.

Guarantees: both ways at the same block, fees inside, gas left out; None where no route fills the probe. Not guaranteed:
that the price holds for more than the probe, which is worth about `PROBE_USD`.
"""

from dataclasses import dataclass
from typing import Final

from chains.units import mul_div, parse_units
from contracts.assets import Asset, Market
from contracts.chainlink import FeedAnswer
from contracts.errors import QuoteError
from contracts.ratio import Ratio
from contracts.routes import Exact
from contracts.routing.gas import GasPricing
from contracts.routing.graph import PoolGraph
from contracts.routing.model import RoutedSwap
from contracts.routing.search import find_route
from service.markets.needs import QuotedChain
from service.markets.state.model import MarketView

PROBE_USD: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Prices of `amount` base units of base by the best routes, quote base units for one of base; and the middle."""

    amount: int
    bid: Ratio
    ask: Ratio
    mid: Ratio


def probe(chain: QuotedChain, market: Market, view: MarketView, *, amount: int) -> Routed | None:
    """Sell and buy the probe. Raises: TicksNotLoaded."""
    graph = PoolGraph.of(view.pools.values())
    try:
        sale = _route(chain, view, graph, sold=market.base, bought=market.quote, amount=amount, exact="in")
        purchase = _route(chain, view, graph, sold=market.quote, bought=market.base, amount=amount, exact="out")
    except QuoteError:
        return None
    return Routed(
        amount=amount,
        bid=Ratio.of(sale.amount_out, amount),
        ask=Ratio.of(purchase.amount_in, purchase.amount_out),
        mid=sale.mid_price,
    )


def probe_size(base: Asset, usd: FeedAnswer | None) -> int:
    """About `PROBE_USD` worth of base, as one digit and zeros; one whole unit where no feed says what it is worth."""
    if usd is None:
        return parse_units("1", base.decimals)
    worth = mul_div(parse_units(str(PROBE_USD), base.decimals), 10**usd.decimals, usd.answer)
    if worth <= 0:
        return 1
    digits = str(worth)
    return int(digits[0] + "0" * (len(digits) - 1))


def _route(
    chain: QuotedChain,
    view: MarketView,
    graph: PoolGraph,
    *,
    sold: Asset,
    bought: Asset,
    amount: int,
    exact: Exact,
) -> RoutedSwap:
    return find_route(
        graph,
        assets=chain.assets,
        deployments=chain.deployments,
        sold=sold,
        bought=bought,
        amount=amount,
        exact=exact,
        gas=GasPricing.free(),
        block=view.block,
        max_splits=1,
    )
