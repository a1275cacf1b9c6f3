"""What a routed trade is: pools with their states, the paths it takes through them, and the amounts that each moves.

    GraphPool   a pool's identity (which factory, which tokens, which fee) and its state at a block
    Leg         one path from the sold token to the bought one, with its share of the trade
    RoutedSwap  all legs of one trade, sent in one transaction of one router, with what it costs and why it was chosen

Guarantees: plain frozen values, equal when what they say is equal; amounts are base units. Not guaranteed: that the
states are of one block, or recent: who puts a graph together says so (`RoutedSwap.block`).
"""

from dataclasses import dataclass

from chains.types import Address, BlockRef, ChainId
from contracts.assets import Asset
from contracts.deployments import Router, Venue
from contracts.pools import PoolKey
from contracts.ratio import Ratio
from contracts.routes import Exact, Hop
from contracts.uniswap_v2.pool import V2Pool
from contracts.uniswap_v3.pool import V3Pool

__all__ = ["Exact", "GraphPool", "Hop", "Leg", "RoutedSwap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPool:
    """A pool of a pinned factory, and its state."""

    key: PoolKey
    state: V2Pool | V3Pool

    @property
    def address(self) -> Address:
        return self.state.address

    def zero_for_one(self, token_in: Address) -> bool:
        """Which direction of the pool a hop from that token takes."""
        return token_in == self.key.token0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One path. Its tokens are what `hops` name: the wrapped token stands for the native asset.

    `asked_out` matters for exact output only: what the router is asked for, where rounding in V2 pools makes it deliver
    more (`amount_out`). The legs' sum of it is what the whole trade was asked for. None: the same as `amount_out`.
    """

    hops: tuple[Hop, ...]
    amount_in: int
    amount_out: int
    asked_out: int | None = None

    @property
    def tokens(self) -> tuple[Address, ...]:
        return (self.hops[0].token_in, *(hop.token_out for hop in self.hops))

    @property
    def exact_out(self) -> int:
        """Exact output: what the leg asks the router for."""
        return self.amount_out if self.asked_out is None else self.asked_out

    @property
    def venues(self) -> frozenset[Venue]:
        return frozenset(hop.venue for hop in self.hops)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedSwap:
    """A trade as it would execute in the block after `block`. Amounts are sums over the legs.

    With exact output, `amount_out` is at least what was asked for; more only by what V2 rounding inside a split of
    SwapRouter02 adds. `gas_estimate` is for comparing, showing and reserving; a transaction's limit is simulated.
    `mid_price` is bought for sold base units without fees, of the legs together, each by what its output costs there.
    """

    chain_id: ChainId
    router: Router
    legs: tuple[Leg, ...]
    sold: Asset
    bought: Asset
    exact: Exact
    amount_in: int
    amount_out: int
    gas_estimate: int
    mid_price: Ratio
    price_impact_bps: int
    lp_fee_pips: int
    block: BlockRef
