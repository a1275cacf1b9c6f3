"""Candidate routes of a trade: pure functions over pool states.

A route stays with one venue, since one router sends it: a single pool, or two pools with a connector token between.
Guarantees: deterministic order; a pool that cannot pay the amount is not in a candidate. Not guaranteed: that the
best route has at most two hops, or goes through one path alone (routing comes with exact pool maths).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from chains.types import Address
from contracts.deployments import Venue
from contracts.pools import PoolState
from contracts.ratio import Ratio

Exact = Literal["in", "out"]
"""Which amount is fixed: the sold one or the bought one."""

POOLS_A_LEG: Final = 2
"""Of the pools between two tokens, how many are tried in a two-hop route: 2 x 2 quotes a connector and venue."""
EXACT_OUT_HEADROOM: Final = 2
"""An exact-output route of two hops may need far more of the connector than the mid price says, which the first
pool must hold. Asking for twice keeps QuoterV2 from walking a drained pool's ticks to the end (20 million gas)."""
PIPS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One pool of a route."""

    venue: Venue
    token_in: Address
    token_out: Address
    fee_pips: int
    pool: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Hops from the sold token to the bought one. `mid_price` is bought for sold base units, without fees."""

    venue: Venue
    hops: tuple[Hop, ...]
    mid_price: Ratio

    @property
    def tokens(self) -> tuple[Address, ...]:
        return (self.hops[0].token_in, *(hop.token_out for hop in self.hops))

    @property
    def fees_pips(self) -> tuple[int, ...]:
        return tuple(hop.fee_pips for hop in self.hops)


def legs(token_in: Address, token_out: Address, *, connectors: Iterable[Address]) -> list[tuple[Address, ...]]:
    """Token paths: direct, then through each connector that is neither end."""
    return [(token_in, token_out)] + [
        (token_in, middle, token_out) for middle in connectors if middle not in (token_in, token_out)
    ]


def candidates(
    states: Sequence[PoolState], paths: Iterable[tuple[Address, ...]], *, amount: int, exact: Exact
) -> list[Route]:
    """Routes along `paths` whose pools hold enough of what they pay."""
    routes = []
    for path in paths:
        for venue in Venue:
            pools = [state for state in states if state.key.venue is venue]
            for chain in _chains(pools, path):
                if _can_pay(chain, path, amount=amount, exact=exact):
                    routes.append(_route(venue, chain, path=path))
    return routes


def has_route(states: Sequence[PoolState], paths: Iterable[tuple[Address, ...]]) -> bool:
    """Whether pools connect the ends of any path, whatever they hold."""
    return any(
        next(iter(_chains([state for state in states if state.key.venue is venue], path)), None) is not None
        for path in paths
        for venue in Venue
    )


def combined_fee_pips(fees_pips: Iterable[int]) -> int:
    """Pool fees of a whole route, rounded up: 1 - product of (1 - fee)."""
    kept, scale = 1, 1
    for fee in fees_pips:
        kept *= PIPS - fee
        scale *= PIPS
    return PIPS - PIPS * kept // scale


def price_impact_bps(route: Route, *, amount_in: int, amount_out: int) -> int:
    """How much less than at the mid price was bought, pool fees aside; basis points, rounded half up, never negative.

    expected = amount_in x product of (1 - fee) x mid price; impact = 1 - amount_out / expected.
    """
    num, den = amount_in * route.mid_price.num, route.mid_price.den
    for fee in route.fees_pips:
        num *= PIPS - fee
        den *= PIPS
    # 10_000 x (num/den - amount_out) / (num/den), with one half added before the floor.
    return max(0, (2 * 10_000 * (num - amount_out * den) + num) // (2 * num))


def _chains(pools: Sequence[PoolState], path: tuple[Address, ...]) -> Iterable[tuple[PoolState, ...]]:
    between = [[pool for pool in pools if pool.key.pair == frozenset(ends)] for ends in pairwise(path)]
    if len(between) == 1:
        return [(pool,) for pool in between[0]]
    first, second = (_deepest(leg, token) for leg, token in zip(between, path[1:], strict=True))
    return [(one, two) for one in first for two in second]


def _deepest(pools: Sequence[PoolState], token_out: Address) -> list[PoolState]:
    return sorted(pools, key=lambda pool: (-pool.holding_of(token_out), pool.address))[:POOLS_A_LEG]


def _can_pay(chain: tuple[PoolState, ...], path: tuple[Address, ...], *, amount: int, exact: Exact) -> bool:
    """Whether each pool holds what the trade is worth at mid prices.

    A pool pays at most its holding and never better than its mid price, so that a trade worth more cannot be filled;
    and a V3 pool that holds the worth of an exact input fills it before its ticks end.
    """
    if exact == "in":
        for pool, token_in, token_out in zip(chain, path, path[1:], strict=False):
            amount = pool.price_from(token_in).times(amount)
            if amount > pool.holding_of(token_out):
                return False
        return True
    headroom = 1 if len(chain) == 1 else EXACT_OUT_HEADROOM
    for pool, token_in, token_out in reversed(list(zip(chain, path, path[1:], strict=False))):
        if amount * headroom > pool.holding_of(token_out):
            return False
        amount = pool.price_from(token_in).inverse.times_up(amount)
    return True


def _route(venue: Venue, chain: tuple[PoolState, ...], *, path: tuple[Address, ...]) -> Route:
    hops = tuple(
        Hop(venue=venue, token_in=token_in, token_out=token_out, fee_pips=pool.key.fee_pips, pool=pool.address)
        for pool, token_in, token_out in zip(chain, path, path[1:], strict=False)
    )
    mid = chain[0].price_from(path[0])
    for pool, token_in in zip(chain[1:], path[1:], strict=False):
        mid = mid * pool.price_from(token_in)
    return Route(venue=venue, hops=hops, mid_price=mid)
