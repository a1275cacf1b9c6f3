"""The steps of a market: price tick, base step, least notional, by one written rule, as an exchange publishes filters.

    tick   six significant digits of the price: 10^(d - 5) for a price of 10^d up to 10^(d + 1), where a price from
           0.8 counts as 1, so that a pair at par does not change its tick twice a minute. A tick that was published
           stays until the price leaves 0.5 to 20 times the power of ten that it was made for. Never below 1e-18.
    step   1e-8 of base, or one base unit of an asset with fewer decimals: the exchanges' eight places.
    least  the smallest power of ten of quote worth 80 cents or more by the quote's feed (1 USDC, 0.001 ETH; a stable
           coin a little below par keeps its 1); where no feed says, what was published last, else one base unit.

Guarantees: integers only; the same inputs give the same filters; a process that is asked again keeps its tick.
Not guaranteed: that two processes publish the same tick while a price is between two; both are right to trade at.
"""

from dataclasses import dataclass, replace
from typing import Final

from chains.units import format_units
from contracts.assets import Market
from contracts.chainlink import FeedAnswer
from contracts.ratio import Ratio

DIGITS: Final = 6
"""Significant digits of a price at its tick."""
MAX_TICK_PLACES: Final = 18
MAX_STEP_PLACES: Final = 8
LEAST_USD_CENTS: Final = 80
_PAR_FROM: Final = (8, 10)
"""Prices from this fraction of a power of ten count as that power."""
_KEPT_FROM: Final = (1, 2)
_KEPT_BELOW: Final = (20, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """`tick` is 10^-`tick_places` of quote for one base (a negative count of places is a tick above one); `step` and
    `least_quote` are base units of base and quote. `made_for`: the power of ten of the price that gave the tick."""

    tick_places: int
    step: int
    least_quote: int
    made_for: int

    def tick_text(self) -> str:
        """The tick as decimal text."""
        return tick_text(1, places=self.tick_places)

    def price_text(self, ticks: int) -> str:
        """A price of that many ticks as decimal text."""
        return tick_text(ticks, places=self.tick_places)


def derive(market: Market, *, price: Ratio, quote_usd: FeedAnswer | None, before: Filters | None = None) -> Filters:
    """The market's filters at a price, in quote base units for a base base unit. `before`: what was published last."""
    base, quote = market.base, market.quote
    whole = Ratio.of(price.num * 10**base.decimals, price.den * 10**quote.decimals)
    made_for = _power_of_ten(whole, _PAR_FROM)
    if before is not None and _is_kept(whole, before.made_for):
        made_for = before.made_for
    return Filters(
        tick_places=min(DIGITS - 1 - made_for, MAX_TICK_PLACES),
        step=base_step(market),
        least_quote=before.least_quote
        if before is not None and quote_usd is None
        else _least(quote.decimals, quote_usd),
        made_for=made_for,
    )


def base_step(market: Market) -> int:
    """The step of base amounts, in base units; it does not depend on the price."""
    step: int = 10 ** max(0, market.base.decimals - MAX_STEP_PLACES)
    return step


def coarser(filters: Filters, times: int) -> Filters:
    """The same with a tick of 10, 100 or 1,000 times: for looking at a book from farther away."""
    return replace(filters, tick_places=filters.tick_places - (len(str(times)) - 1))


def tick_ratio(market: Market, filters: Filters) -> Ratio:
    """One tick, in quote base units for a base base unit."""
    places = filters.tick_places
    num, den = 10**market.quote.decimals, 10**market.base.decimals
    return Ratio.of(num, den * 10**places) if places >= 0 else Ratio.of(num * 10**-places, den)


def tick_text(ticks: int, *, places: int) -> str:
    """`ticks` of 10^-`places` as decimal text."""
    return format_units(ticks, places) if places >= 0 else format_units(ticks * 10**-places, 0)


def _power_of_ten(value: Ratio, par: tuple[int, int]) -> int:
    """The largest d with value >= par x 10^d."""
    num, den = value.num * par[1], value.den * par[0]
    guess = len(str(num)) - len(str(den))
    return guess if _at_least(num, den, guess) else guess - 1


def _is_kept(value: Ratio, power: int) -> bool:
    low, high = _KEPT_FROM, _KEPT_BELOW
    return _at_least(value.num * low[1], value.den * low[0], power) and not _at_least(
        value.num * high[1], value.den * high[0], power
    )


def _at_least(num: int, den: int, power: int) -> bool:
    up: int = 10 ** max(0, power)
    down: int = 10 ** max(0, -power)
    return num * down >= den * up


def _least(decimals: int, usd: FeedAnswer | None) -> int:
    if usd is None:
        return 1
    # So many cents of it, in base units, rounded up to a power of ten.
    worth: int = -(-LEAST_USD_CENTS * 10 ** (decimals + usd.decimals) // (100 * usd.answer))
    power: int = 10 ** (len(str(worth)) - 1)
    return worth if worth == power else 10 * power
