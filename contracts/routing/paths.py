"""All ways from one token to another over a few pools.

Guarantees: a path visits no token twice, so no pool twice; a fixed order: fewer hops first, then by token and depth.
Bounded: of pools between the same two tokens, as many of the deepest are taken as keep the paths below a limit; between
the two ends themselves all are. Not guaranteed: that a path can fill anything.
"""

from collections.abc import Iterator
from itertools import pairwise, product
from math import prod
from typing import Final

from chains.types import Address
from contracts.routing.graph import Edge, PoolGraph

Path = tuple[Edge, ...]

MAX_HOPS: Final = 3
"""More hops cost more gas than they ever gain between the listed tokens, and paths grow with every one."""
MAX_PATHS: Final = 160
"""Paths that are looked at one by one, at some four microseconds each."""


def find_paths(
    graph: PoolGraph, token_in: Address, token_out: Address, *, max_hops: int = MAX_HOPS, max_paths: int = MAX_PATHS
) -> list[Path]:
    """Paths over at most `max_hops` pools; no more than `max_paths`, unless the ends alone have more between them."""
    ways = sorted(_token_paths(graph, (token_in,), token_out, hops=max_hops), key=lambda way: (len(way), way))
    kept = max((len(graph.between(*pair)) for way in ways for pair in pairwise(way)), default=0)
    while kept > 1 and sum(_count(graph, way, kept) for way in ways) > max_paths:
        kept -= 1
    paths = [path for way in ways for path in product(*_pools(graph, way, kept))]
    # With one pool a pair left, and still too many: those with the fewest hops, which the order has first.
    direct = sum(1 for path in paths if len(path) == 1)
    return paths[: max(direct, max_paths)]


def _token_paths(
    graph: PoolGraph, way: tuple[Address, ...], token_out: Address, *, hops: int
) -> Iterator[tuple[Address, ...]]:
    for token in graph.neighbours(way[-1]):
        if token == token_out:
            yield (*way, token)
        elif hops > 1 and token not in way:
            yield from _token_paths(graph, (*way, token), token_out, hops=hops - 1)


def _pools(graph: PoolGraph, way: tuple[Address, ...], kept: int) -> list[tuple[Edge, ...]]:
    """The pools of each hop of a way."""
    if len(way) == 2:
        return [graph.between(*way)]
    return [graph.between(*pair)[:kept] for pair in pairwise(way)]


def _count(graph: PoolGraph, way: tuple[Address, ...], kept: int) -> int:
    return prod(map(len, _pools(graph, way, kept)))
