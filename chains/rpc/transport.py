"""JSON-RPC 2.0 over HTTP: strict, bounded, and silent about where it connects to.

Guarantees:
- an answer is used only when it is JSON-RPC 2.0, carries the id that was asked, and has a result or an error, not both;
- connecting, answering and the size of an answer are bounded (`RpcLimits`); a batch is split at `max_batch`;
- the address (it may hold an API key) is in no repr, log record or exception, nor in an exception's context;
- nothing is sent twice by the transport, redirects are refused, the environment's proxies are ignored.

Not guaranteed: that a request which raised `RpcUnavailable` or `RpcProtocolError` was not executed.
"""

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import orjson

from chains.errors import (
    MethodUnavailable,
    RpcError,
    RpcNotSent,
    RpcProtocolError,
    RpcRefused,
    RpcThrottled,
    RpcUnavailable,
)

METHOD_NOT_FOUND: Final = -32601
STRICT_BYTES: Final = 8 * 2**10
"""Up to this size (balances, calls, heads, receipts, sends) an answer with a key given twice is refused. orjson takes
the last one, and a second parser that looks costs microseconds here but seconds on a range of logs."""
_UNAVAILABLE_TEXTS: Final = ("method not found", "does not exist/is not available", "method not supported")
_MESSAGE_LIMIT: Final = 600
"""Characters kept of a node's message: revert texts are shorter, pages of HTML are not."""


class Transport(Protocol):
    """One endpoint. `name` is what logs and errors call it."""

    @property
    def name(self) -> str: ...

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        """The result. Raises: RpcUnavailable, RpcProtocolError, RpcRefused."""
        ...

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        """Results in the order asked; a call that the node refused is an `RpcRefused` in its place.

        Raises: RpcUnavailable, RpcProtocolError: no usable answer to (part of) the batch.
        """
        ...

    async def close(self) -> None: ...


class SecretUrl:
    """An endpoint's address, shown only by `reveal()`."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("an endpoint address starts with http:// or https://")
        self._url = url

    def reveal(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return "SecretUrl(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcLimits:
    """Bounds of one endpoint."""

    connect_timeout_ms: int = 5_000
    request_timeout_ms: int = 20_000
    """From the first byte sent to the last byte read: longest useful eth_getLogs of a hosted node."""
    max_response_bytes: int = 64 * 2**20
    """A block range of logs with 100,000 events has about 50 MB."""
    max_batch: int = 100
    """Calls a request; hosted nodes refuse more (QuickNode 100, Infura 1000)."""
    max_connections: int = 32


class HttpTransport:
    """`Transport` over aiohttp and orjson. The session opens in the first request, in the running loop."""

    def __init__(self, url: SecretUrl | str, *, name: str, limits: RpcLimits | None = None) -> None:
        self._url = url if isinstance(url, SecretUrl) else SecretUrl(url)
        self._name = name
        self._limits = limits or RpcLimits()
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def name(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"HttpTransport(name={self._name!r})"

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        call_id = next(self._ids)
        body = await self._post(method, orjson.dumps(_envelope(call_id, method, params)))
        answer = self._parse(method, body)
        if not isinstance(answer, dict):
            raise RpcProtocolError("the answer is not an object", endpoint=self._name, method=method)
        if isinstance(outcome := self._outcome(method, answer, call_id), RpcError):
            raise outcome
        return outcome

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        results: list[Any | RpcError] = []
        for start in range(0, len(calls), self._limits.max_batch):
            results += await self._batch(calls[start : start + self._limits.max_batch])
        return results

    async def close(self) -> None:
        session, self._session, self._loop = self._session, None, None
        if session is not None:
            await session.close()

    # -- private ------------------------------------------------------------------------------------------

    async def _batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        label = f"batch of {len(calls)} {calls[0][0]}"
        numbered = [(next(self._ids), method, params) for method, params in calls]
        payload = orjson.dumps([_envelope(call_id, method, params) for call_id, method, params in numbered])
        answers = self._parse(label, await self._post(label, payload))
        if isinstance(answers, dict):  # the node refuses the batch as a whole, with the id null
            outcome = self._outcome(label, answers, None)
            raise outcome if isinstance(outcome, RpcError) else self._broken(label, "one result for a batch")
        if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
            raise self._broken(label, "the answer is not a list of objects")
        if len(answers) != len(numbered):
            raise self._broken(label, f"{len(answers)} answers to {len(numbered)} calls")
        by_id = {answer.get("id"): answer for answer in answers if type(answer.get("id")) is int}
        results: list[Any | RpcError] = []
        for call_id, method, _ in numbered:
            if call_id not in by_id:
                raise self._broken(label, "an answer is missing")
            results.append(self._outcome(method, by_id[call_id], call_id))
        return results

    async def _post(self, method: str, payload: bytes) -> bytes:
        """The body of the answer, whatever it is; HTTP problems become our errors."""
        failure: RpcError
        try:
            return await self._exchange(method, payload)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as exc:
            # The pool relies on this being provable: see RpcNotSent.
            failure = RpcNotSent(f"no connection ({type(exc).__name__})", endpoint=self._name, method=method)
        except TimeoutError:
            failure = RpcUnavailable("no answer in time", endpoint=self._name, method=method)
        except (aiohttp.ClientError, OSError) as exc:
            # Their texts hold the address; the class name is enough.
            failure = RpcUnavailable(f"no connection ({type(exc).__name__})", endpoint=self._name, method=method)
        # Raised out here so that the original is not even its context.
        raise failure

    async def _exchange(self, method: str, payload: bytes) -> bytes:
        session = self._open()
        async with session.post(self._url.reveal(), data=payload, allow_redirects=False) as response:
            status = response.status
            if status == 429:
                raise RpcThrottled(
                    "HTTP 429", endpoint=self._name, method=method, retry_after_s=_retry_after_s(response.headers)
                )
            if status >= 500:
                raise RpcUnavailable(f"HTTP {status}", endpoint=self._name, method=method)
            if 300 <= status < 400:
                raise self._broken(method, f"HTTP {status}: redirects are not followed")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._limits.max_response_bytes:
                    raise self._broken(method, f"the answer is over {self._limits.max_response_bytes} bytes")
            # Some nodes put JSON-RPC errors into a 4xx; anything else there is not for us.
            if status != 200 and not body.lstrip().startswith((b"{", b"[")):
                raise self._broken(method, f"HTTP {status}")
            return bytes(body)

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is not None and not self._session.closed:
            if self._loop is loop:
                return self._session
            if self._loop is not None and not self._loop.is_closed():
                raise RuntimeError(f"{self!r} is in use in another event loop; close() it there first")
        limits = self._limits
        self._loop = loop
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limits.max_connections, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(
                total=limits.request_timeout_ms / 1000, sock_connect=limits.connect_timeout_ms / 1000
            ),
            headers={"Content-Type": "application/json", "User-Agent": "cambist"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            raise_for_status=False,
        )
        return self._session

    def _parse(self, method: str, body: bytes) -> Any:
        try:
            answer = orjson.loads(body)
            if len(body) <= STRICT_BYTES:
                _STRICT.decode(body.decode())
        except (orjson.JSONDecodeError, RecursionError):
            pass
        except _RepeatedKey:
            raise self._broken(method, "the answer has a key twice") from None
        else:
            return answer
        raise self._broken(method, "the answer is not JSON")

    def _outcome(self, method: str, answer: dict[str, Any], call_id: int | None) -> Any | RpcError:
        """The result, or the error that the node answered with. Raises: RpcProtocolError."""
        error, result = answer.get("error"), answer.get("result")
        if answer.get("jsonrpc") != "2.0":
            raise self._broken(method, "the answer is not JSON-RPC 2.0")
        if error is not None and result is not None:
            raise self._broken(method, "the answer has both a result and an error")
        if error is None and "result" not in answer:
            raise self._broken(method, "the answer has neither a result nor an error")
        # A node that could not read the request answers it with the id null; only an error may come that way.
        answer_id = answer.get("id")
        if (type(answer_id) is not int or answer_id != call_id) and (error is None or answer_id is not None):
            raise self._broken(method, "the answer carries another id")
        return result if error is None else self._refusal(method, error)

    def _refusal(self, method: str, error: Any) -> RpcRefused:
        if not isinstance(error, dict):
            raise self._broken(method, "the error is not an object")
        code, message = error.get("code"), error.get("message")
        text = message[:_MESSAGE_LIMIT] if isinstance(message, str) else "no message"
        kind = RpcRefused
        if code == METHOD_NOT_FOUND or any(known in text.lower() for known in _UNAVAILABLE_TEXTS):
            kind = MethodUnavailable
        return kind(
            text,
            endpoint=self._name,
            method=method,
            code=code if type(code) is int else None,
            data=error.get("data"),
        )

    def _broken(self, method: str, message: str) -> RpcProtocolError:
        return RpcProtocolError(message, endpoint=self._name, method=method)


class _RepeatedKey(Exception):
    """Two values for one key: parsers disagree which one counts."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _RepeatedKey


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_without_repeats)
"""Made once: to make it takes as long as what it then parses."""


def _envelope(call_id: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "method": method, "params": list(params)}


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Seconds that Retry-After asks for, at most an hour. The form with a date is left to the caller's own back-off."""
    value = headers.get("Retry-After", "").strip()
    return min(int(value), 3600) if value.isascii() and value.isdigit() and len(value) < 10 else None
