"""Which ticks of a V3 pool are initialised, with how much liquidity, and over which words that is known.

Guarantees: immutable; a tick is in the map exactly while its gross liquidity is not zero, as in the pool's bitmap.
Not guaranteed: anything beyond the loaded words; who walks there gets `TicksNotLoaded` (quoting.py).
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Final, NamedTuple

from contracts.errors import InconsistentPool
from contracts.uniswap_v3.maths import MAX_TICK, MAX_UINT128, MIN_TICK

WORD_BITS: Final = 256
"""Ticks, in units of the spacing, in one word of TickBitmap. A swap stops at each word's end."""


class TickLiquidity(NamedTuple):
    """Tick.Info of the pool: `net` is added to the liquidity when the price crosses upwards."""

    gross: int
    net: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WordRange:
    """Positions `first` to `last` of TickBitmap, both included."""

    first: int
    last: int

    @classmethod
    def all_of(cls, tick_spacing: int) -> "WordRange":
        """Every word that can hold a tick."""
        return cls(first=word_of(MIN_TICK, tick_spacing), last=word_of(MAX_TICK, tick_spacing))

    def lowest_tick(self, tick_spacing: int) -> int:
        return self.first * WORD_BITS * tick_spacing

    def highest_tick(self, tick_spacing: int) -> int:
        return (self.last * WORD_BITS + WORD_BITS - 1) * tick_spacing


@dataclass(frozen=True, slots=True, kw_only=True)
class TickMap:
    """The initialised ticks, ascending, of the loaded words. Make one with `of`."""

    spacing: int
    loaded: WordRange
    initialized: tuple[int, ...]
    liquidity: Mapping[int, TickLiquidity]

    @classmethod
    def of(cls, spacing: int, liquidity: Mapping[int, TickLiquidity], *, loaded: WordRange | None = None) -> "TickMap":
        """`loaded` is every word when None. Raises: InconsistentPool: a tick that cannot be there."""
        words = loaded if loaded is not None else WordRange.all_of(spacing)
        lowest, highest = words.lowest_tick(spacing), words.highest_tick(spacing)
        for tick, (gross, net) in liquidity.items():
            if tick % spacing or not MIN_TICK <= tick <= MAX_TICK or not lowest <= tick <= highest:
                raise InconsistentPool(f"tick {tick} cannot be initialised in words {words.first} to {words.last}")
            if not 0 < gross <= MAX_UINT128 or abs(net) > gross:
                raise InconsistentPool(f"tick {tick} has gross liquidity {gross} and net liquidity {net}")
        return cls(
            spacing=spacing,
            loaded=words,
            initialized=tuple(sorted(liquidity)),
            liquidity=MappingProxyType(dict(liquidity)),
        )

    @property
    def is_complete(self) -> bool:
        """All words are loaded."""
        return self.reaches_end(zero_for_one=True) and self.reaches_end(zero_for_one=False)

    def reaches_end(self, *, zero_for_one: bool) -> bool:
        """No word that could hold a tick lies beyond those loaded, in one direction."""
        every = WordRange.all_of(self.spacing)
        return self.loaded.first <= every.first if zero_for_one else every.last <= self.loaded.last

    def covers(self, tick: int) -> bool:
        return self.loaded.lowest_tick(self.spacing) <= tick <= self.loaded.highest_tick(self.spacing)

    def between(self, above: int, up_to: int) -> tuple[int, ...]:
        """Initialised ticks with `above < tick <= up_to`."""
        return self.initialized[bisect_left(self.initialized, above + 1) : bisect_left(self.initialized, up_to + 1)]

    def with_position(self, lower: int, upper: int, *, delta: int) -> "TickMap":
        """After `delta` of liquidity was added (removed, when negative) between two ticks.

        Ends beyond the loaded words are left out. Raises: InconsistentPool: more is removed than there is.
        """
        liquidity = dict(self.liquidity)
        ticks = self.initialized
        for tick, net_delta in ((lower, delta), (upper, -delta)):
            if not self.covers(tick):
                continue
            old = liquidity.get(tick)
            gross, net = (old.gross + delta, old.net + net_delta) if old is not None else (delta, net_delta)
            if gross < 0:
                raise InconsistentPool(f"{-delta} of liquidity leaves tick {tick}, which holds {gross - delta}")
            at = bisect_left(ticks, tick)
            if gross == 0:
                if old is not None:
                    del liquidity[tick]
                    ticks = ticks[:at] + ticks[at + 1 :]
                continue
            liquidity[tick] = TickLiquidity(gross, net)
            if old is None:
                ticks = (*ticks[:at], tick, *ticks[at:])
        return TickMap(
            spacing=self.spacing, loaded=self.loaded, initialized=ticks, liquidity=MappingProxyType(liquidity)
        )

    def check(self, tick: int, liquidity: int) -> None:
        """That the liquidity in range at `tick` is what the ticks below add up to; only a complete map can tell.

        Raises: InconsistentPool: the answers that this was built from do not belong together.
        """
        if not self.is_complete:
            return
        levels = list(accumulate(self.liquidity[each].net for each in self.initialized))
        here = bisect_left(self.initialized, tick + 1)
        if (levels[here - 1] if here else 0) != liquidity or (levels and (levels[-1] or min(levels) < 0)):
            raise InconsistentPool(f"the ticks do not add up to the liquidity {liquidity} at tick {tick}")


def word_of(tick: int, tick_spacing: int) -> int:
    """Position of the word that holds a tick's bit (TickBitmap.position, rounding towards minus infinity)."""
    return tick // tick_spacing >> 8
