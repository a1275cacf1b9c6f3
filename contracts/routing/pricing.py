"""A route's prices: mid, impact and pool fees, by what each leg's output would have cost at its own mid price.

Counted by cost, not by what the input would give: a pool with dust in it may have any mid price at all, and its leg, as
small as it is, would be all that is seen of a route of many.

Guarantees: integers; for a route of one leg the figures of contracts.routes. What is rounded says which way.
"""

from collections.abc import Sequence
from typing import Final

from chains.types import BlockRef, ChainId
from contracts.assets import Asset
from contracts.deployments import Router
from contracts.ratio import Ratio
from contracts.routes import PIPS, Exact
from contracts.routing.gas import mid_price
from contracts.routing.model import Leg, RoutedSwap
from contracts.routing.paths import Path

_BITS: Final = 128
"""Fraction bits of what a leg would cost at its mid price."""
_BPS: Final = 10_000


def routed_swap(
    *,
    chain_id: ChainId,
    router: Router,
    paths: Sequence[Path],
    legs: tuple[Leg, ...],
    sold: Asset,
    bought: Asset,
    exact: Exact,
    gas_estimate: int,
    block: BlockRef,
) -> RoutedSwap:
    """Legs that were executed along `paths`, with what they cost beside the mid price of the states before them."""
    amount_in, amount_out = sum(leg.amount_in for leg in legs), sum(leg.amount_out for leg in legs)
    cost, after_fees = 0, 0
    for path, leg in zip(paths, legs, strict=True):
        mid = mid_price(path)
        cost += (leg.amount_out * mid.den << _BITS) // mid.num
        kept, units = _kept(path)
        after_fees += (leg.amount_in * kept << _BITS) // units
    return RoutedSwap(
        chain_id=chain_id,
        router=router,
        legs=legs,
        sold=sold,
        bought=bought,
        exact=exact,
        amount_in=amount_in,
        amount_out=amount_out,
        gas_estimate=gas_estimate,
        mid_price=Ratio.of(amount_out << _BITS, max(cost, 1)),
        price_impact_bps=_impact_bps(after_fees, cost),
        lp_fee_pips=PIPS - _nearest(PIPS * after_fees, amount_in << _BITS),
        block=block,
    )


def _kept(path: Path) -> tuple[int, int]:
    """The part of an input that remains after all fees of a path, and of how much."""
    kept, units = 1, 1
    for edge in path:
        kept *= PIPS - edge.pool.key.fee_pips
        units *= PIPS
    return kept, units


def _impact_bps(paid: int, cost: int) -> int:
    """How much of what was paid, after fees, the output would not have cost; rounded half up, never negative."""
    return 0 if paid <= 0 else max(0, _nearest(_BPS * (paid - cost), paid))


def _nearest(num: int, den: int) -> int:
    """Rounded half up."""
    return (2 * num + den) // (2 * den)
