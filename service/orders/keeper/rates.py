"""The best rate at which anything at all could be traded between two tokens: what most resting orders are ruled out by.

No swap gets a better average than the best marginal price of the pools on its way, after their fees: the more is
traded, the worse each pool's price. So an order whose limit is beyond that rate need not be quoted, which takes some
milliseconds; comparing two integers takes a tenth of a microsecond.

Guarantees: pure; never lower than what a route of `hops` pools can give, whatever its size, splits included (each step
is rounded up). Not guaranteed: that anything can be had at the rate. A pool with next to nothing in it may make it
absurdly good; then more orders are quoted than need be, and nothing else.
"""

from collections.abc import Mapping
from typing import Final

from chains.types import Address
from chains.units import BPS
from contracts.ratio import Ratio
from contracts.routes import PIPS
from contracts.routing.graph import Edge, PoolGraph
from contracts.routing.paths import MAX_HOPS

FRACTION_BITS: Final = 192
"""Bits behind the point of a rate: prices of the listed assets in base units lie between 2^-100 and 2^100."""

SLACK_BPS: Final = 10
"""Legs of one route may go through a pool in both directions, and one then gains a little by the other."""


def may_reach(asked: int, best: int) -> bool:
    """Whether an order that asks for this rate may be filled where that is the best one."""
    return best > 0 and asked * BPS <= best * (BPS + SLACK_BPS)


def best_rate(graph: PoolGraph, token_in: Address, token_out: Address, *, hops: int = MAX_HOPS) -> int:
    """Base units of `token_out` for one of `token_in` at best, as `FRACTION_BITS` fixed point; 0: no way."""
    reached: dict[Address, int] = {token_in: 1 << FRACTION_BITS}
    best = 0
    for _ in range(hops):
        further: dict[Address, int] = {}
        for token, rate in reached.items():
            for other, edges in graph.edges.get(token, {}).items():
                found = max(_through(edge, rate) for edge in edges)
                if found > further.get(other, 0):
                    further[other] = found
        best = max(best, further.get(token_out, 0))
        reached = further
    return best


def rate_asked(price: Ratio, *, sells_base: bool) -> int:
    """The rate that a limit price asks for, rounded down, to be compared with `best_rate` of the same direction."""
    rate = price if sells_base else price.inverse
    return (rate.num << FRACTION_BITS) // rate.den


def best_rates(graph: PoolGraph, base: Address, quote: Address) -> Mapping[bool, int]:
    """`best_rate` for who sells base (True) and for who buys it (False)."""
    return {True: best_rate(graph, base, quote), False: best_rate(graph, quote, base)}


def _through(edge: Edge, rate: int) -> int:
    """What is left of a rate after a pool, rounded up."""
    mid = edge.pool.state.mid_price
    price = mid if edge.zero_for_one else mid.inverse
    return -(-rate * price.num * (PIPS - edge.pool.key.fee_pips) // (price.den * PIPS))
