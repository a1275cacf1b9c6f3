"""Pool states after somebody has taken every cyclic arbitrage there is, as somebody always has.

Guarantees: each step is a swap that the pools would do, with their fees; ends when no cycle of up to three pools gains
more than a millionth at the margin, or a base unit in all. Without it the convex bound holds money that no trade from
one token to another can get.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from typing import Final

from chains.types import Address
from contracts.errors import QuoteError
from contracts.routing.curves import RATE_BITS, curve_of, joined
from contracts.routing.execution import Share, execute
from contracts.routing.graph import Edge
from contracts.routing.model import GraphPool
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import quoting as v3
from contracts.uniswap_v3.pool import V3Pool

LEAST_GAIN: Final = (1 << RATE_BITS) // 1_000_000
"""Of a unit sent round, at the margin."""
STEPS: Final = 2_000
_HALVINGS: Final = 120


Way = tuple[Address, bool]
"""A pool and a direction."""


def without_arbitrage(pools: Sequence[GraphPool]) -> list[GraphPool]:
    """The pools after the arbitrage. Raises: RuntimeError: there is still some after very many steps."""
    states = {pool.address: pool for pool in pools}
    cycles = list(_cycles(pools))
    rates = {(pool.address, down): _rate(pool, down) for pool in pools for down in (True, False)}
    for _ in range(STEPS):
        path, amount = _best_cycle(cycles, states, rates)
        if not amount:
            return list(states.values())
        for edge in path:
            state = edge.pool.state
            if isinstance(state, V3Pool):
                quote = v3.quote_exact_in(state, amount, zero_for_one=edge.zero_for_one)
                after: V3Pool | v2.V2Pool = v3.swapped(state, quote, zero_for_one=edge.zero_for_one)
                amount = quote.amount_out
            else:
                swap = v2.quote_exact_in(state, amount, zero_for_one=edge.zero_for_one)
                after = v2.swapped(state, swap, zero_for_one=edge.zero_for_one)
                amount = swap.amount_out
            moved = states[state.address] = GraphPool(key=edge.pool.key, state=after)
            for down in (True, False):
                rates[state.address, down] = _rate(moved, down)
    raise RuntimeError("the pools still disagree")


def _best_cycle(
    cycles: Sequence[tuple[Way, ...]], states: Mapping[Address, GraphPool], rates: Mapping[Way, int]
) -> tuple[tuple[Edge, ...], int]:
    """The cycle with the best rate of those that gain, and how much to send round; nothing where none gains."""
    rising = [(_round(cycle, rates), cycle) for cycle in cycles]
    for rate, cycle in sorted(rising, reverse=True):
        if rate <= (1 << RATE_BITS) + LEAST_GAIN:
            break
        path = tuple(Edge(pool=states[address], zero_for_one=down) for address, down in cycle)
        amount = _best_amount(path)
        # What is left at the margin may be less than a base unit.
        if _gain(path, amount) > 0:
            return path, amount
    return (), 0


def _cycles(pools: Sequence[GraphPool]) -> Iterator[tuple[Way, ...]]:
    edges = [Edge(pool=pool, zero_for_one=down) for pool in pools for down in (True, False)]
    for count in (2, 3):
        for cycle in permutations(edges, count):
            # Each cycle once: the first token is the least.
            if cycle[0].token_in != min(edge.token_in for edge in cycle):
                continue
            if len({edge.pool.address for edge in cycle}) == count and all(
                one.token_out == other.token_in for one, other in zip(cycle, (*cycle[1:], cycle[0]), strict=True)
            ):
                yield tuple((edge.pool.address, edge.zero_for_one) for edge in cycle)


def _rate(pool: GraphPool, down: bool) -> int:
    return curve_of(Edge(pool=pool, zero_for_one=down), "in")(0).rate


def _round(cycle: Sequence[Way], rates: Mapping[Way, int]) -> int:
    rate = 1 << RATE_BITS
    for way in cycle:
        rate = joined(rate, rates[way])
    return rate


def _best_amount(cycle: tuple[Edge, ...]) -> int:
    """Of concave gains the greatest, by thirds."""
    low, high = 1, 1 << 90
    while not _fills(cycle, high):
        high //= 2
    while not _fills(cycle, low):
        low *= 2
    for _ in range(_HALVINGS):
        third = (high - low) // 3
        if not third:
            break
        if _gain(cycle, low + third) < _gain(cycle, high - third):
            low += third
        else:
            high -= third
    return low


def _fills(cycle: tuple[Edge, ...], amount: int) -> bool:
    try:
        _gain(cycle, amount)
    except QuoteError:
        return False
    return True


def _gain(cycle: tuple[Edge, ...], amount: int) -> int:
    return execute([Share(cycle, amount)], "in", rounds_v2_up=True).amount_out - amount
