"""Which paths a split is worth its gas for: legs dropped from the best split without gas, and added to the best path.

Every leg costs gas, whatever goes through it, so that the choice is a combinatorial one. Both ends are tried: from the
split over all paths, the leg whose gas is worth more than what it gains goes, one after the other; from the best single
path, the leg that gains most comes, one after the other. The better of the two is the answer.

Guarantees: deterministic; at most `max_legs` legs. Not guaranteed: the best of all subsets (a test compares with all of
them on small markets).
"""

from collections.abc import Callable, Sequence
from typing import Final

from contracts.errors import QuoteError
from contracts.routing.curves import RATE_BITS
from contracts.routing.splitting import FIRST_CHUNKS, Market, Split, fill, refine, without

SPLIT_PATHS: Final = 48
"""Paths that a split may choose from: the best by rate at the start."""
DROP_TRIALS: Final = 2
"""Legs tried, those that promise most first, before a split is left as it is."""
ADD_TRIALS: Final = 3
ADDED_AT_MOST: Final = 3
"""Steps from the best path; not taken where the other end stops at more legs, which such steps do not get to."""
REFILL_CHUNKS: Final = 8
"""Chunks in which a dropped leg's amount goes to the others."""
REFILL_HALVINGS: Final = 4
LEAST_GAIN: Final = 10_000_000
"""A leg has to gain at least this part of the whole, also where gas is free: less is rounding and calldata."""

GasCost = Callable[[Sequence[int], int], int]
"""What the gas of these paths, with so many ticks crossed, is worth in the other side's asset."""


def best_split(market: Market, amount: int, *, single: int | None, cost: GasCost, max_legs: int) -> Split | None:
    """The split with the best net, of two legs at least; None where one path does as well.

    `single` is the best path alone, where one can take it all. Raises: TicksNotLoaded.
    """
    chooser = _Chooser(market, amount, cost=cost, max_legs=max_legs)
    found = [chooser.from_all()]
    if single is not None and (found[0] is None or len(found[0].flows) <= ADDED_AT_MOST + 1):
        found.append(chooser.from_single(single))
    best: Split | None = None
    for split in found:
        if split is not None and len(split.flows) > 1 and (best is None or chooser.net(split) > chooser.net(best)):
            best = split
    return best


class _Chooser:
    """One trade's market and prices. `net` is what is bought less gas, or what is sold and gas, negative."""

    def __init__(self, market: Market, amount: int, *, cost: GasCost, max_legs: int) -> None:
        self._market = market
        self._amount = amount
        self._cost = cost
        self._max_legs = max_legs
        self._sign = 1 if market.exact == "in" else -1
        self._paths = _promising(market)

    def net(self, split: Split) -> int:
        return self._sign * split.total - self._cost(sorted(split.flows), split.ticks_crossed)

    def from_all(self) -> Split | None:
        split = Split(self._market)
        if not fill(split, self._paths, self._amount):
            return None
        split = refine(split, self._paths, self._amount // FIRST_CHUNKS)
        while len(split.flows) > 1:
            fewer = self._dropped(split)
            if fewer is None:
                break
            split = fewer
        return split if len(split.flows) <= self._max_legs else None

    def from_single(self, path: int) -> Split | None:
        split = Split(self._market)
        try:
            split.push(path, self._amount)
        except QuoteError:
            return None
        for _ in range(min(ADDED_AT_MOST, self._max_legs - 1)):
            more = self._added(split)
            if more is None:
                break
            split = more
        return split

    def _dropped(self, split: Split) -> Split | None:
        """One leg less, where that pays or where there are too many."""
        must = len(split.flows) > self._max_legs
        net = self.net(split)
        enough = net - abs(net) // LEAST_GAIN
        promises = sorted((-self._promise(split, path), path) for path in sorted(split.flows))
        best: Split | None = None
        for promise, path in promises[:DROP_TRIALS]:
            if -promise < enough and not must:
                break
            fewer = without(split, path, chunks=REFILL_CHUNKS)
            if fewer is None:
                continue
            fewer = refine(fewer, sorted(fewer.flows), split.flows[path] // REFILL_CHUNKS, halvings=REFILL_HALVINGS)
            if self.net(fewer) >= enough:
                return fewer
            if must and (best is None or self.net(fewer) > self.net(best)):
                best = fewer
        return best

    def _promise(self, split: Split, path: int) -> int:
        """More than the net can be without a leg: its amount at the best rate that the others have."""
        flows = split.flows
        others = [each for each in flows if each != path]
        flow = flows[path]
        undo = split.push(path, -flow)
        rate = max(split.rate(each) for each in others)
        if self._sign > 0:
            total = split.total + (flow * rate >> RATE_BITS)
        else:
            total = split.total + (flow << RATE_BITS) // max(rate, 1)
        bound = self._sign * total - self._cost(sorted(others), split.ticks_crossed)
        split.undo(undo)
        return bound

    def _added(self, split: Split) -> Split | None:
        """One leg more, where that pays."""
        rates = sorted((-split.rate(path), path) for path in self._paths if path not in split.flows)
        least = min(split.rate(path) for path in split.flows)
        best, best_net = None, self.net(split)
        best_net += abs(best_net) // LEAST_GAIN
        for rate, path in rates[:ADD_TRIALS]:
            if -rate <= least:
                break
            more = refine(split.copy(), [*sorted(split.flows), path], self._amount // 4)
            if path in more.flows and self.net(more) > best_net:
                best, best_net = more, self.net(more)
        return best


def _promising(market: Market) -> list[int]:
    """The paths with the best rates at the start, in the market's order."""
    start = Split(market)
    paths = sorted(range(len(market.paths)), key=lambda path: (-start.rate(path), path))
    return sorted(paths[:SPLIT_PATHS])
