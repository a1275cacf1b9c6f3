"""Which route a path belongs to, before the framework looks: its template, its weight.

Guarantees: the same route as the framework finds, the first one in order whose pattern fits and that takes the method.
Bounded: `MAX_KNOWN` paths are remembered, then all are forgotten.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute

from service.ratelimits.weights import NO_ROUTE, UNDECLARED, WEIGHTS, Query, Weight

MAX_KNOWN: Final = 10_000

Match = tuple[APIRoute | None, Mapping[str, str]]


class RouteTable:
    """The routes of an app, in their order."""

    def __init__(self, routers: Sequence[APIRouter]) -> None:
        self._routes: Final = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        self._known: Final[dict[tuple[str, str], Match]] = {}

    def find(self, method: str, path: str) -> Match:
        """The route and its parts of the path."""
        asked = (method, path)
        if asked not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[asked] = self._find(method, path)
        return self._known[asked]

    def _find(self, method: str, path: str) -> Match:
        for route in self._routes:
            if method in (route.methods or ()) and (match := route.path_regex.match(path)) is not None:
                return route, match.groupdict()
        return None, {}


def weight_of(route: APIRoute | None, method: str) -> Weight:
    """Of a route, or of what is none."""
    if route is None:
        return _NOTHING
    return WEIGHTS.get((method, route.path), _UNDECLARED)


def cost_of(weight: Weight, query: Query | None) -> int:
    """`query` None: it cannot be read, and the request is refused."""
    return weight.weight if query is None else weight.of(query)


_NOTHING: Final = Weight(weight=NO_ROUTE)
_UNDECLARED: Final = Weight(weight=UNDECLARED)
