"""The largest part of an order that the pools fill inside its limit now: what an IOC order takes.

A part is inside when its average price is (a swap has one limit for all of it), gas counted where the order counts it,
and its impact within the bound. Average prices only get worse with the size, so that without gas the parts inside are
those up to a size, which is found by halving. Gas is the same for a small part and a large one: counted, it makes the
smallest parts dear, and the parts inside are an interval, since what is left over its limit rises and then falls with
the size. A part of it is looked for where most is left over; from there up it is halved again.

Guarantees: the answer is a quote that was judged inside, of the one view that all were looked at on; parts are whole
steps of the market. Not guaranteed: the very last step: the size is found to 2^-`HALVINGS` of the whole, and route
choice may make the surplus jump by less than that. What is left over is not traded later.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from contracts.errors import AmountTooSmall, InsufficientLiquidity, TicksNotLoaded
from contracts.routing.gas import GasPricing
from service.build import ChainRuntime
from service.markets.quotes import PricedTrade, price_at, tokens_of
from service.markets.state.model import MarketView
from service.markets.trades import Side, Trade
from service.orders.keeper.deciding import Terms

HALVINGS: Final = 24
PEAK_LOOKS: Final = 20
"""Parts looked at for where most is left over."""
MOST_LOADS: Final = 16
"""Loads of more ticks for one order."""

Judge = Callable[[PricedTrade], bool]
"""Whether a priced part may trade as it is."""


async def largest_part(
    runtime: ChainRuntime, trade: Trade, view: MarketView, *, terms: Terms, slippage_bps: int, step: int, fits: Judge
) -> PricedTrade | None:
    """Of a trade with a base amount; None when no part fits.

    Raises: ChainError: the node did not answer, or fees are above the caps.
    """
    size = trade.base_amount or 0
    fees = await runtime.fees.suggested(runtime.client, block=view.block)
    tokens = tokens_of(runtime, trade)
    # Who does not count gas has the largest part by the ways that pay most.
    routed_by = None if terms.counts_gas else GasPricing.free()
    for _ in range(MOST_LOADS):

        def look(steps: int, on: MarketView = view) -> PricedTrade | None:
            part = replace(trade, base_amount=min(size, steps * step))
            try:
                return price_at(runtime, part, on, fees=fees, slippage_bps=slippage_bps, routed_by=routed_by)
            except (InsufficientLiquidity, AmountTooSmall):
                return None

        try:
            return await _search(look, size // step, terms=terms, fits=fits)
        except TicksNotLoaded as exc:
            await runtime.states.more(exc.pool, exc.word)
            view = await runtime.states.view(tokens)
    raise InsufficientLiquidity("the pools' ticks are not loaded so far")


async def _search(
    look: Callable[[int], PricedTrade | None], most: int, *, terms: Terms, fits: Judge
) -> PricedTrade | None:
    low, best = 0, None
    high = most + 1
    if terms.counts_gas:
        low, best, high = await _peak(look, most, terms=terms, fits=fits)
        if best is None:
            return None
    for _ in range(HALVINGS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        found = look(middle)
        if found is not None and fits(found):
            low, best = middle, found
        else:
            high = middle
        # A quote takes milliseconds: others have their turn between two.
        await asyncio.sleep(0)
    return best


async def _peak(
    look: Callable[[int], PricedTrade | None], most: int, *, terms: Terms, fits: Judge
) -> tuple[int, PricedTrade | None, int]:
    """A part that fits, found on the way to where most is left over, and a size above it that does not."""
    low, high = 1, most
    for _ in range(PEAK_LOOKS):
        if high < low:
            break
        left = low + (high - low) // 2
        right = min(high, left + max(1, (high - low) // 16))
        one, other = look(left), look(right)
        for at, found in ((right, other), (left, one)):
            if found is not None and fits(found):
                return at, found, most + 1
        await asyncio.sleep(0)
        if other is not None and one is not None and surplus(terms, other) > surplus(terms, one):
            low = right + 1
        else:
            high = left - 1
    return 0, None, 0


def surplus(terms: Terms, priced: PricedTrade) -> int:
    """What is left over the limit price, gas taken off, in quote base units; negative: outside."""
    quote, gas = priced.quote, priced.gas_value or 0
    if terms.side is Side.SELL:
        return quote.amount_out - gas - terms.price.times_up(quote.amount_in)
    return terms.price.times(quote.amount_out) - quote.amount_in - gas
