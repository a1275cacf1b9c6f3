"""Exact conversion between base units (`int`) and decimal text: the one place that shifts decimals.

Guarantees: no float and no rounding; what cannot be represented exactly is refused. `parse_units` and
`format_units` are inverse on canonical text. Basis-point helpers say which way they round.
"""

import re
from typing import Final

MAX_UINT256: Final = 2**256 - 1
BPS: Final = 10_000
"""Basis points in one whole."""
MAX_DECIMALS: Final = 77
"""10**77 is the largest power of ten below 2**256."""

_AMOUNT: Final = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?", re.ASCII)


class InvalidAmount(ValueError):
    """The text is not a plain decimal number that fits the asset."""


def parse_units(text: str, decimals: int) -> int:
    """Decimal text -> base units. `parse_units("1.5", 6) == 1_500_000`.

    Accepts plain ASCII decimals only: no sign, exponent, blanks, leading zeros, `NaN`.

    Raises:
        InvalidAmount: other text, more fractional digits than `decimals` (unless they are zeros), or a
            value over uint256.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise InvalidAmount("an amount is a plain decimal number such as 12 or 0.5, without sign or exponent")
    whole, fraction = match.group(1), match.group(2) or ""
    kept = fraction.rstrip("0")
    if len(kept) > decimals:
        raise InvalidAmount(f"at most {decimals} digits after the decimal point are possible here")
    value: int = int(whole) * 10**decimals + (int(kept) * 10 ** (decimals - len(kept)) if kept else 0)
    if value > MAX_UINT256:
        raise InvalidAmount("the amount is larger than 2^256 - 1 base units")
    return value


def format_units(raw: int, decimals: int) -> str:
    """Base units -> decimal text in fixed point, no trailing zeros. `format_units(1_500_000, 6) == "1.5"`.

    Negative values (differences) keep their sign.
    """
    sign = "-" if raw < 0 else ""
    digits = str(abs(raw)).rjust(decimals + 1, "0")
    if decimals == 0:
        return sign + digits
    whole, fraction = digits[:-decimals], digits[-decimals:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def mul_div(a: int, b: int, denominator: int) -> int:
    """`floor(a * b / denominator)` for non-negative ints, as Uniswap's FullMath.mulDiv."""
    return a * b // denominator


def mul_div_up(a: int, b: int, denominator: int) -> int:
    """`ceil(a * b / denominator)` for non-negative ints."""
    return -(-a * b // denominator)


def less_bps(amount: int, bps: int) -> int:
    """`amount` less `bps` basis points, rounded up: a minimum that is never looser than asked."""
    return mul_div_up(amount, BPS - bps, BPS)


def plus_bps(amount: int, bps: int) -> int:
    """`amount` plus `bps` basis points, rounded down: a maximum that is never looser than asked."""
    return mul_div(amount, BPS + bps, BPS)
