"""A load generator for one server: many connections, each sends its next request when it has its answer.

No pipelining, keep-alive, requests made before the clock starts. It runs in a process of its own and spends some 15 µs
a request, so that up to some 40,000 a second it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, cast

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 32
WITHIN_S: Final = 60
_OK: Final = b"HTTP/1.1 200 "
_CPUCLOCK_SCHED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A process that listens on this machine."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """What the process has used so far, all threads: its CPU-time clock, which counts nanoseconds."""
        # As clock_getcpuclockid(3) makes its id of a process id on Linux.
        return time.clock_gettime(~self.pid << 3 | _CPUCLOCK_SCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of it, a request: µs on the clock, and of the server process's CPU."""

    us: float
    cpu_us: float
    p99_ms: float
    statuses: Counter[str]


@dataclass(slots=True)
class _Work:
    requests: Sequence[bytes]
    done: asyncio.Future[None]
    next: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    last: bytes = b""


class _Connection(asyncio.Protocol):
    def __init__(self, work: _Work) -> None:
        self._work = work
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast("asyncio.Transport", transport)

    def go(self) -> None:
        work, transport = self._work, self._transport
        if work.next >= len(work.requests) or transport is None:
            return
        request = work.requests[work.next]
        work.next += 1
        self._sent_s = time.perf_counter()
        transport.write(request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        ended = buffer.find(b"\r\n\r\n")
        at = buffer.find(b"content-length: ", 0, ended) + 16
        if ended < 0 or len(buffer) < ended + 4 + int(buffer[at : buffer.find(b"\r", at)]):
            self._buffer = buffer
            return
        self._buffer = b""
        work, now_s = self._work, time.perf_counter()
        work.took_s.append(now_s - self._sent_s)
        if not buffer.startswith(_OK):
            work.refused[buffer[9:12].decode()] += 1
        work.last = buffer
        if len(work.took_s) == len(work.requests):
            work.done.set_result(None)
        self.go()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._work.done.done():
            self._work.done.set_exception(ConnectionError("the server closed a connection"))


async def drive(server: Server, requests: Sequence[bytes], *, connections: int = CONNECTIONS) -> Load:
    """Send all of them once. Raises: ConnectionError, TimeoutError: the server closed a connection, or hangs."""
    load, _ = await _drive(server, requests, connections=connections)
    return load


async def body_of(server: Server, request: bytes) -> bytes:
    """The body of one answer. Raises: ConnectionError: it is not a 200."""
    load, body = await _drive(server, [request], connections=1)
    if load.statuses != {"200": 1}:
        raise ConnectionError(f"answered {body[:300]!r}")
    return body


async def _drive(server: Server, requests: Sequence[bytes], *, connections: int) -> tuple[Load, bytes]:
    loop = asyncio.get_running_loop()
    work = _Work(requests, loop.create_future())
    opened = [await loop.create_connection(lambda: _Connection(work), HOST, server.port) for _ in range(connections)]
    began_s, began_cpu_s = time.perf_counter(), server.cpu_s()
    for _, protocol in opened:
        protocol.go()
    async with asyncio.timeout(WITHIN_S):
        await work.done
    took_s, took_cpu_s = time.perf_counter() - began_s, server.cpu_s() - began_cpu_s
    for transport, _ in opened:
        transport.abort()
    slowest = sorted(work.took_s)
    load = Load(
        us=took_s / len(requests) * 1e6,
        cpu_us=took_cpu_s / len(requests) * 1e6,
        p99_ms=slowest[len(slowest) * 99 // 100] * 1_000,
        statuses=work.refused + Counter({"200": len(requests) - work.refused.total()}),
    )
    return load, work.last.partition(b"\r\n\r\n")[2]
