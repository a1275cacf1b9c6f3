"""Hot reads: the routes that are answered between the edge and the framework, and how.

    edge (limits, signature, replay) -> table: caller -> parameters -> memory or read -> bytes
                                          └> framework, for whatever is not exactly the plain form of such a request

Both ways share what decides: the edge before them, the caller that the route declares (`callers.admitted`), the
functions that read and the documents they make. What the table does not do itself it leaves to the framework: a
parameter it does not know, one in an unusual spelling, a body. So there is one set of errors, too.

How old an answer may be: balances and orders are remembered only where this process alone writes the database, and only
until it commits anything at all (`service.db.changes`), so that an answer is never older than the last event that its
account was told of; elsewhere they are read for every request. Books are of the newest block that is known, as on the
other way; the 24 hours of a ticker are at most a second old.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from fastapi.routing import APIRoute

from service.auth.callers import Found, Needs, admitted, declared_caller
from service.auth.keys import Permission
from service.build import Services
from service.hot.reads import Asked, AtHand, HotReads


@dataclass(frozen=True, slots=True, kw_only=True)
class HotRoute:
    """`names`: the query parameters that it takes."""

    needs: Needs
    names: frozenset[str]
    answer: Callable[[Asked], Awaitable[bytes | None]]
    at_hand: Callable[[Mapping[str, str], Mapping[str, str]], AtHand | None] | None = None


class HotTable:
    """The hot routes among those of an app."""

    def __init__(self, services: Services, routers: Sequence[APIRouter]) -> None:
        reads = HotReads(services)
        names: dict[str, tuple[frozenset[str], Callable[[Asked], Awaitable[bytes | None]]]] = {
            "/v1/ping": (frozenset(), reads.ping),
            "/v1/time": (frozenset(), reads.time),
            "/v1/{chain}/ticker": (frozenset({"market"}), reads.ticker),
            "/v1/{chain}/depth": (frozenset({"market", "limit", "aggregate"}), reads.depth),
            "/v1/{chain}/balances": (frozenset(), reads.balances),
            "/v1/orders/{order_id}": (frozenset(), reads.order),
        }
        at_hand = {
            "/v1/{chain}/ticker": reads.ticker_at_hand,
            "/v1/{chain}/depth": reads.depth_at_hand,
            "/v1/{chain}/balances": reads.balances_at_hand,
            "/v1/orders/{order_id}": reads.order_at_hand,
        }
        self._routes: Final = {
            route.path: HotRoute(
                needs=declared_caller(route),
                names=names[route.path][0],
                answer=names[route.path][1],
                at_hand=at_hand.get(route.path),
            )
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute) and route.methods == {"GET"} and route.path in names
        }

    async def answer(
        self, route: APIRoute | None, parts: Mapping[str, str], query: Mapping[str, str], *, found: Found
    ) -> bytes | None:
        """The body of a 200, None to leave the request to the framework. Raises: what the route would raise."""
        hot = None if route is None or route.methods != {"GET"} else self._routes.get(route.path)
        if hot is None or not hot.names.issuperset(query):
            return None
        return await hot.answer(Asked(parts=parts, query=query, caller=admitted(found, hot.needs)))

    def at_hand(self, route: APIRoute, parts: Mapping[str, str], query: Mapping[str, str]) -> AtHand | None:
        """What answers the same from memory alone, to keys that may read; None where there is none, or no such thing
        can be asked for."""
        hot = self._routes.get(route.path) if route.methods == {"GET"} else None
        if hot is None or hot.at_hand is None or hot.needs not in (None, Permission.READ):
            return None
        return hot.at_hand(parts, query) if hot.names.issuperset(query) else None
