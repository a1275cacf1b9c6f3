"""F92: what comes before a request is whole has bounds in size and time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from service import bounded_http
from service.process import bind, http_part

OK = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    listener, stop = bind("127.0.0.1", 0), asyncio.Event()
    found = int(listener.getsockname()[1])
    part = http_part("http", app, listener=listener, tls=None)
    serving = asyncio.ensure_future(part.run(stop))
    try:
        yield found
    finally:
        stop.set()
        await serving


async def answer(port: int, *pieces: bytes) -> bytes:
    """What the server says until it closes, or for one whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + (await reader.read(2_000))
    finally:
        writer.close()


async def test_a_request_passes_in_one_piece_and_in_several(port: int) -> None:
    assert b" 200 " in await answer(port, OK)
    assert b" 200 " in await answer(port, OK[:5], OK[5:20], OK[20:])


async def test_headers_without_end_are_refused(port: int) -> None:
    said = await answer(port, b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 40_000)
    assert b" 431 " in said
    assert b"headers_too_large" in said


async def test_a_head_that_does_not_end_is_closed_in_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_WITHIN_S", 0.2)
    for pieces in ((), (b"GET / HT",), (b"GET / HTTP/1.1\r\nhost: local",), (OK, OK[:9])):
        said = await answer(port, *pieces)
        if pieces and pieces[0] == OK:
            assert b" 200 " in said
            continue
        assert b" 408 " in said
        assert b"request_timeout" in said
