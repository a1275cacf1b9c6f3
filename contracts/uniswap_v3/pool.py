"""A V3 pool at one block, as a frozen value, and what the pool's events make of it.

    load (reading.py) -> V3Pool -> apply(Swap | Mint | Burn | Initialize) -> V3Pool -> ...

Guarantees: a state never changes; the same events in the same order give the state that the chain has; a Swap costs
microseconds, whatever it crossed, since ladders belong to the ticks and not to the price. Equality compares the state
alone. Not guaranteed: that the events are all there were; `apply` sees only what it is given.
"""

from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from chains.types import Address
from contracts.errors import InconsistentPool
from contracts.ratio import Ratio
from contracts.uniswap_v3.ladder import Ladder, Position, Rungs, Start
from contracts.uniswap_v3.maths import FEE_UNITS, MAX_SQRT_RATIO, MAX_TICK, MAX_UINT128, MIN_SQRT_RATIO, MIN_TICK, Q96
from contracts.uniswap_v3.ticks import TickMap

Q192: Final = Q96**2


class Side:
    """One direction from one state: its ladder's lists, the next stop's index in them, and where the state is.

    `next_cost` and `next_gain` are what the step to the next stop costs and gives; zero where there is none. `products`
    repeats the first fields of `here`, in a plain tuple, which Python unpacks in half the time.
    """

    __slots__ = (
        "first",
        "here",
        "is_end",
        "kept_pips",
        "next_cost",
        "next_gain",
        "paid",
        "prices",
        "products",
        "received",
        "starts",
    )

    def __init__(self, rungs: Rungs, first: int, *, here: Start, fee_pips: int) -> None:
        has_stops = first < len(rungs.keys)
        self.prices: Final = rungs.prices
        self.paid: Final = rungs.paid
        self.received: Final = rungs.received
        self.starts: Final = rungs.starts
        self.is_end: Final = rungs.is_end
        self.first: Final = first
        self.here: Final = here
        self.products: Final = (here.price, here.liquidity, here.shifted, here.product)
        self.next_cost: Final = rungs.paid[first] - here.paid if has_stops else 0
        self.next_gain: Final = rungs.received[first] - here.received if has_stops else 0
        self.kept_pips: Final = FEE_UNITS - fee_pips

    def start(self, at: int) -> Start:
        """Where the step to stop `at` begins (at or after `first`): here, or at the stop before."""
        return self.here if at == self.first else self.starts[at]


class _Memo:
    """What was worked out for a state; derived from it alone, so that nothing depends on when."""

    __slots__ = ("down", "ladder_down", "ladder_up", "up")

    def __init__(self) -> None:
        self.down: Side | None = None
        self.up: Side | None = None
        self.ladder_down: Ladder | None = None
        self.ladder_up: Ladder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class V3Pool:
    """slot0's price and tick, the liquidity in range, and the initialised ticks. A price of 0: not initialised yet."""

    address: Address
    fee_pips: int
    sqrt_price_x96: int
    tick: int
    liquidity: int
    ticks: TickMap
    memo: _Memo = field(default_factory=_Memo, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.fee_pips < FEE_UNITS or not 0 <= self.liquidity <= MAX_UINT128:
            raise InconsistentPool(f"a pool with fee {self.fee_pips} and liquidity {self.liquidity}")
        if self.sqrt_price_x96 and not MIN_SQRT_RATIO <= self.sqrt_price_x96 < MAX_SQRT_RATIO:
            raise InconsistentPool(f"{self.sqrt_price_x96} is no sqrt price")

    @property
    def tick_spacing(self) -> int:
        return self.ticks.spacing

    @property
    def position(self) -> Position:
        return Position(self.sqrt_price_x96, self.tick, self.liquidity)

    @property
    def mid_price(self) -> Ratio:
        """Base units of token1 for one of token0, fee left out. Raises: InconsistentPool: not initialised."""
        if not self.sqrt_price_x96:
            raise InconsistentPool("the pool has no price yet")
        return Ratio.of(self.sqrt_price_x96**2, Q192)

    def side(self, *, zero_for_one: bool) -> Side:
        """The stops ahead in one direction; worked out once a state."""
        memo = self.memo
        found = memo.down if zero_for_one else memo.up
        return found if found is not None else self._worked_out(zero_for_one=zero_for_one)

    def longer_side(self, *, zero_for_one: bool) -> Side:
        """The same with more stops, for a swap that goes beyond those there are."""
        self._ladder(zero_for_one=zero_for_one).extend()
        return self._worked_out(zero_for_one=zero_for_one)

    def _ladder(self, *, zero_for_one: bool) -> Ladder:
        memo = self.memo
        ladder = memo.ladder_down if zero_for_one else memo.ladder_up
        if ladder is None:
            ladder = Ladder(self.ticks, self.fee_pips, zero_for_one=zero_for_one)
            if zero_for_one:
                memo.ladder_down = ladder
            else:
                memo.ladder_up = ladder
        return ladder

    def _worked_out(self, *, zero_for_one: bool) -> Side:
        ladder = self._ladder(zero_for_one=zero_for_one)
        rungs, first = ladder.rungs_from(self.position)
        here = Start.of(self.position, paid=0, received=0, crossed=0)
        if first < len(rungs.keys):
            cost, gain = ladder.cost_to(self.position, rungs.prices[first])
            crossed = rungs.starts[first].crossed
            here = here._replace(paid=rungs.paid[first] - cost, received=rungs.received[first] - gain, crossed=crossed)
        side = Side(rungs, first, here=here, fee_pips=self.fee_pips)
        if zero_for_one:
            self.memo.down = side
        else:
            self.memo.up = side
        return side


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    """The pool's first price."""

    sqrt_price_x96: int
    tick: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What a Swap log says of the state after it."""

    sqrt_price_x96: int
    tick: int
    liquidity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionChanged:
    """A Mint (`delta` positive) or a Burn (negative; zero collects fees and changes nothing here)."""

    lower: int
    upper: int
    delta: int


Event = Initialized | Swapped | PositionChanged


def apply(pool: V3Pool, event: Event) -> V3Pool:
    """The state after one event. Raises: InconsistentPool: it cannot have happened to this state."""
    match event:
        case Swapped():
            return _moved(pool, event.sqrt_price_x96, tick=event.tick, liquidity=event.liquidity)
        case Initialized():
            return _moved(pool, event.sqrt_price_x96, tick=event.tick, liquidity=pool.liquidity)
        case PositionChanged():
            return _with_position(pool, event)
        case _:
            assert_never(event)


def _moved(pool: V3Pool, sqrt_price_x96: int, *, tick: int, liquidity: int) -> V3Pool:
    moved = V3Pool(
        address=pool.address,
        fee_pips=pool.fee_pips,
        sqrt_price_x96=sqrt_price_x96,
        tick=tick,
        liquidity=liquidity,
        ticks=pool.ticks,
    )
    # The ticks are the same, and with them all stops and their costs.
    moved.memo.ladder_down, moved.memo.ladder_up = pool.memo.ladder_down, pool.memo.ladder_up
    return moved


def _with_position(pool: V3Pool, event: PositionChanged) -> V3Pool:
    if not event.delta:
        return pool
    if not MIN_TICK <= event.lower < event.upper <= MAX_TICK:
        raise InconsistentPool(f"a position from tick {event.lower} to {event.upper}")
    in_range = event.lower <= pool.tick < event.upper and pool.sqrt_price_x96 != 0
    return replace(
        pool,
        liquidity=pool.liquidity + (event.delta if in_range else 0),
        ticks=pool.ticks.with_position(event.lower, event.upper, delta=event.delta),
    )
