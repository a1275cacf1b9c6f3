"""How to divide an amount among paths that may share pools: in chunks, each where the next unit is best, then finer.

    fill        chunks from nothing, each to the path with the best rate at that moment
    refine      chunks move from the path with the worst rate to the one with the best while that gains, then half of it
    without     one path less: what it carried goes to the others

Loads are kept a pool, so that paths which share a pool see each other. Guarantees: integers and a fixed order of ties,
so the same pools give the same split; a move that does not gain is undone. Without fixed costs the problem is convex,
and this ends near its optimum (`scripts.bench routing` prints how near). Not guaranteed: the amounts, which are the
pools' for one swap each; `execution` runs the legs one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Final

from contracts.errors import QuoteError
from contracts.routes import Exact
from contracts.routing.curves import RATE_BITS, Curve, curve_of, joined
from contracts.routing.graph import Edge
from contracts.routing.paths import Path

FIRST_CHUNKS: Final = 32
"""Chunks of the first filling; the finest are `FIRST_CHUNKS << HALVINGS`."""
HALVINGS: Final = 6
MOVES_A_LEVEL: Final = 32
"""Moves of chunks of one size at most; a handful are usual."""

_Before = tuple[int, int, int, int, int]
"""An edge, and the load, other, rate and ticks that it had."""
_Undo = tuple[int, int, int, list[_Before], list[int]]
"""Path, amount, the other side's amount; the edges as they were; the paths' rates as they were."""


class Market:
    """The curves of the paths of one trade. A path is the edges in the order in which an amount drives them."""

    def __init__(self, paths: Sequence[Path], exact: Exact) -> None:
        self.exact: Final = exact
        self.paths: Final = tuple(paths)
        self.curves: Final[list[Curve]] = []
        numbers: dict[tuple[str, bool], int] = {}
        self.routes: Final[list[tuple[int, ...]]] = []
        for path in paths:
            route = tuple(self._number(edge, numbers) for edge in path)
            self.routes.append(route if exact == "in" else route[::-1])
        self._through: Final[dict[int, list[int]]] = {}
        for number, route in enumerate(self.routes):
            for edge in route:
                self._through.setdefault(edge >> 1, []).append(number)
        self._affected: Final[dict[int, tuple[int, ...]]] = {}
        self.start: Final = [curve(0) for curve in self.curves]
        self.start_rates: Final = [
            reduce(joined, (self.start[edge].rate for edge in route), 1 << RATE_BITS) for route in self.routes
        ]

    def affected(self, path: int) -> tuple[int, ...]:
        """The paths that share a pool with this one, itself among them."""
        found = self._affected.get(path)
        if found is None:
            through = self._through
            found = tuple({each for edge in self.routes[path] for each in through[edge >> 1]})
            self._affected[path] = found
        return found

    def _number(self, edge: Edge, numbers: dict[tuple[str, bool], int]) -> int:
        """Both directions of a pool are neighbours, so that `number ^ 1` is the other one."""
        key = edge.pool.address, edge.zero_for_one
        if key not in numbers:
            at = len(self.curves)
            numbers[key], numbers[key[0], not key[1]] = at, at + 1
            self.curves.append(curve_of(edge, self.exact))
            self.curves.append(curve_of(Edge(pool=edge.pool, zero_for_one=not edge.zero_for_one), self.exact))
        return numbers[key]


class Split:
    """How much goes which way. `flows[i]` is what path i takes (exact input) or gives (exact output)."""

    __slots__ = ("flows", "loads", "market", "others", "path_rates", "rates", "ticks", "total", "uses")

    def __init__(self, market: Market) -> None:
        self.market: Final = market
        self.flows: dict[int, int] = {}
        self.total = 0
        """The other side's amount, of all paths."""
        points = market.start
        self.loads = [0] * len(points)
        self.others = [0] * len(points)
        self.rates = [point.rate for point in points]
        self.ticks = [0] * len(points)
        self.uses = [0] * len(points)
        """Paths with a flow through an edge; a load without one is rounding that came and went."""
        self.path_rates = market.start_rates
        """Of one more unit along each path; zero where one of its pools is used the other way round."""

    @classmethod
    def of(cls, market: Market, flows: Iterable[tuple[int, int]]) -> "Split":
        """These flows, one after the other. Raises: QuoteError, TicksNotLoaded: a pool does not go so far."""
        split = cls(market)
        for path, amount in flows:
            split._put(path, amount)
        split.path_rates = [split._rate(route) for route in market.routes]
        return split

    def copy(self) -> "Split":
        """One that changes on its own."""
        twin = object.__new__(Split)
        twin.market = self.market  # type: ignore[misc]  # a new object's first value
        twin.flows, twin.total = dict(self.flows), self.total
        twin.loads, twin.others = list(self.loads), list(self.others)
        twin.rates, twin.ticks, twin.uses = list(self.rates), list(self.ticks), list(self.uses)
        twin.path_rates = self.path_rates
        return twin

    def settled(self) -> "Split":
        """The same flows put in anew, the largest first, as they would execute.

        A chunk leaves a shared pool at another rate than it came in at, so that moves shift what the paths' later pools
        get; putting all in anew is what they really get. Raises: QuoteError, TicksNotLoaded: a pool does not go so far.
        """
        return Split.of(self.market, in_order(self.flows))

    @property
    def ticks_crossed(self) -> int:
        return sum(self.ticks)

    def push(self, path: int, amount: int) -> _Undo:
        """Move the driving amount of a path, down when negative; what to give to `undo`.

        Raises: QuoteError, TicksNotLoaded: a pool does not go so far; nothing has changed.
        """
        moved, before = self._put(path, amount)
        old = self.path_rates
        self.path_rates = new = old.copy()
        routes, rate_of = self.market.routes, self._rate
        for each in self.market.affected(path):
            new[each] = rate_of(routes[each])
        return path, amount, moved, before, old

    def _put(self, path: int, amount: int) -> tuple[int, list[_Before]]:
        """`push`, but for the paths' rates."""
        loads, others, rates, ticks = self.loads, self.others, self.rates, self.ticks
        market = self.market
        curves, route = market.curves, market.routes[path]
        points = []
        moved = amount
        for edge in route:
            # Parts that came and went leave a unit or so of rounding.
            load = max(loads[edge] + moved, 0)
            point = curves[edge](load)
            points.append((edge, load, point))
            moved = point.other - others[edge]
        before = []
        for edge, load, (other, rate, crossed) in points:
            before.append((edge, loads[edge], others[edge], rates[edge], ticks[edge]))
            loads[edge], others[edge], rates[edge], ticks[edge] = load, other, rate, crossed
        self.total += moved
        self._flow(path, amount)
        return moved, before

    def undo(self, change: _Undo) -> None:
        """Take a push back; the last one first."""
        path, amount, moved, before, old = change
        for edge, load, other, rate, crossed in before:
            self.loads[edge], self.others[edge], self.rates[edge], self.ticks[edge] = load, other, rate, crossed
        self.total -= moved
        self._flow(path, -amount)
        self.path_rates = old

    def _rate(self, route: tuple[int, ...]) -> int:
        rates, uses = self.rates, self.uses
        rate = 1 << RATE_BITS
        for edge in route:
            if uses[edge ^ 1]:
                return 0
            rate = rate * rates[edge] >> RATE_BITS
        return rate

    def _flow(self, path: int, change: int) -> None:
        flows = self.flows
        old = flows.get(path, 0)
        if old + change:
            flows[path] = old + change
        else:
            del flows[path]
        if not old or not old + change:
            for edge in self.market.routes[path]:
                self.uses[edge] += -1 if old else 1

    def worth(self, amount: int, rate: int) -> int:
        """The other side's amount for a driving amount at a rate."""
        if self.market.exact == "in":
            return amount * rate >> RATE_BITS
        return (amount << RATE_BITS) // max(rate, 1)

    def is_better(self, total: int) -> bool:
        """Whether `total` is worse than ours: less bought, or more sold."""
        return self.total > total if self.market.exact == "in" else self.total < total


def in_order(flows: Mapping[int, int]) -> list[tuple[int, int]]:
    """Paths and amounts as they execute: the largest first, of equals the first path."""
    return sorted(flows.items(), key=lambda flow: (-flow[1], flow[0]))


def fill(split: Split, paths: Iterable[int], amount: int, *, chunks: int = FIRST_CHUNKS) -> bool:
    """Add `amount` chunk by chunk; False when the paths cannot take it all. Raises: TicksNotLoaded."""
    left, chunk = amount, max(amount // chunks, 1)
    open_paths = list(paths)
    while left:
        best, best_rate = -1, 0
        rates = split.path_rates
        for path in open_paths:
            rate = rates[path]
            if rate > best_rate:
                best, best_rate = path, rate
        if best < 0:
            return False
        # The rest of the division goes with the last chunk.
        part = chunk if left >= 2 * chunk else left
        try:
            split.push(best, part)
        except QuoteError:
            open_paths.remove(best)
            continue
        left -= part
    return True


def refine(split: Split, paths: Sequence[int], chunk: int, *, halvings: int = HALVINGS) -> Split:
    """Move chunks to where they are worth more, of half the size each time. Raises: TicksNotLoaded."""
    for _ in range(halvings + 1):
        if chunk <= 0:
            break
        level = _Level(split, paths, chunk)
        for _ in range(MOVES_A_LEVEL):
            if not level.move():
                break
        if level.has_moved:
            try:
                split = split.settled()
            except QuoteError:
                # Some pool is taken to its end, and this order asks it for a little more: no finer than this.
                return split
        chunk //= 2
    return split


def without(split: Split, path: int, *, chunks: int) -> Split | None:
    """The same amount over the other paths in use; None where they cannot take it. Raises: TicksNotLoaded."""
    try:
        rest = Split.of(split.market, [flow for flow in in_order(split.flows) if flow[0] != path])
    except QuoteError:
        return None
    if not rest.flows or not fill(rest, sorted(rest.flows), split.flows[path], chunks=chunks):
        return None
    return rest


class _Level:
    """Moves of chunks of one size. A path whose rate changes too fast for that size waits for smaller ones."""

    def __init__(self, split: Split, paths: Sequence[int], chunk: int) -> None:
        self._split = split
        self._chunk = chunk
        self._givers = list(paths)
        self._takers = list(paths)
        self.has_moved = False

    def move(self) -> bool:
        """A chunk, or all that is there, from the worst path to the best; False when there is nothing more to try."""
        split = self._split
        best, best_rate, worst, worst_rate = -1, 0, -1, 0
        flows, rates = split.flows, split.path_rates
        for path in self._takers:
            rate = rates[path]
            if rate > best_rate:
                best, best_rate = path, rate
        for path in self._givers:
            if path in flows:
                rate = rates[path]
                if worst < 0 or rate < worst_rate:
                    worst, worst_rate = path, rate
        if worst < 0 or best < 0 or best_rate <= worst_rate:
            return False
        part = min(self._chunk, flows[worst])
        before = split.total
        pulled = split.push(worst, -part)
        between = split.total
        try:
            pushed = split.push(best, part)
        except QuoteError:
            split.undo(pulled)
            self._takers.remove(best)
            return True
        if split.is_better(before):
            self.has_moved = True
            return True
        given = abs(before - between) - split.worth(part, worst_rate)
        taken = abs(split.total - between) - split.worth(part, best_rate)
        split.undo(pushed)
        split.undo(pulled)
        if abs(given) >= abs(taken):
            self._givers.remove(worst)
        else:
            self._takers.remove(best)
        return True
