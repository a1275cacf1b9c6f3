"""Which paths a split is worth its gas for: legs dropped from the best split without gas, and added to the best path.

Every leg costs gas, whatever goes through it, so that the choice is a combinatorial one. Both ends are tried: from the
split over all paths, the leg whose gas is worth more than what it gains goes, one after the other; from the best single
path, the leg that gains most comes, one after the other. The better of the two is the answer.

Guarantees: deterministic; at most `max_legs` legs. Not guaranteed: the best of all subsets (a test compares with all of
them on small markets).
"""

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Final

from contracts.errors import QuoteError
from contracts.routing.splitting import FIRST_CHUNKS, HALVINGS, Market, Split, fill, refine, without

SPLIT_PATHS: Final = 48
"""Paths that a split may choose from: the best by rate at the start."""
DROP_ROUNDS: Final = 2
SMALLEST_LEGS: Final = 6
"""Of many legs, only so many are looked at: what carries much is not dropped for its gas."""
DROP_TRIALS: Final = 2
"""Legs tried, those that promise most first, before a split is left as it is."""
ADD_TRIALS: Final = 3
FEW_LEGS: Final = 4
"""Splits of so many legs are looked at with more care: a leg's gas is a large part of what they gain."""
THINNED_LEGS: Final = 6
THINNED_BY: Final = 3
REFILL_CHUNKS: Final = 8
"""Chunks in which a dropped leg's amount goes to the others."""
REFILL_HALVINGS: Final = 4
LEAST_GAIN: Final = 10_000_000
"""A leg has to gain at least this part of the whole, also where gas is free: less is rounding and calldata."""

STEP_PARTS: Final = (16, 32, 64, 128, 256)
"""Parts of the amount that are moved to save a tick."""

GasCost = Callable[[Sequence[int], int], int]
"""What the gas of these paths, with so many ticks crossed, is worth in the other side's asset."""


def best_split(market: Market, amount: int, *, single: int | None, cost: GasCost, max_legs: int) -> Split | None:
    """The split with the best net, of two legs at least; None where one path does as well.

    `single` is the best path alone, where one can take it all. Raises: TicksNotLoaded.
    """
    chooser = _Chooser(market, amount, cost=cost, max_legs=max_legs)
    found = [chooser.from_all()]
    if single is not None and (found[0] is None or len(found[0].flows) <= FEW_LEGS):
        found.append(chooser.from_single(single))
    best: Split | None = None
    for split in found:
        if split is not None and len(split.flows) > 1 and (best is None or chooser.net(split) > chooser.net(best)):
            best = split
    if best is None:
        return None
    return chooser.with_fewer_ticks(chooser.thinned(chooser.grown(best)))


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
        for _ in range(DROP_ROUNDS):
            fewer = self._without_losers(split)
            if fewer is split:
                break
            # With the others' amounts settled anew, another leg may have become too small.
            split = refine(fewer, sorted(fewer.flows), self._amount // FIRST_CHUNKS // 4, halvings=REFILL_HALVINGS)
        return split if len(split.flows) <= self._max_legs else None

    def _without_losers(self, split: Split) -> Split:
        while len(split.flows) > 1:
            fewer = self._dropped(split)
            if fewer is None:
                break
            split = fewer
        return split

    def from_single(self, path: int) -> Split | None:
        split = Split(self._market)
        try:
            split.push(path, self._amount)
        except QuoteError:
            return None
        return self.grown(split)

    def grown(self, split: Split) -> Split:
        """With more legs, one after the other, as long as there are few and another one pays."""
        while len(split.flows) < min(FEW_LEGS + 1, self._max_legs):
            more = self._added(split)
            if more is None or len(more.flows) > self._max_legs:
                break
            split = more
        return split

    def thinned(self, split: Split) -> Split:
        """Without two or three legs at once, where that pays: legs over the same pools crosswise hold each other up."""
        best = fewer = split
        if len(split.flows) > THINNED_LEGS:
            return split
        for _ in range(THINNED_BY):
            if len(fewer.flows) <= 2:
                break
            dropped = self._dropped(fewer, most=len(fewer.flows) - 1)
            if dropped is None:
                break
            fewer = refine(dropped, sorted(dropped.flows), self._amount // REFILL_CHUNKS, halvings=HALVINGS)
            if self.net(fewer) > self.net(best):
                best = fewer
        return best

    def with_fewer_ticks(self, split: Split) -> Split:
        """Chunks moved where that saves crossing a tick whose gas is worth more than the better rate beyond it.

        Rates do not show such steps. With many legs a tick is a small part of the whole, and is left alone.
        """
        if not split.ticks_crossed or len(split.flows) > FEW_LEGS or not self._cost([], 1):
            return split
        split = split.copy()
        best = self.net(split)
        for part in STEP_PARTS:
            chunk = self._amount // part
            for giver, taker in permutations(sorted(split.flows), 2):
                if not 0 < chunk < split.flows[giver]:
                    continue
                pulled = split.push(giver, -chunk)
                try:
                    pushed = split.push(taker, chunk)
                except QuoteError:
                    split.undo(pulled)
                    continue
                if self.net(split) > best:
                    best = self.net(split)
                else:
                    split.undo(pushed)
                    split.undo(pulled)
        return split

    def _dropped(self, split: Split, *, most: int | None = None) -> Split | None:
        """One leg less, where that pays or where there are more than `most` (`max_legs` by default)."""
        must = len(split.flows) > (self._max_legs if most is None else most)
        net = self.net(split)
        enough = net - abs(net) // LEAST_GAIN
        smallest = [path for _, path in sorted((flow, path) for path, flow in split.flows.items())[:SMALLEST_LEGS]]
        if must:
            trials = smallest
        else:
            promises = {path: self._promise(split, path) for path in smallest}
            paying = sorted((path for path in smallest if promises[path] >= enough), key=lambda path: -promises[path])
            # A bound may promise too much, so that the smallest legs are tried whatever it says of others.
            trials = list(dict.fromkeys([*paying[:DROP_TRIALS], *(p for p in smallest[:DROP_TRIALS] if p in paying)]))
        best: Split | None = None
        best_path = -1
        for path in trials:
            fewer = without(split, path, chunks=REFILL_CHUNKS)
            if fewer is not None and (best is None or self.net(fewer) > self.net(best)):
                best, best_path = fewer, path
            if len(split.flows) > FEW_LEGS and best is not None and (must or self.net(best) >= enough):
                return best
        if best is None or must or self.net(best) >= enough:
            return best
        saved = self._cost(sorted(split.flows), split.ticks_crossed) - self._cost(
            sorted(best.flows), best.ticks_crossed
        )
        if len(split.flows) > FEW_LEGS and net - self.net(best) > saved:
            return None
        # Putting the amount elsewhere in a few chunks is a quick guess; now with care.
        best = refine(best, sorted(best.flows), split.flows[best_path] // REFILL_CHUNKS, halvings=REFILL_HALVINGS)
        return best if self.net(best) >= enough else None

    def _promise(self, split: Split, path: int) -> int:
        """More than the net can be without a leg: its amount at the best rate that the others have."""
        flows = split.flows
        others = [each for each in flows if each != path]
        flow = flows[path]
        undo = split.push(path, -flow)
        rate = max(split.path_rates[each] for each in others)
        total = split.total + split.worth(flow, rate)
        bound = self._sign * total - self._cost(sorted(others), split.ticks_crossed)
        split.undo(undo)
        return bound

    def _added(self, split: Split) -> Split | None:
        """One leg more, where that pays."""
        rates = sorted((-split.path_rates[path], path) for path in self._paths if path not in split.flows)
        least = min(split.path_rates[path] for path in split.flows)
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
    paths = sorted(range(len(market.paths)), key=lambda path: (-start.path_rates[path], path))
    return sorted(paths[:SPLIT_PATHS])
