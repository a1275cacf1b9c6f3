"""A route's prices: mid, impact and pool fees, each leg counted by its share of the input.

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
"""Fraction bits of what a leg would give at its mid price."""
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
    at_mid, after_fees = 0, 0
    for path, leg in zip(paths, legs, strict=True):
        mid = mid_price(path)
        given = (leg.amount_in * mid.num << _BITS) // mid.den
        at_mid += given
        kept, units = _kept(path)
        after_fees += given * kept // units
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
        mid_price=Ratio.of(max(at_mid, 1), amount_in << _BITS),
        price_impact_bps=_impact_bps(after_fees, amount_out << _BITS),
        lp_fee_pips=PIPS - PIPS * after_fees // max(at_mid, 1),
        block=block,
    )


def _kept(path: Path) -> tuple[int, int]:
    """The part of an input that remains after all fees of a path, and of how much."""
    kept, units = 1, 1
    for edge in path:
        kept *= PIPS - edge.pool.key.fee_pips
        units *= PIPS
    return kept, units


def _impact_bps(expected: int, given: int) -> int:
    """How much less than expected was given; rounded half up, never negative."""
    if expected <= 0:
        return 0
    return max(0, (2 * _BPS * (expected - given) + expected) // (2 * expected))
