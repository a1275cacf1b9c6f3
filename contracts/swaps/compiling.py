"""From a route and its limits to the call of a pinned router.

Guarantees: the call is the encoding of a `Swap` (`encoding.encode_swap`), so that its limits hold on-chain for the
whole trade. Not guaranteed: that the limit is a good one (the caller derives it from a guarded price).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chains.types import Address, CallRequest
from contracts.assets import AssetList, TokenAmount
from contracts.deployments import Deployments
from contracts.errors import UnsafeSwap
from contracts.routing.model import Leg, RoutedSwap
from contracts.swaps.encoding import encode_swap
from contracts.swaps.model import Swap, SwapLeg


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapCall:
    """A swap ready to be simulated and signed. `spender` needs an allowance of `spend`, unless that is native."""

    call: CallRequest
    spender: Address
    spend: TokenAmount


def compile_route(
    routed: RoutedSwap,
    *,
    deployments: Deployments,
    assets: AssetList,
    recipient: Address,
    max_in: int,
    min_out: int,
    deadline_s: int,
) -> SwapCall:
    """The one transaction that trades along the route's legs within these limits of the whole trade.

    The exact side must be the route's: for exact input `max_in` is the sum of what the legs sell, for exact output
    `min_out` the sum of what they ask for (`Leg.exact_out`). With exact output each leg may sell its share of `max_in`,
    in proportion to what it needs: a leg that needs more than that reverts the trade, even if another one needs less.

    Raises:
        UnsafeSwap: the exact side differs, the hops do not meet, or `encode_swap` refuses.
    """
    legs = routed.legs
    quoted = sum(leg.amount_in if routed.exact == "in" else leg.exact_out for leg in legs)
    _check_exact(max_in if routed.exact == "in" else min_out, quoted)
    needed = [leg.amount_in for leg in legs]
    most = needed if routed.exact == "in" else shares(max_in, needed)
    swap = Swap(
        chain_id=routed.chain_id,
        router=routed.router.address,
        sold=routed.sold,
        bought=routed.bought,
        exact=routed.exact,
        max_in=max_in,
        min_out=min_out,
        recipient=recipient,
        deadline_s=deadline_s,
        legs=tuple(
            SwapLeg(
                path=_path(leg),
                venues=tuple(hop.venue for hop in leg.hops),
                fees_pips=tuple(hop.fee_pips for hop in leg.hops),
                max_in=share,
                exact_out=leg.exact_out if routed.exact == "out" else 0,
            )
            for leg, share in zip(legs, most, strict=True)
        ),
    )
    return _compiled(swap, deployments=deployments, assets=assets)


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in proportion to positive `weights`, without a rest: the units that rounding leaves go to the largest.

    No share is below its weight when `total` is at least their sum. Raises: UnsafeSwap: a weight is not positive.
    """
    if not weights or min(weights) <= 0:
        raise UnsafeSwap("each leg of a route sells something")
    parts = [total * weight // sum(weights) for weight in weights]
    parts[weights.index(max(weights))] += total - sum(parts)
    return parts


def _check_exact(fixed: int, wanted: int) -> None:
    if fixed != wanted:
        raise UnsafeSwap(f"the exact amount is {wanted}, as quoted, not {fixed}")


def _path(leg: Leg) -> tuple[Address, ...]:
    """The tokens that the hops visit. Raises: UnsafeSwap: a hop does not begin where the one before ended."""
    if not leg.hops:
        raise UnsafeSwap("a path has a pool")
    tokens = leg.tokens
    if any(hop.token_in != token for hop, token in zip(leg.hops, tokens, strict=False)):
        raise UnsafeSwap("a hop does not begin where the one before ended")
    return tokens


def _compiled(swap: Swap, *, deployments: Deployments, assets: AssetList) -> SwapCall:
    call = encode_swap(swap, deployments=deployments, assets=assets)
    return SwapCall(call=call, spender=swap.router, spend=TokenAmount(asset=swap.sold, raw=swap.max_in))
