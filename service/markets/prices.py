"""Prices as decimal text, by integer arithmetic only.

A price is units of the quote asset for one unit of the base asset. Text is truncated to `SIGNIFICANT` digits, which
is for reading; amounts are exact and are what is traded.
"""

from typing import Final

from chains.units import BPS, format_units
from contracts.assets import Market
from contracts.ratio import Ratio

SIGNIFICANT: Final = 12
"""Digits of a price. More than any pool's fee or tick distinguishes, few enough to read."""
MAX_PLACES: Final = 60
"""Digits after the point at most, for prices that are practically nothing."""


def ratio_text(numerator: int, denominator: int) -> str:
    """`numerator` over `denominator`, both not negative, as decimal text of `SIGNIFICANT` digits, truncated."""
    if denominator <= 0 or numerator < 0:
        raise ValueError("a ratio needs a positive denominator and no negative numerator")
    if numerator == 0:
        return "0"
    exponent = len(str(numerator)) - len(str(denominator))
    places = min(max(0, SIGNIFICANT - exponent), MAX_PLACES)
    scaled = numerator * 10**places // denominator
    surplus = len(str(scaled)) - SIGNIFICANT
    if surplus > 0 and places > 0:
        drop = min(surplus, places)
        scaled //= 10**drop
        places -= drop
    return format_units(scaled, places)


def price_text(*, base_raw: int, base_decimals: int, quote_raw: int, quote_decimals: int) -> str | None:
    """What one unit of base costs in quote, from two raw amounts; None when no base moved."""
    if base_raw == 0:
        return None
    return ratio_text(quote_raw * 10**base_decimals, base_raw * 10**quote_decimals)


def market_ratio_text(ratio: Ratio, market: Market) -> str:
    """A price in quote base units for a base base unit, as what one whole unit of base costs."""
    return ratio_text(ratio.num * 10**market.base.decimals, ratio.den * 10**market.quote.decimals)


def bps_between(value: tuple[int, int], reference: tuple[int, int]) -> int:
    """How far a ratio (numerator, denominator) is from a reference, in basis points, signed, rounded to zero."""
    above = value[0] * reference[1] - reference[0] * value[1]
    size = abs(above) * BPS // (reference[0] * value[1])
    return size if above >= 0 else -size
