"""Exact prices: a fraction of two ints, in base units of one asset for a base unit of another.

Guarantees: no rounding inside; each use that rounds says which way. No float anywhere.
"""

from dataclasses import dataclass
from math import gcd

from chains.units import format_units, mul_div, mul_div_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """`num / den`, both positive, in lowest terms when made by `Ratio.of`."""

    num: int
    den: int

    @classmethod
    def of(cls, num: int, den: int) -> "Ratio":
        """Raises: ValueError: not a positive fraction."""
        if num <= 0 or den <= 0:
            raise ValueError("a ratio needs two positive numbers")
        common = gcd(num, den)
        return cls(num=num // common, den=den // common)

    def __mul__(self, other: "Ratio") -> "Ratio":
        return Ratio.of(self.num * other.num, self.den * other.den)

    @property
    def inverse(self) -> "Ratio":
        return Ratio(num=self.den, den=self.num)

    def times(self, amount: int) -> int:
        """`amount` at this price, rounded down."""
        return mul_div(amount, self.num, self.den)

    def times_up(self, amount: int) -> int:
        """`amount` at this price, rounded up."""
        return mul_div_up(amount, self.num, self.den)

    def text(self, *, base_decimals: int, quote_decimals: int, digits: int) -> str:
        """Whole units of the quote asset for one whole unit of the base asset, as decimal text, rounded down.

        The ratio is quote base units for a base base unit.
        """
        scaled = self.num * 10 ** (base_decimals + digits) // (self.den * 10**quote_decimals)
        return format_units(scaled, digits)
