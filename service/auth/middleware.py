"""The edge of the API, around the whole app: what every request passes before a route sees it.

    id -> client address -> rate by address -> Host -> headers -> query -> body (size, time) -> credentials
       -> rate by key -> orders of the account -> JSON -> hot reads -> the framework

Guarantees: a request reaches a route with its body read whole and within limits, one meaning for it, and in
`scope["state"]` a `request_id`, the `client_ip` and, when it had credentials, its `caller`: a `Caller`, a
`SessionCaller`, or the `ApiError` that says why it is none (a public route does not mind). Every answer has the
request's id and what is left of its limit, and is never cached; an error nobody foresaw is answered and logged here,
without its text in the answer.
Not guaranteed: bounds on the request line and headers while they arrive; those are the HTTP server's.
Not here: permissions (`callers`), and that a route names its caller (`app`).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import structlog
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.authority import Tampered
from service.auth.callers import Authenticator, Caller, Found
from service.auth.keys import IpAddress
from service.auth.secrets import SealBroken
from service.auth.session_caller import Presented, SessionAuthenticator, SessionCaller, read_session
from service.auth.signature import read_headers, signing_text
from service.auth.wellformed import Headers, check_host, check_json, check_query, client_address, normalized_hosts
from service.db.errors import DatabaseError
from service.errors import ApiError
from service.ids import new_id
from service.problems import ALWAYS, REQUEST_ID, api_error_of, problem
from service.ratelimits.limits import Limits, require_passed
from service.ratelimits.routetable import RouteTable, cost_of, weight_of
from service.ratelimits.windows import Taken
from service.settings import Settings

T = TypeVar("T")

MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 16_384
"""Names and values together; a signed request of a browser behind a proxy has some 2 KB."""
FAILED_COST: Final = 10
"""What a request with a wrong signature or token takes from its address's bucket, beyond the one of every request."""
_GUESSES: Final = frozenset({"authentication_failed", "session_ended"})
_CLOSE: Final = {"Connection": "close"}
"""With an answer before the body was read, what is left of it must not be taken for the next request."""
_BODILESS: Final = frozenset({"GET", "HEAD"})
_OF_BODIES: Final = frozenset({b"content-length", b"transfer-encoding"})
"""Without one of them there is none (RFC 9112, 6.3)."""
_UNREAD: Final = frozenset({"body_too_large", "request_timeout"})

_log: Final = structlog.get_logger("cambist.http")
_std_log: Final = logging.getLogger("cambist.http")


class _Gone(Exception):
    """The client went away before its request was whole."""


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """One request while it is being answered."""

    request_id: str
    send: Send
    rate: Taken | None = None
    orders: tuple[Taken, Taken] | None = None
    """In 10 s and in a day, of an order's account."""
    status: int | None = None
    is_hot: bool = False
    """Answered ahead of the framework."""

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and self.status < 400

    async def answer(self, message: Message) -> None:
        """Pass a message on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *ALWAYS, (REQUEST_ID, self.request_id.encode())]
            if self.rate is not None:
                headers += [
                    (b"x-ratelimit-limit", b"%d" % self.rate.limit),
                    (b"x-ratelimit-used", b"%d" % self.rate.used),
                    (b"x-ratelimit-remaining", b"%d" % self.rate.remaining),
                    (b"x-ratelimit-reset", b"%d" % self.rate.reset_s),
                ]
            if self.orders is not None:
                soon, day = self.orders
                headers += [
                    (b"x-ratelimit-orders-10s", b"%d" % soon.used),
                    (b"x-ratelimit-orders-1d", b"%d" % day.used),
                ]
            message = {**message, "headers": headers}
        await self.send(message)


class HotAnswers(Protocol):
    """What is answered here, ahead of the framework (`service.hot.table`)."""

    async def answer(
        self, route: APIRoute | None, parts: Mapping[str, str], query: Mapping[str, str], *, found: Found
    ) -> bytes | None: ...


class Edge:
    """Pure ASGI middleware; one an app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        authenticator: Authenticator,
        sessions: SessionAuthenticator,
        limits: Limits,
        table: RouteTable,
        hot: HotAnswers,
    ) -> None:
        self._app: Final = app
        self._settings: Final = settings
        self._hosts: Final = normalized_hosts(settings.allowed_hosts)
        self._authenticator: Final = authenticator
        self._sessions: Final = sessions
        self._limits: Final = limits
        self._table: Final = table
        self._hot: Final = hot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _refuse_other(scope, receive, send)
            return
        clock = self._authenticator.clock
        exchange = _Exchange(request_id=new_id(clock), send=send)
        state = scope["state"] = {**scope.get("state", {}), "request_id": exchange.request_id}
        began_s = clock.monotonic_s()
        try:
            await self._handle(scope, receive, exchange)
        except _Gone:
            return
        except Exception as exc:
            with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
                error = api_error_of(exc)
            if exchange.status is not None:
                # Half an answer is out: only closing the connection tells the client.
                raise
            headers = _CLOSE if error.code in _UNREAD else None
            response = problem(error, request_id=exchange.request_id, headers=headers)
            await response(scope, receive, exchange.answer)
        finally:
            caller = state.get("caller")
            if exchange.orders is not None and isinstance(caller, Caller) and not exchange.is_accepted:
                self._limits.give_order_back(caller.account_id)
            # A line costs more than a hot read; those are counted (`observability.timing`).
            if not exchange.is_hot or _std_log.isEnabledFor(logging.DEBUG):
                _log.info(
                    "request",
                    request_id=exchange.request_id,
                    method=scope["method"],
                    # The route's template: a path that is not one of ours may hold anything.
                    route=getattr(scope.get("route"), "path", None),
                    status=exchange.status,
                    ms=round((clock.monotonic_s() - began_s) * 1000),
                    client=str(state.get("client_ip")),
                    key=caller.key_id if isinstance(caller, Caller) else None,
                    session=caller.session.id if isinstance(caller, SessionCaller) else None,
                )

    async def _handle(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        headers: Headers = scope["headers"]
        state: dict[str, Any] = scope["state"]
        route, parts = self._table.find(scope["method"], scope["path"])
        weight = weight_of(route, scope["method"])
        query = _or_refused(lambda: check_query(scope["query_string"]))
        cost = cost_of(weight, None if isinstance(query, ApiError) else query)
        peer = scope.get("client")
        host = peer[0] if peer else None
        found_address = _or_refused(lambda: client_address(host, headers, self._settings.trusted_proxies))
        # A proxy that names no address has a limit itself.
        address = client_address(host, (), ()) if isinstance(found_address, ApiError) else found_address
        state["client_ip"] = address
        exchange.rate = await self._limits.of_address(address, cost)
        require_passed(exchange.rate)
        for refused in (found_address, query):
            if isinstance(refused, ApiError):
                raise refused
        check_host(headers, self._hosts)
        _check_headers(headers)
        body = await self._body(scope, headers, receive)
        found = await self._caller(scope, body, address=address)
        state["caller"] = found
        if isinstance(found, Caller | SessionCaller):
            exchange.rate = await self._limits.of_caller(found.key_id if isinstance(found, Caller) else found.id, cost)
            require_passed(exchange.rate)
            # Only now: who goes on over a key's limit makes the work of checking it.
            self._limits.give_address_back(address, cost)
            if weight.is_order and isinstance(found, Caller):
                exchange.orders = await self._limits.of_order(found.account_id)
        elif found is not None and found.code in _GUESSES:
            # Its own request passes; the next ones feel it.
            await self._limits.of_address(address, FAILED_COST)
        if body:
            _check_media_type(headers)
            check_json(body)
        elif not isinstance(query, ApiError):
            hot = await self._hot.answer(route, parts, query, found=found)
            if hot is not None:
                scope["route"], exchange.is_hot = route, True
                await _send_json(hot, exchange.answer)
                return
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            await self._app(scope, _replaying(body, receive), exchange.answer)

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises: ApiError: body_too_large, request_timeout. _Gone."""
        if scope["method"] in _BODILESS and not any(name in _OF_BODIES for name, _ in headers):
            return b""
        limit = self._settings.max_body_bytes
        announced = [value for name, value in headers if name == b"content-length"]
        # Not trusted to be right, only to be too much: a chunked body is counted.
        if any(not value.isdigit() or len(value) > 18 or int(value) > limit for value in announced):
            raise _too_large(limit)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise _too_large(limit)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise ApiError(
                "request_timeout", f"the body did not arrive within {self._settings.body_timeout_s} s"
            ) from None

    async def _caller(
        self, scope: Scope, body: bytes, *, address: IpAddress | None
    ) -> Caller | SessionCaller | ApiError | None:
        try:
            if (presented := read_session(scope["headers"])) is not None:
                return await self._person(scope, presented, address)
            signed = read_headers(scope["headers"])
            if signed is None:
                return None
            if address is None:
                return ApiError("ip_not_allowed", "the client's address is not known")
            text = signing_text(
                signed.timestamp_ms, signed.nonce, method=scope["method"], target=_target(scope), body=body
            )
            is_read = scope["method"] in _BODILESS
            return await self._authenticator.authenticate(signed, text, client_ip=address, is_read=is_read)
        except (ApiError, Tampered, SealBroken, DatabaseError) as exc:
            error = api_error_of(exc)
            if error.code == "ambiguous_credentials":
                # Also on a public route: what reads one of them must not be told another.
                raise error from exc
            return error

    async def _person(self, scope: Scope, presented: Presented, address: IpAddress | None) -> SessionCaller:
        return await self._sessions.authenticate(
            presented, scope["headers"], method=scope["method"], client_ip=address
        )  # fmt: skip


def _or_refused(read: Callable[[], T]) -> T | ApiError:
    """What was read, or why not, for later: what a request costs is settled before it is refused."""
    try:
        return read()
    except ApiError as exc:
        return exc


def _target(scope: Scope) -> str:
    """Path and query as they came over the wire."""
    query: bytes = scope["query_string"]
    raw: bytes = scope["raw_path"] + (b"?" + query if query else b"")
    return raw.decode("latin-1")


def _check_headers(headers: Headers) -> None:
    if len(headers) > MAX_HEADERS or sum([len(name) + len(value) for name, value in headers]) > MAX_HEADER_BYTES:
        raise ApiError("headers_too_large", f"at most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them")


def _check_media_type(headers: Headers) -> None:
    given = [value.decode("latin-1") for name, value in headers if name == b"content-type"]
    types = [value.partition(";")[0].strip().lower() for value in given]
    encoded = any(name == b"content-encoding" and value.strip().lower() != b"identity" for name, value in headers)
    if types != ["application/json"] or encoded:
        raise ApiError("unsupported_media_type", "a body is application/json, not compressed")


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body once more, in one piece; then whatever comes (a disconnect)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _send_json(body: bytes, send: Send) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_large(limit: int) -> ApiError:
    return ApiError("body_too_large", f"a body has at most {limit} bytes")


async def _refuse_other(scope: Scope, receive: Receive, send: Send) -> None:
    """There are no WebSockets, and the app has no lifespan work; the process owns that."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
