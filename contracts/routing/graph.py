"""Pools as a graph of tokens: who trades with whom, in a fixed order.

Guarantees: the same pools in any order give an equal graph, so that a route does not depend on how they were read.
Pools that cannot trade (no price yet, an empty reserve) are left out. Not guaranteed: that a pool is deep enough for
anything; `depth` only compares pools of the same two tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt
from types import MappingProxyType

from chains.types import Address
from contracts.deployments import Venue
from contracts.errors import InconsistentPool
from contracts.routing.model import GraphPool, Hop
from contracts.uniswap_v2.pool import V2Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A pool in one direction."""

    pool: GraphPool
    zero_for_one: bool

    @property
    def token_in(self) -> Address:
        return self.pool.key.token0 if self.zero_for_one else self.pool.key.token1

    @property
    def token_out(self) -> Address:
        return self.pool.key.token1 if self.zero_for_one else self.pool.key.token0

    @property
    def hop(self) -> Hop:
        key = self.pool.key
        return Hop(
            venue=key.venue,
            token_in=self.token_in,
            token_out=self.token_out,
            fee_pips=key.fee_pips,
            pool=self.pool.address,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolGraph:
    """The pools between tokens. `edges[one][other]` are those from one token to another, the deepest first."""

    pools: tuple[GraphPool, ...]
    edges: Mapping[Address, Mapping[Address, tuple[Edge, ...]]]

    @classmethod
    def of(cls, pools: Iterable[GraphPool]) -> "PoolGraph":
        """Raises: InconsistentPool: two different states of one pool."""
        known: dict[Address, GraphPool] = {}
        for pool in pools:
            if known.setdefault(pool.address, pool) != pool:
                raise InconsistentPool(f"two states of the pool {pool.address}")
        ordered = sorted(filter(_trades, known.values()), key=_order)
        found: dict[Address, dict[Address, list[Edge]]] = {}
        for pool in ordered:
            for zero_for_one in (True, False):
                edge = Edge(pool=pool, zero_for_one=zero_for_one)
                found.setdefault(edge.token_in, {}).setdefault(edge.token_out, []).append(edge)
        edges = {
            one: MappingProxyType({other: tuple(between) for other, between in sorted(others.items())})
            for one, others in sorted(found.items())
        }
        return cls(pools=tuple(ordered), edges=MappingProxyType(edges))

    def only(self, venues: frozenset[Venue]) -> "PoolGraph":
        """The part that trades on these venues."""
        if venues.issuperset(pool.key.venue for pool in self.pools):
            return self
        return PoolGraph.of(pool for pool in self.pools if pool.key.venue in venues)

    def between(self, one: Address, other: Address) -> tuple[Edge, ...]:
        return self.edges.get(one, {}).get(other, ())

    def neighbours(self, token: Address) -> Iterable[Address]:
        return self.edges.get(token, {})


def depth(pool: GraphPool) -> int:
    """Liquidity at the price: sqrt(token0 x token1) of what a pool over all prices would hold. In V3's own units."""
    state = pool.state
    return isqrt(state.reserve0 * state.reserve1) if isinstance(state, V2Pool) else state.liquidity


def _trades(pool: GraphPool) -> bool:
    state = pool.state
    if isinstance(state, V2Pool):
        return state.reserve0 > 0 and state.reserve1 > 0
    return state.sqrt_price_x96 > 0


def _order(pool: GraphPool) -> tuple[str, str, int, str, int, str]:
    key = pool.key
    return key.token0, key.token1, -depth(pool), key.venue, key.fee_pips, pool.address
