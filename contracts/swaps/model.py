"""The plain description of a swap: all that its calldata says, and the rules that it must keep.

    Swap      one transaction of one router: what is sold, bought, at which limits, to whom, until when
    SwapLeg   one path of it, with its share

Guarantees: a `Swap` that `check` lets pass cannot spend more than `max_in` nor give less than `min_out` to `recipient`
without reverting, whatever the pools do. Not guaranteed: that the limits are good ones, or that it would succeed; a
bought token that keeps a part of each transfer (the routers count before the last one; such tokens are not listed).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import ZERO_ADDRESS, Address, ChainId
from contracts.assets import Asset, AssetList
from contracts.deployments import WRAPPED_NATIVE, Deployments, Router, RouterKind, Venue
from contracts.errors import UnknownDeployment, UnsafeSwap
from contracts.pools import V2_FEE
from contracts.quoting import MAX_TRADE
from contracts.routes import Exact

MAX_HOPS: Final = 4
"""Pools of one leg."""
MAX_LEGS: Final = 16
"""Paths of one trade. With eight, trades of a tenth of what the pools hold get 0.2 % less than with sixteen (measured:
`scripts.bench routing`); more than fifteen are hardly ever worth anything."""
MAX_DEADLINE_S: Final = 2**40
"""Unix seconds; far beyond any date, and what milliseconds given by mistake exceed."""
MSG_SENDER: Final = Address("0x0000000000000000000000000000000000000001")
"""SwapRouter02's Constants.MSG_SENDER. We always name the recipient."""
ROUTER_ITSELF: Final = Address("0x0000000000000000000000000000000000000002")
"""SwapRouter02's Constants.ADDRESS_THIS: the coins stay in the router for the step that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapLeg:
    """One path from the sold token to the bought one. Amounts in base units.

    `path` has token addresses, the wrapped token where the asset is native; `venues` and `fees_pips` say which pool is
    between two of them (a V3 tier, or 3,000 for V2). `max_in` is what the leg sells (exact input) or may sell at most
    (exact output). `exact_out` is what it buys with exact output, and 0 with exact input, where only the whole trade
    has a minimum.
    """

    path: tuple[Address, ...]
    venues: tuple[Venue, ...]
    fees_pips: tuple[int, ...]
    max_in: int
    exact_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What a swap's calldata does. Amounts in base units.

    Exact "in": `max_in` is sold, at least `min_out` bought. Exact "out": `min_out` is bought (on SwapRouter02 more by
    what rounding in V2 pools adds), at most `max_in` sold. The legs are executed in their order.
    """

    chain_id: ChainId
    router: Address
    sold: Asset
    bought: Asset
    exact: Exact
    max_in: int
    min_out: int
    recipient: Address
    deadline_s: int
    legs: tuple[SwapLeg, ...]

    @property
    def native_in(self) -> bool:
        return self.sold.is_native

    @property
    def native_out(self) -> bool:
        return self.bought.is_native


def one_leg(
    path: Sequence[Address], fees_pips: Sequence[int], *, venue: Venue, exact: Exact, max_in: int, min_out: int
) -> tuple[SwapLeg, ...]:
    """The legs of a swap along one path of one venue, which has the whole trade's amounts."""
    return (
        SwapLeg(
            path=tuple(path),
            venues=(venue,) * len(fees_pips),
            fees_pips=tuple(fees_pips),
            max_in=max_in,
            exact_out=min_out if exact == "out" else 0,
        ),
    )


def router_at(deployments: Deployments, chain_id: ChainId, address: Address) -> Router:
    """The registry's router with that address. Raises: UnsafeSwap: there is none."""
    try:
        routers = deployments.routers(chain_id)
    except UnknownDeployment as exc:
        raise UnsafeSwap(str(exc)) from exc
    for router in routers:
        if router.address == address:
            return router
    raise UnsafeSwap("the router is not one of the registry")


def check(swap: Swap, *, deployments: Deployments, assets: AssetList) -> Router:
    """That the swap protects its sender; the router that it goes to.

    Raises:
        UnsafeSwap: no limit, no deadline, a recipient that is zero, a contract of the registry or a listed token,
            a router that is not the registry's or does not trade so, a path that does not lead from `sold` to
            `bought`, or legs whose amounts are not the whole trade's.
    """
    router = router_at(deployments, swap.chain_id, swap.router)
    if not 0 < swap.min_out <= MAX_TRADE or not 0 < swap.max_in <= MAX_TRADE:
        raise UnsafeSwap("a swap needs a limit: both amounts are between 1 and 2^128 - 1")
    if not 0 < swap.deadline_s < MAX_DEADLINE_S:
        raise UnsafeSwap("the deadline is a Unix time in seconds")
    forbidden = {ZERO_ADDRESS, MSG_SENDER, ROUTER_ITSELF, *deployments.contracts(swap.chain_id).values()}
    if swap.recipient in forbidden or assets.find_address(swap.recipient) is not None:
        raise UnsafeSwap("the recipient is no account: coins sent there are lost")
    if swap.sold not in assets or swap.bought not in assets or assets.chain_id != swap.chain_id:
        raise UnsafeSwap("both assets must be listed on the chain")
    if not 0 < len(swap.legs) <= (MAX_LEGS if router.kind is RouterKind.SWAP_ROUTER_02 else 1):
        raise UnsafeSwap("the router does not take so many paths in one transaction")
    wrapped = deployments.address(swap.chain_id, WRAPPED_NATIVE)
    ends = (swap.sold.address or wrapped, swap.bought.address or wrapped)
    for leg in swap.legs:
        _check_leg(leg, router=router, assets=assets, ends=ends, exact=swap.exact)
    _check_amounts(swap)
    return router


def _check_leg(leg: SwapLeg, *, router: Router, assets: AssetList, ends: tuple[Address, Address], exact: Exact) -> None:
    """Each token at most once, hence also: no leg passes through what another one sells or buys, so that a step which
    takes the router's whole balance of a token never takes another leg's coins."""
    if not 2 <= len(leg.path) <= MAX_HOPS + 1 or (leg.path[0], leg.path[-1]) != ends:
        raise UnsafeSwap("the path does not lead from the sold asset to the bought one")
    if len(set(leg.path)) != len(leg.path) or any(assets.find_address(token) is None for token in leg.path):
        raise UnsafeSwap("the path visits each listed token at most once")
    if not len(leg.venues) == len(leg.fees_pips) == len(leg.path) - 1:
        raise UnsafeSwap("the path has one pool between two tokens")
    if not router.venues.issuperset(leg.venues):
        raise UnsafeSwap("the router does not trade with such pools")
    if exact == "out" and len(set(leg.venues)) != 1:
        raise UnsafeSwap("a path through pools of several versions has no exact output")
    for venue, fee in zip(leg.venues, leg.fees_pips, strict=True):
        if venue is not Venue.UNISWAP_V3 and fee != V2_FEE:
            raise UnsafeSwap("the pools of a V2 venue have one fee")


def _check_amounts(swap: Swap) -> None:
    """The limits of the whole trade hold because the legs' add up to them, or because a last step enforces them."""
    if any(leg.max_in <= 0 for leg in swap.legs) or sum(leg.max_in for leg in swap.legs) != swap.max_in:
        raise UnsafeSwap("the legs together may sell exactly the limit, and each something (0 means all there is)")
    if swap.exact == "in":
        if any(leg.exact_out for leg in swap.legs):
            raise UnsafeSwap("with exact input only the whole trade has a minimum")
    elif any(leg.exact_out <= 0 for leg in swap.legs) or sum(leg.exact_out for leg in swap.legs) != swap.min_out:
        raise UnsafeSwap("the legs together buy exactly what was asked for, and each something")
