"""The pools as they will be once our own swaps that are on their way have been executed.

A resting order that fits the pools of the head may not fit them after another order of ours, decided a moment before:
many orders rest near one price, and a price that a few of them can have is not there for all. So each is also priced
on what those before it leave.

Guarantees: pure; amounts are those of the pools' own maths; a swap whose limit does not hold any more moves nothing, as
on the chain. Not guaranteed: the order in which a block has them, or what others swap in between. The limit on the
chain is for that.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from chains.types import Address
from contracts.deployments import Deployments, RouterKind
from contracts.errors import QuoteError
from contracts.pools import PoolKey
from contracts.routing.execution import Executed, Share, State, execute_and_keep
from contracts.routing.graph import Edge
from contracts.routing.model import GraphPool
from contracts.swaps.model import Swap, SwapLeg, router_at


def after(
    pools: Mapping[Address, GraphPool], swaps: Iterable[Swap], *, deployments: Deployments
) -> Mapping[Address, GraphPool]:
    """The pools after the swaps, in their order. The very same mapping, where none of them moves any of it.

    Raises: TicksNotLoaded: a swap leaves the loaded words of a pool.
    """
    moved = pools
    by_key = {pool.key: address for address, pool in pools.items()}
    for swap in swaps:
        states = _executed(moved, by_key, swap, deployments=deployments)
        if states:
            changed = {address: GraphPool(key=moved[address].key, state=state) for address, state in states.items()}
            moved = {**moved, **changed}
    return moved


def _executed(
    pools: Mapping[Address, GraphPool], by_key: Mapping[PoolKey, Address], swap: Swap, *, deployments: Deployments
) -> Mapping[Address, State]:
    """The pools that it moves. None, where it has a pool that is not among these, or would be reverted."""
    shares: list[Share] = []
    for leg in swap.legs:
        edges = _edges(pools, by_key, leg)
        if edges is None:
            return {}
        shares.append(Share(edges, leg.max_in if swap.exact == "in" else leg.exact_out))
    router = router_at(deployments, swap.chain_id, swap.router)
    try:
        done, states = execute_and_keep(shares, swap.exact, rounds_v2_up=router.kind is RouterKind.SWAP_ROUTER_02)
    except QuoteError:
        return {}
    return states if _is_within(done, swap) else {}


def _edges(
    pools: Mapping[Address, GraphPool], by_key: Mapping[PoolKey, Address], leg: SwapLeg
) -> tuple[Edge, ...] | None:
    edges = []
    for ends, venue, fee_pips in zip(pairwise(leg.path), leg.venues, leg.fees_pips, strict=True):
        key = PoolKey.of(venue, ends, fee_pips=fee_pips)
        if (address := by_key.get(key)) is None:
            return None
        edges.append(Edge(pool=pools[address], zero_for_one=ends[0] == key.token0))
    return tuple(edges)


def _is_within(done: Executed, swap: Swap) -> bool:
    if swap.exact == "in":
        return done.amount_out >= swap.min_out
    # Each leg has its own share of the maximum.
    return all(leg.amount_in <= most.max_in for leg, most in zip(done.legs, swap.legs, strict=True))
