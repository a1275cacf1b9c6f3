"""uvicorn's HTTP protocol with bounds on what comes before a request is whole: its line and headers.

uvicorn waits for a head for ever and keeps whatever arrives of it, and waits for ever for a client to read. So 1,000
connections that say a byte a minute or read nothing, or one that sends headers without end, would take the service.

Guarantees: a head has `MAX_HEAD_BYTES` at most, or that and what one read brought behind another request, and is there
`HEAD_WITHIN_S` after the connection or the first byte after an answer, a line break before it included; else the
connection is answered and closed, as it is for what is no HTTP/1.1. While no request is under way, that time or
uvicorn's keep-alive time runs. Who takes less than `LEAST_READ_BYTES` of what waits for him within `READ_WITHIN_S`,
also after the connection was closed here, is cut off. A request whose head comes in one piece and whose answer goes out
costs nothing for it.

An app that answers some requests at once (`AnswersAhead`) is shown what a read brought before it is parsed: such a
request costs no parser, no task, no events and one write. Only between two requests of a connection, with nothing
waiting on it in either direction, and the server within its limits; so what is shown begins where a request begins. An
answer is written as it is, and what was shown is then over; what is not answered is parsed as if nobody had looked.
Not here: bodies (`service.auth.middleware`), idle connections between requests (uvicorn's keep-alive time).
"""

import asyncio
from typing import Any, Final, Protocol, runtime_checkable

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.clock import SystemClock
from service.errors import ApiError
from service.ids import new_id
from service.problems import ALWAYS, REQUEST_ID, problem

MAX_HEAD_BYTES: Final = 32_768
"""Twice what the edge takes of headers, which has the better word for them; and what one read may bring at once."""
HEAD_WITHIN_S: Final = 10.0
READ_WITHIN_S: Final = 30.0
LEAST_READ_BYTES: Final = 32_768
"""Some 1 KB a second; or all that is left."""

_log: Final = structlog.get_logger("cambist.http")


@runtime_checkable
class AnswersAhead(Protocol):
    """An app that can be asked without waiting.

    What it answers to `head` if that is one whole request without a body and nothing else, which it answers at once and
    which leaves the connection open; else None. `peer` is the other end's address, `before` the server's header lines.
    """

    def ahead(self, head: bytes, *, peer: str, before: bytes) -> bytes | None: ...


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    _head_bytes = 0
    _head_is_open = False
    """A request has begun and its headers have not ended."""
    _timer: asyncio.TimerHandle | None = None
    """For a head."""
    _reading_timer: asyncio.TimerHandle | None = None
    """For a client that does not read."""
    _unread_bytes = 0
    """When that began to run."""
    _is_between = True
    """The parser has read whole requests and no more, or nothing yet."""
    _has_ended = False
    """A request has, in the last read."""
    _answered_s = float("-inf")
    """When a request was last answered ahead, on the loop's clock."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._ahead: AnswersAhead | None = self.app if isinstance(self.app, AnswersAhead) else None
        self._server_headers: tuple[object, bytes] = (None, b"")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._disarm_reading()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_between and self._ahead is not None and self._answer(data):
            return
        # Until a request has ended, and no other has begun, in what comes now.
        self._is_between = self._has_ended = False
        super().data_received(data)
        # Of a read in which a request ended, nobody knows how much is of the head behind it: that is counted from the
        # next read on.
        self._head_bytes = self._head_bytes + len(data) if self._head_is_open and not self._has_ended else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(
                ApiError("headers_too_large", f"a request line and headers have at most {MAX_HEAD_BYTES} bytes")
            )
            return
        # uvicorn's keep-alive time was ended by what came, also if that began no request.
        if self._timer is None and (self._head_is_open or not self._is_under_way()):
            self._arm()

    def on_message_begin(self) -> None:
        self._head_is_open = True
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_is_open = False
        self._disarm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_between = self._has_ended = True
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # What follows on this connection is, for its client, perhaps no HTTP.
        self._ahead = None
        super()._unsupported_upgrade_warning()

    def timeout_keep_alive_handler(self) -> None:
        left_s = self._answered_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()
            self._watch_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reading()

    def send_400_response(self, msg: str) -> None:
        error = ApiError("malformed_http", "its first line, a header, a length or a chunk is not as RFC 9112 has it")
        last = self.cycle  # the newest request, also while those before it are answered
        if last is None or not self._is_under_way():
            self._refuse(error)
        elif not last.more_body:
            # It came behind whole requests: what was asked is answered, and then the connection is closed.
            last.keep_alive = False
            self.flow.pause_reading()
        elif not self.pipeline and not last.response_started:
            self._say_and_close(error)
        else:
            self._refuse(error)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._disarm_reading()

    def _answer(self, data: bytes) -> bool:
        """Whether that was a request that is answered now."""
        ahead, client, transport = self._ahead, self.client, self.transport
        if ahead is None or client is None or self._is_under_way():
            return False
        if self.flow.write_paused or transport.is_closing() or self._is_crowded():
            return False
        try:
            said = ahead.ahead(data, peer=client[0], before=self._before())
        except Exception:  # noqa: BLE001 - the whole way has an answer, and this is said in the log
            _log.exception("a request could not be answered ahead")
            return False
        if said is None:
            return False
        transport.write(said)
        self.server_state.total_requests += 1
        self._disarm()
        # A timer that runs goes on: it looks at this when it is due.
        self._answered_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        return True

    def _is_under_way(self) -> bool:
        """A request has come that is not answered yet."""
        return (self.cycle is not None and not self.cycle.response_complete) or bool(self.pipeline)

    def _is_crowded(self) -> bool:
        """As uvicorn has it, which has an answer for that."""
        limit = self.limit_concurrency
        return limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit)

    def _before(self) -> bytes:
        """The server's own header lines; uvicorn makes a new list of them every second."""
        given = self.server_state.default_headers
        if self._server_headers[0] is not given:
            self._server_headers = given, b"".join(b"%b: %b\r\n" % header for header in given)
        return self._server_headers[1]

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch_reading(self) -> None:
        """From now on nothing is written but what waits already."""
        if self._reading_timer is None:
            self._unread_bytes = self.transport.get_write_buffer_size()
            self._reading_timer = self.loop.call_later(READ_WITHIN_S, self._look_at_reading)

    def _disarm_reading(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _look_at_reading(self) -> None:
        self._reading_timer = None
        left = self.transport.get_write_buffer_size()
        if left and self._unread_bytes - left < LEAST_READ_BYTES:
            self.transport.abort()
        elif left:
            self._watch_reading()

    def _too_slow(self) -> None:
        self._timer = None
        if self._is_under_way():
            # What is written now would be taken for a part of that answer.
            self._arm()
            return
        self._refuse(ApiError("request_timeout", f"the request's headers did not arrive within {HEAD_WITHIN_S:.0f} s"))

    def _refuse(self, error: ApiError) -> None:
        if self.transport.is_closing():
            return
        if self._is_under_way():
            self.transport.close()
            self._watch_reading()
            return
        self._say_and_close(error)

    def _say_and_close(self, error: ApiError) -> None:
        request_id = new_id(SystemClock())
        response = problem(error, request_id=request_id, headers={"Connection": "close"})
        headers = [*response.raw_headers, *ALWAYS, (REQUEST_ID, request_id.encode())]
        head = [b"HTTP/1.1 %d \r\n" % response.status_code, self._before()]
        head += [b"%b: %b\r\n" % (name, value) for name, value in headers]
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))
        self.transport.close()
        self._watch_reading()
