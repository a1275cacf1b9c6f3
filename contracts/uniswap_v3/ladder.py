"""The stops of a swap in one direction, with cumulative sums of what reaching each one costs and gives.

A swap goes from stop to stop: initialised ticks, and the ends of the bitmap's words, where it rounds too. A full step
between two stops always costs and gives the same, and `floor(rem*(1e6-fee)/1e6) >= a` is the same as
`rem >= a + ceil(a*fee/(1e6-fee))`, so that a bisect over the sums finds the last full step exactly. Stops without
liquidity before them cost nothing and are left out, up to the next initialised tick.

Guarantees: bit-equal to walking the stops (tests do both); a `Rungs` is never changed, so that old states keep theirs.
Built lazily, as far as quotes went; shared by all states between which only the price moved, and whose liquidity must
then fit. Not guaranteed: that the first state's liquidity belongs to its ticks (`TickMap.check` says so at loading).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from contracts.errors import InconsistentPool
from contracts.uniswap_v3.maths import FEE_UNITS, MAX_SQRT_RATIO, MIN_SQRT_RATIO, get_sqrt_ratio_at_tick
from contracts.uniswap_v3.ticks import WORD_BITS, TickMap

LOWEST_LIMIT: Final = MIN_SQRT_RATIO + 1
HIGHEST_LIMIT: Final = MAX_SQRT_RATIO - 1
"""Where a swap ends at the latest: the limits that QuoterV2 and SwapRouter02 pass for "no limit"."""
_FIRST_RUNGS: Final = 16
"""Stops built at first; each extension doubles what is there, so that copying stays linear."""
_JOINED_AT_MOST: Final = 512
"""Stops built before the old ones when the price went back behind them; further away a ladder starts anew."""


class Position(NamedTuple):
    """Where a swap is, as UniswapV3Pool.SwapState has it."""

    sqrt_price_x96: int
    tick: int
    liquidity: int


class _Rung(NamedTuple):
    """One stop: what the step to it costs (fee included) and gives, and the position after it."""

    key: int
    cost: int
    gain: int
    initialized: bool
    after: Position


class Start(NamedTuple):
    """Where a step begins, with the products that its formulas take, and the sums up to there."""

    price: int
    liquidity: int
    shifted: int
    """liquidity << 96"""
    product: int
    """-(liquidity << 96) * price; negative, so that a floor division rounds up"""
    paid: int
    received: int
    crossed: int

    @classmethod
    def of(cls, position: "Position", *, paid: int, received: int, crossed: int) -> "Start":
        price, _, liquidity = position
        shifted = liquidity << 96
        return cls(price, liquidity, shifted, -shifted * price, paid, received, crossed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rungs:
    """Stops in the direction of travel. Sums run from an arbitrary zero: only differences mean something.

    `keys` are ticks, negated on the way down, so that they ascend. `starts[i]` is where the step to stop i begins, at
    the stop before it, and counts the initialised ticks up to there; there is one more for what follows the last stop.
    The very first is where the ladder was begun. `is_end` says that there are no more stops: nothing but zero liquidity
    follows, or words that are not loaded.
    """

    keys: list[int]
    prices: list[int]
    paid: list[int]
    received: list[int]
    starts: list[Start]
    is_end: bool


class Ladder:
    """All stops of one direction that were asked for so far. `ticks` never changes; a new map gets a new ladder."""

    __slots__ = ("_fee_pips", "_reaches_end", "_rungs", "_ticks", "zero_for_one")

    def __init__(self, ticks: TickMap, fee_pips: int, *, zero_for_one: bool) -> None:
        self.zero_for_one: Final = zero_for_one
        self._ticks: Final = ticks
        self._fee_pips: Final = fee_pips
        self._reaches_end: Final = ticks.reaches_end(zero_for_one=zero_for_one)
        self._rungs: Rungs | None = None

    def rungs_from(self, position: Position) -> tuple[Rungs, int]:
        """The stops, and the index of the first one ahead of `position`: the length, where none is.

        Raises: InconsistentPool: the liquidity there is not what the ticks say.
        """
        start = next(self._walk(position), None)
        if start is None:
            return _NONE, 0
        rungs = self._rungs
        if rungs is None:
            rungs = self._built(position, _FIRST_RUNGS)
        if start.key < rungs.keys[0]:
            rungs = self._joined(position, rungs)
        while rungs.keys[-1] < start.key and not rungs.is_end:
            rungs = self._extended(rungs)
        at = bisect_left(rungs.keys, start.key)
        lies_on_it = at < len(rungs.keys) and rungs.keys[at] == start.key
        if not lies_on_it or rungs.starts[at].liquidity != position.liquidity:
            raise InconsistentPool(f"the liquidity at tick {position.tick} is not what the ticks say")
        self._rungs = rungs
        return rungs, at

    def extend(self) -> None:
        """Build as many stops again."""
        if self._rungs is not None and not self._rungs.is_end:
            self._rungs = self._extended(self._rungs)

    def cost_to(self, position: Position, sqrt_price_x96: int) -> tuple[int, int]:
        """Paid (fee included) and received for moving the price to a stop without crossing anything before it."""
        price, _, liquidity = position
        if liquidity == 0 or price == sqrt_price_x96:
            return 0, 0
        lower, upper = (sqrt_price_x96, price) if self.zero_for_one else (price, sqrt_price_x96)
        change = liquidity * (upper - lower)
        # get_amount0_delta and get_amount1_delta, the paid one rounded up, the received one down.
        if self.zero_for_one:
            amount_in, received = -(-(change << 96) // upper // lower), change >> 96
        else:
            amount_in, received = -(-change >> 96), (change << 96) // upper // lower
        fee = self._fee_pips
        return amount_in - (-amount_in * fee // (FEE_UNITS - fee)), received

    def _walk(self, position: Position) -> Iterator[_Rung]:
        ticks, down = self._ticks, self.zero_for_one
        while (stop := self._next_stop(position)) is not None:
            price = get_sqrt_ratio_at_tick(stop)
            at = ticks.liquidity.get(stop)
            if not LOWEST_LIMIT <= price <= HIGHEST_LIMIT:
                # Only with a spacing that divides MAX_TICK: the swap ends one short of the last tick, uncrossed.
                price, at = (LOWEST_LIMIT if down else HIGHEST_LIMIT), None
            cost, gain = self.cost_to(position, price)
            liquidity = position.liquidity
            if at is not None:
                liquidity += -at.net if down else at.net
            position = Position(price, stop - 1 if down else stop, liquidity)
            yield _Rung(-stop if down else stop, cost, gain, at is not None, position)

    def _next_stop(self, position: Position) -> int | None:
        """TickBitmap.nextInitializedTickWithinOneWord from there; None where nothing (known) follows."""
        ticks, tick, liquidity = self._ticks, position.tick, position.liquidity
        spacing, initialized = ticks.spacing, ticks.initialized
        if self.zero_for_one:
            word = tick // spacing >> 8
            end, at = word * WORD_BITS * spacing, bisect_right(initialized, tick) - 1
        else:
            word = (tick // spacing + 1) >> 8
            end, at = (word * WORD_BITS + WORD_BITS - 1) * spacing, bisect_right(initialized, tick)
        if not ticks.loaded.first <= word <= ticks.loaded.last:
            return None
        if 0 <= at < len(initialized):
            if liquidity == 0:
                return initialized[at]
            return max(initialized[at], end) if self.zero_for_one else min(initialized[at], end)
        return None if self._reaches_end else end

    def _built(self, position: Position, count: int) -> Rungs:
        return self._appended(_NONE, position, count)

    def _extended(self, rungs: Rungs) -> Rungs:
        tick = -rungs.keys[-1] - 1 if self.zero_for_one else rungs.keys[-1]
        last = Position(rungs.prices[-1], tick, rungs.starts[-1].liquidity)
        return self._appended(rungs, last, len(rungs.keys))

    def _joined(self, position: Position, old: Rungs) -> Rungs:
        """New stops from `position` up to the first old one, with sums that go on into the old ones."""
        new = self._appended(_NONE, position, _JOINED_AT_MOST, until=old.keys[0])
        if new.keys[-1] != old.keys[0]:
            return new
        if new.starts[-1].liquidity != old.starts[1].liquidity:
            raise InconsistentPool(f"the liquidity at tick {position.tick} is not what the ticks say")
        paid, received = old.paid[0] - new.paid[-1], old.received[0] - new.received[-1]
        crossed = old.starts[1].crossed - new.starts[-1].crossed
        moved = [
            each._replace(paid=each.paid + paid, received=each.received + received, crossed=each.crossed + crossed)
            for each in new.starts[:-1]
        ]
        return Rungs(
            keys=new.keys[:-1] + old.keys,
            prices=new.prices[:-1] + old.prices,
            paid=[each + paid for each in new.paid[:-1]] + old.paid,
            received=[each + received for each in new.received[:-1]] + old.received,
            starts=moved + old.starts[1:],
            is_end=old.is_end,
        )

    def _appended(self, rungs: Rungs, position: Position, count: int, *, until: int | None = None) -> Rungs:
        keys, prices, starts = list(rungs.keys), list(rungs.prices), list(rungs.starts)
        paid, received = list(rungs.paid), list(rungs.received)
        if not starts:
            starts.append(Start.of(position, paid=0, received=0, crossed=0))
        cost, gain, ticks = starts[-1][-3:]
        wanted = len(keys) + count
        is_end = True
        for rung in self._walk(position):
            cost += rung.cost
            gain += rung.gain
            ticks += rung.initialized
            keys.append(rung.key)
            prices.append(rung.after.sqrt_price_x96)
            paid.append(cost)
            received.append(gain)
            starts.append(Start.of(rung.after, paid=cost, received=gain, crossed=ticks))
            if len(keys) == wanted or rung.key == until:
                is_end = False
                break
        return Rungs(keys=keys, prices=prices, paid=paid, received=received, starts=starts, is_end=is_end)


_NONE: Final = Rungs(keys=[], prices=[], paid=[], received=[], starts=[], is_end=True)
