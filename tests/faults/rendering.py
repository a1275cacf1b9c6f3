"""Answers on the wire: the right one, or one with a flaw."""

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from tests.faults.rules import CloseSocket, Drop, Flaw, HttpStatus, Malformed, Silence, SlowLoris

ResponseFault = Drop | Silence | CloseSocket | HttpStatus | Malformed | SlowLoris
"""What concerns a whole HTTP response, hence a whole batch."""
CHUNK: Final = b"00" * 2**15
DEFAULT_HUGE_BYTES: Final = 100 * 2**20
DEFAULT_DEPTH: Final = 100_000


async def respond(
    request: web.Request, payload: Any, *, fault: ResponseFault | None, closing: asyncio.Event
) -> web.StreamResponse:
    """Answer, or do what the fault says instead. `closing` ends a silence."""
    body = json.dumps(payload).encode()
    match fault:
        case None:
            return _whole(body)
        case Drop() | CloseSocket():
            return _hang_up(request)
        case Silence():
            await closing.wait()
            return _hang_up(request)
        case HttpStatus(status=status, body=text, retry_after_s=wait):
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return web.Response(status=status, text=text, content_type="text/html", headers=headers)
        case SlowLoris(pause_s=pause_s):
            return await _slowly(request, body, pause_s=pause_s)
        case Malformed(flaw=Flaw.HUGE, size=size):
            return await _hugely(request, payload, size=size or DEFAULT_HUGE_BYTES)
        case Malformed(flaw=flaw, size=size):
            return _whole(_spoiled(payload, body, flaw=flaw, size=size))


def _spoiled(payload: Any, body: bytes, *, flaw: Flaw, size: int) -> bytes:
    first = payload[0] if isinstance(payload, list) else payload
    call_id = json.dumps(first.get("id")).encode()
    wrapped = (b"[%s]" if isinstance(payload, list) else b"%s").__mod__
    match flaw:
        case Flaw.TRUNCATED:
            return body[: len(body) * 2 // 3]
        case Flaw.NOT_JSON:
            return b"<html><body>Bad gateway</body></html>"
        case Flaw.EMPTY:
            return b""
        case Flaw.DUPLICATE_KEYS:
            return wrapped(json.dumps(first).encode()[:-1] + b', "result": "0xdead"}')
        case Flaw.WRONG_ID:
            return wrapped(json.dumps(first | {"id": 987654321}).encode())
        case Flaw.DEEP:
            depth = size or DEFAULT_DEPTH
            return wrapped(b'{"jsonrpc":"2.0","id":%s,"result":%s%s}' % (call_id, b"[" * depth, b"]" * depth))
        case Flaw.NAN:
            return wrapped(b'{"jsonrpc":"2.0","id":%s,"result":NaN}' % call_id)
        case Flaw.HUGE_NUMBER:
            return wrapped(b'{"jsonrpc":"2.0","id":%s,"result":%d}' % (call_id, 2**256))
        case _:
            raise ValueError(f"{flaw} is not made here")


def _whole(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _slowly(request: web.Request, body: bytes, *, pause_s: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    for at in range(len(body)):
        await response.write(body[at : at + 1])
        await asyncio.sleep(pause_s)
    return response


async def _hugely(request: web.Request, payload: Any, *, size: int) -> web.StreamResponse:
    """Without Content-Length, so that only reading shows how large it is."""
    first = payload[0] if isinstance(payload, list) else payload
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"jsonrpc":"2.0","id":%s,"result":"0x' % json.dumps(first.get("id")).encode())
    for _ in range(size // len(CHUNK) + 1):
        await response.write(CHUNK)
    await response.write(b'"}')
    return response
