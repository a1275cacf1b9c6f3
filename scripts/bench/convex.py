"""An upper bound for any router: the dual of routing as a convex problem, over the same pools, without gas.

At prices v of the tokens no route gives more than v[sold] * amount + the sum of what each pool would lose to an
arbitrageur who trades at v; the least of that over all v is the optimum of any number of splits and hops (Angeris and
others, "Optimal Routing for Constant Function Market Makers"). Every v gives a valid bound, so that stopping early is
safe: the bound is then too high, never too low. In floats: relative errors of 1e-12 do not matter to a bar of 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chains.types import Address
from contracts.routing.model import GraphPool
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v3.maths import FEE_UNITS, get_sqrt_ratio_at_tick

SWEEPS: Final = 400
ENOUGH: Final = 1e-10
"""A sweep over all tokens that improves the bound by less, relative, is the last."""
HALVINGS: Final = 50
_Q96: Final = 2.0**96


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """`segments`: (lower, upper, liquidity) in square roots of token1 for token0, ascending."""

    token0: Address
    token1: Address
    kept: float
    root: float
    segments: tuple[tuple[float, float, float], ...]

    def inflow(self, value0: float, value1: float) -> tuple[float, float]:
        """Token amounts into the pool (negative: out of it), fees included, when others trade at these values."""
        down, up = math.sqrt(value0 / (value1 * self.kept)), math.sqrt(value0 * self.kept / value1)
        if self.root > down:
            amount0, amount1 = self._between(down, self.root)
            return amount0 / self.kept, -amount1
        if self.root < up:
            amount0, amount1 = self._between(self.root, up)
            return -amount0, amount1 / self.kept
        return 0.0, 0.0

    def _between(self, low: float, high: float) -> tuple[float, float]:
        amount0 = amount1 = 0.0
        for lower, upper, liquidity in self.segments:
            start, end = max(low, lower), min(high, upper)
            if end > start:
                amount0 += liquidity * (1 / start - 1 / end)
                amount1 += liquidity * (end - start)
        return amount0, amount1


def upper_bound(pools: Sequence[GraphPool], sold: Address, bought: Address, amount: int) -> float:
    """Base units of `bought` that no way of selling `amount` exceeds."""
    known = [_pool(pool) for pool in pools]
    values = _start(known, bought)
    free = [token for token in values if token != bought]
    best = math.inf
    for _ in range(SWEEPS):
        for token in free:
            values[token] = _settled(known, values, token, offered=float(amount) if token == sold else 0.0)
        found = _dual(known, values, sold, float(amount))
        if found > best * (1 - ENOUGH):
            return min(found, best)
        best = found
    return best


def _dual(pools: Sequence[_Pool], values: dict[Address, float], sold: Address, amount: float) -> float:
    total = values[sold] * amount
    for pool in pools:
        value0, value1 = values[pool.token0], values[pool.token1]
        amount0, amount1 = pool.inflow(value0, value1)
        total -= value0 * amount0 + value1 * amount1
    return total


def _settled(pools: Sequence[_Pool], values: dict[Address, float], token: Address, *, offered: float) -> float:
    """The token's value at which the pools take what is offered and no more: the derivative of the dual is zero."""
    near = [pool for pool in pools if token in (pool.token0, pool.token1)]

    def excess(value: float) -> float:
        taken = 0.0
        for pool in near:
            if pool.token0 == token:
                taken += pool.inflow(value, values[pool.token1])[0]
            else:
                taken += pool.inflow(values[pool.token0], value)[1]
        return taken - offered

    low = high = values[token]
    step = 1.001
    # The dearer a token is outside, the less of it the pools are given.
    while excess(low) < 0:
        low /= step
        step *= step
    step = 1.001
    while excess(high) > 0:
        high *= step
        step *= step
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        if excess(middle) > 0:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def _start(pools: Sequence[_Pool], bought: Address) -> dict[Address, float]:
    """Values at the pools' prices, in the bought token."""
    values = {bought: 1.0}
    while True:
        before = len(values)
        for pool in pools:
            price = pool.root**2
            if pool.token1 in values and pool.token0 not in values:
                values[pool.token0] = values[pool.token1] * price
            elif pool.token0 in values and pool.token1 not in values:
                values[pool.token1] = values[pool.token0] / price
        if len(values) == before:
            return values


def _pool(pool: GraphPool) -> _Pool:
    state = pool.state
    if isinstance(state, V2Pool):
        root = math.sqrt(state.reserve1 / state.reserve0)
        liquidity = math.sqrt(float(state.reserve0) * float(state.reserve1))
        segments: tuple[tuple[float, float, float], ...] = ((0.0, math.inf, liquidity),)
        kept = state.fee.kept / state.fee.whole
    else:
        root = state.sqrt_price_x96 / _Q96
        kept = 1 - state.fee_pips / FEE_UNITS
        found, liquidity_here = [], 0
        ticks = state.ticks.initialized
        for lower, upper in pairwise(ticks):
            liquidity_here += state.ticks.liquidity[lower].net
            if liquidity_here:
                ends = get_sqrt_ratio_at_tick(lower) / _Q96, get_sqrt_ratio_at_tick(upper) / _Q96
                found.append((*ends, float(liquidity_here)))
        segments = tuple(found)
    return _Pool(token0=pool.key.token0, token1=pool.key.token1, kept=kept, root=root, segments=segments)
