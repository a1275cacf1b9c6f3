"""What every request passes before FastAPI sees it: one pure ASGI layer, so that the checks cost little.

    request id -> Host -> client address -> rate by address -> headers, query, body (bounded in size and time)
      -> signature -> rate by key -> strict JSON -> the app

It leaves in `scope["state"]`: `request_id`; `client_ip`; `caller`, which is a `Caller`, an `ApiError` that says why
there is none, or absent when nothing was signed. Routes decide what they need of it (`service.auth.callers`), so a
public path answers a badly signed request as any other.

Guarantees: what is signed are the raw bytes that arrived; the app gets exactly the body that was checked; no answer
leaves without its request id, and one log line a request says what was asked (by route, never by query) and what came
of it; a body that is too large or too slow is refused without being kept; an exception of the app becomes
`internal_error` with nothing of it in the answer.
Not guaranteed: bounds on the request line and headers while they arrive; those are the HTTP server's.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chains.tx.store import Clock
from service.auth import wellformed
from service.auth.callers import Authenticator, Caller
from service.auth.keys import IpAddress
from service.auth.replay import NonceCache
from service.auth.secrets import MasterKey
from service.auth.signature import read_headers, signing_text
from service.db.engine import Database
from service.errors import ApiError
from service.ids import new_id
from service.problems import api_error_of, problem
from service.ratelimits.buckets import Buckets, Taken
from service.settings import Settings

MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 16_384
"""Names and values together; a signed request of a browser behind a proxy has some 2 KB."""
BURST_S: Final = 10
"""A client may use the requests of so many seconds at once."""
_JSON: Final = b"application/json"
_IPV6_CUSTOMER_BITS: Final = 64
_ALWAYS: Final = (
    # Answers are a client's own; nobody in between keeps or reinterprets them.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)

_log: Final = structlog.get_logger("cambist.http")


class _ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Gate:
    """The layer. It keeps rate buckets and recent nonces of this process."""

    def __init__(self, app: ASGIApp, *, settings: Settings, db: Database, master: MasterKey, clock: Clock) -> None:
        self._app: Final = app
        self._settings: Final = settings
        self._clock: Final = clock
        self._authenticator: Final = Authenticator(
            db=db, master=master, clock=clock, nonces=NonceCache(started_ms=clock.now_ms())
        )
        self._by_ip: Final = _buckets(clock, settings.ip_requests_per_minute)
        self._by_key: Final = _buckets(clock, settings.key_requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # No lifespan, and no WebSocket yet: a stream would pass none of the checks below.
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        await _Exchange(self, scope, send).run(receive)

    async def admit(self, scope: Scope, receive: Receive) -> tuple[bytes, Taken]:
        """Check the request and fill in `scope["state"]`; the answer is its body and what the rate limit says.

        Raises:
            ApiError: refused. _ClientGone.
        """
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        state = scope["state"]
        wellformed.check_host(headers, (*self._settings.allowed_hosts, self._settings.host))
        peer = scope.get("client")
        client_ip = wellformed.client_address(peer[0] if peer else None, headers, self._settings.trusted_proxies)
        state["client_ip"] = client_ip
        taken = _passed(self._by_ip.take(_rate_name(client_ip)))
        _check_headers(headers)
        wellformed.check_query(scope["query_string"])
        body = await self._body(headers, receive)
        try:
            caller = await self._caller(scope, body, client_ip=client_ip)
        except ApiError as refused:
            state["caller"] = refused
        else:
            if caller is not None:
                state["caller"] = caller
                # A signed request counts for its key; many bots may share an address.
                self._by_ip.give_back(_rate_name(client_ip))
                taken = _passed(self._by_key.take(caller.key_id))
        if body:
            wellformed.check_json(body)
        return body, taken

    async def _caller(self, scope: Scope, body: bytes, *, client_ip: IpAddress | None) -> Caller | None:
        signed = read_headers(scope["headers"])
        if signed is None:
            return None
        if client_ip is None:
            raise ApiError("ip_not_allowed", "signed requests come over TCP")
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        text = signing_text(
            signed.timestamp_ms, signed.nonce, method=scope["method"], target=target.decode("latin-1"), body=body
        )
        return await self._authenticator.authenticate(signed, text, client_ip=client_ip)

    async def _body(self, headers: Sequence[tuple[bytes, bytes]], receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        declared = [value for name, value in headers if name == b"content-length"]
        if declared and (not declared[0].isdigit() or int(declared[0][:20]) > limit):
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                body = await _read(receive, limit)
        except TimeoutError:
            raise ApiError(
                "request_timeout", f"the body was not complete after {self._settings.body_timeout_s} s"
            ) from None
        if body:
            _check_media_type(headers)
        return body


class _Exchange:
    """One request and its answer."""

    def __init__(self, gate: Gate, scope: Scope, send: Send) -> None:
        self._gate: Final = gate
        self._scope: Final = scope
        self._send: Final = send
        self._request_id: Final = new_id(gate._clock)
        self._taken: Taken | None = None
        self._status: int | None = None

    async def run(self, receive: Receive) -> None:
        clock = self._gate._clock
        began_s = clock.monotonic_s()
        self._scope.setdefault("state", {})["request_id"] = self._request_id
        with structlog.contextvars.bound_contextvars(request_id=self._request_id):
            try:
                await self._answer(receive)
            except _ClientGone:
                _log.info("client_gone", method=self._scope["method"])
                return
            self._log_line(elapsed_ms=round((clock.monotonic_s() - began_s) * 1000))

    async def _answer(self, receive: Receive) -> None:
        try:
            body, self._taken = await self._gate.admit(self._scope, receive)
        except ApiError as refused:
            await self._refuse(refused)
            return
        try:
            await self._gate._app(self._scope, _replay(body, receive), self._send_marked)
        except Exception as exc:
            # Logged by `api_error_of`. Once an answer has begun, only breaking it off tells the client.
            error = api_error_of(exc)
            if self._status is not None:
                raise
            await self._refuse(error)

    async def _refuse(self, error: ApiError) -> None:
        response: Response = problem(error, request_id=self._request_id)
        if error.code in ("body_too_large", "request_timeout"):
            # The rest of the body is not read, so the connection cannot be used again.
            response.headers["Connection"] = "close"
        await response(self._scope, _nothing_more, self._send_marked)

    async def _send_marked(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [*message.get("headers", ()), *_ALWAYS, (b"x-request-id", self._request_id.encode())]
            if self._taken is not None:
                headers += [
                    (b"x-ratelimit-limit", b"%d" % self._taken.limit),
                    (b"x-ratelimit-remaining", b"%d" % self._taken.remaining),
                    (b"x-ratelimit-reset", b"%d" % self._taken.reset_s),
                ]
            message = {**message, "headers": headers}
        await self._send(message)

    def _log_line(self, *, elapsed_ms: int) -> None:
        state, route = self._scope["state"], self._scope.get("route")
        caller = state.get("caller")
        _log.info(
            "request",
            method=self._scope["method"],
            # The route's template: a path that is not ours may hold anything.
            route=getattr(route, "path", None),
            status=self._status,
            ms=elapsed_ms,
            client=str(state.get("client_ip")),
            key_id=caller.key_id if isinstance(caller, Caller) else None,
            refused=caller.code if isinstance(caller, ApiError) else None,
        )


async def _read(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises: ApiError: body_too_large; _ClientGone."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the app receives: the body once, then what the server says (that the client is gone)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


def _check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
        raise ApiError("headers_too_large", f"at most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them")


def _check_media_type(headers: Sequence[tuple[bytes, bytes]]) -> None:
    # A compressed body would be larger than its limit, and other media types are read by other rules.
    if any(name == b"content-encoding" for name, _ in headers):
        raise ApiError("unsupported_media_type", "send the body without Content-Encoding")
    types = [value for name, value in headers if name == b"content-type"]
    media_type, _, parameter = types[0].lower().partition(b";") if len(types) == 1 else (b"", b"", b"")
    if media_type.strip() != _JSON or parameter.strip() not in (b"", b"charset=utf-8"):
        raise ApiError("unsupported_media_type", "a body is application/json in UTF-8")


def _too_large(limit: int) -> ApiError:
    return ApiError("body_too_large", f"a body has at most {limit} bytes")


def _buckets(clock: Clock, per_minute: int) -> Buckets:
    return Buckets(clock, per_minute=per_minute, burst=max(1, per_minute * BURST_S // 60))


def _passed(taken: Taken) -> Taken:
    if not taken.passed:
        raise ApiError("rate_limited", f"at most {taken.limit} requests at once", retry_after_s=taken.retry_after_s)
    return taken


def _rate_name(address: IpAddress | None) -> str:
    """What is counted together: an IPv4 address, or the /64 that one IPv6 customer has."""
    if address is None:
        return "local"
    if address.version == 6:
        return f"{int(address) >> (128 - _IPV6_CUSTOMER_BITS):x}::/64"
    return str(address)
