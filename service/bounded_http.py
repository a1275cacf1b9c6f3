"""uvicorn's HTTP protocol with bounds on what comes before a request is whole: its line and headers.

uvicorn waits for a head for ever and keeps whatever arrives of it. So 1,000 connections that say a byte a minute, or
one that sends headers without end, would take the service (slow loris).

Guarantees: a head has `MAX_HEAD_BYTES` at most, and is there `HEAD_WITHIN_S` after the connection or its own first
byte; else the connection is answered and closed. A request whose head comes in one piece costs nothing for it.
Not here: bodies (`service.auth.middleware`), idle connections between requests (uvicorn's keep-alive time).
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.clock import SystemClock
from service.errors import ApiError
from service.ids import new_id
from service.problems import problem

MAX_HEAD_BYTES: Final = 32_768
"""Twice what the edge takes of headers, which has the better word for them; and what one read may bring at once."""
HEAD_WITHIN_S: Final = 10.0


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _head_is_open = False
    """A request has begun and its headers have not ended."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._head_is_open:
            self._head_bytes = 0
            self._disarm()
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(
                ApiError("headers_too_large", f"a request line and headers have at most {MAX_HEAD_BYTES} bytes")
            )
        elif self._timer is None:
            self._arm()

    def on_message_begin(self) -> None:
        self._head_is_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_is_open = False
        super().on_headers_complete()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(ApiError("request_timeout", f"the request's headers did not arrive within {HEAD_WITHIN_S:.0f} s"))

    def _refuse(self, error: ApiError) -> None:
        if self.transport.is_closing():
            return
        response = problem(error, request_id=new_id(SystemClock()), headers={"Connection": "close"})
        head = [b"HTTP/1.1 %d \r\n" % response.status_code]
        head += [b"%b: %b\r\n" % (name, value) for name, value in response.raw_headers]
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))
        self.transport.close()
