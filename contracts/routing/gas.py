"""What a route's gas is likely to be, and what gas is worth in the asset by which routes are compared.

The figures are fits over some hundreds of swaps of all shapes on local chains; a test holds estimates against receipts.
They are for comparing routes and for showing: a transaction's limit comes from its simulation. Guarantees: integers,
more hops and legs never cost less. Not guaranteed: tokens whose transfers cost far more than a plain one's, or oracles
of V3 pools with a large cardinality.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import Address
from contracts.assets import Asset, AssetList
from contracts.deployments import RouterKind, Venue
from contracts.ratio import Ratio
from contracts.routes import Exact
from contracts.routing.graph import PoolGraph
from contracts.routing.paths import Path, find_paths

# Gas units. Pools that trade every day: what the first swap of a new pool writes into empty slots comes on top.
BASE: Final = 38_000
"""SwapRouter02: the transaction, its calldata, the multicall, a first transfer in and a last one out."""
ROUTER_02_BASE: Final = 40_000
"""The same of a Router02, which is called once, and its one leg."""
LEG: Final = 10_000
"""A call in the multicall, its calldata and checks."""
SECTION: Final = 13_000
"""A change of version inside a leg: one more call, one more transfer, from the router."""
V3_HOP: Final = 67_000
V3_HOP_AGAIN: Final = 34_000
"""Through a pool that an earlier leg has touched."""
V2_HOP: Final = 58_000
V2_HOP_AGAIN: Final = 23_000
V3_TICK: Final = 40_000
"""An initialised tick that is crossed."""
COLLECT: Final = 17_000
"""A last step that sends what the legs left in the router."""
WRAP: Final = 8_000
UNWRAP: Final = 18_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GasPricing:
    """`price_wei` for one gas; `wei_value`: base units of the asset to be judged in for one wei of the native asset.

    Judged in is the bought asset with exact input, the sold one with exact output.
    """

    price_wei: int
    wei_value: Ratio

    @classmethod
    def free(cls) -> "GasPricing":
        """Gas left out."""
        return cls(price_wei=0, wei_value=Ratio(num=1, den=1))

    @classmethod
    def of(cls, graph: PoolGraph, *, assets: AssetList, judged: Asset, price_wei: int) -> "GasPricing":
        """With the native asset's price in `judged` from the graph's own pools; free where they do not connect them.

        The mid price along the way of fewest hops and deepest pools: gas is a small part of a trade, and the pools that
        are asked are those that the trade is about.
        """
        wrapped, token = assets.wrapped.token_address, assets.token_of(judged).token_address
        if token == wrapped:
            return cls(price_wei=price_wei, wei_value=Ratio(num=1, den=1))
        ways = find_paths(graph, wrapped, token)
        return cls(price_wei=price_wei, wei_value=mid_price(ways[0])) if ways else cls.free()

    def cost(self, gas: int) -> int:
        """Base units of the asset that the gas is worth, rounded up."""
        return self.wei_value.times_up(gas * self.price_wei)


@dataclass(frozen=True, slots=True, kw_only=True)
class GasModel:
    """The gas of routes through one kind of router."""

    kind: RouterKind
    exact: Exact
    native_in: bool
    native_out: bool

    def route(self, paths: Sequence[Path], *, ticks_crossed: int) -> int:
        """Of a whole transaction."""
        gas = V3_TICK * ticks_crossed + WRAP * self.native_in + UNWRAP * self.native_out
        seen: set[Address] = set()
        for path in paths:
            gas += _hops(path, seen)
        if self.kind is RouterKind.ROUTER_02:
            return gas + ROUTER_02_BASE
        gas += BASE + LEG * len(paths) + (COLLECT if self._is_collected(paths) else 0)
        return gas

    def _is_collected(self, paths: Sequence[Path]) -> bool:
        """As contracts.swaps.swap_router_02.is_collected; UNWRAP is it with native output."""
        if self.native_out:
            return False
        if self.exact == "in":
            return len(paths) > 1
        return any(edge.pool.key.venue is not Venue.UNISWAP_V3 for path in paths for edge in path)


def mid_price(path: Path) -> Ratio:
    """Base units of the path's last token for one of its first, without fees."""
    ratio = Ratio(num=1, den=1)
    for edge in path:
        mid = edge.pool.state.mid_price
        ratio = ratio * (mid if edge.zero_for_one else mid.inverse)
    return ratio


def judged_asset(sold: Asset, bought: Asset, exact: Exact) -> Asset:
    """The asset whose amount is not fixed, in which gas is counted."""
    return bought if exact == "in" else sold


def _hops(path: Path, seen: set[Address]) -> int:
    gas, before = 0, None
    for edge in path:
        key, address = edge.pool.key, edge.pool.state.address
        is_v3 = key.venue is Venue.UNISWAP_V3
        if address in seen:
            gas += V3_HOP_AGAIN if is_v3 else V2_HOP_AGAIN
        else:
            gas += V3_HOP if is_v3 else V2_HOP
            seen.add(address)
        if before is not None and before is not is_v3:
            gas += SECTION
        before = is_v3
    return gas
