"""Counts and times every request of the app, around everything else of it."""

from typing import Final

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chains.tx.store import Clock
from service.observability.metrics import Metrics

ACCEPTED: Final = 202
UNROUTED: Final = "-"
"""A path that is no route's must not become a label: anyone can make those."""


class Timing:
    """Pure ASGI middleware."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, clock: Clock) -> None:
        self._app: Final = app
        self._metrics: Final = metrics
        self._clock: Final = clock
        self._counters: Final[dict[tuple[str, str, int], Counter]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = self._clock.monotonic_s()
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if status is not None:
                route = getattr(scope.get("route"), "path", UNROUTED)
                method = scope["method"] if route != UNROUTED else UNROUTED
                counted = (method, route, status)
                if counted not in self._counters:
                    # As many as there are routes and statuses: what is no route's has one label.
                    self._counters[counted] = self._metrics.requests.labels(method, route, str(status))
                self._counters[counted].inc()
                if status == ACCEPTED:
                    self._metrics.accept_seconds.labels(route).observe(self._clock.monotonic_s() - began_s)
