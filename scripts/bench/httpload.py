"""A load generator for one server: many connections, each sends its next request when it has its answer.

No pipelining, keep-alive, requests made before the clock starts. It runs in a process of its own and spends some 15 µs
a request, so that up to some 40,000 a second it is the server that is measured.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 32
WITHIN_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A process that listens on this machine."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """What the process has used so far, all threads; in steps of 10 ms."""
        # After the name in brackets, which may hold anything: user and system time are the 12th and 13th (proc(5)).
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    answered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


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
        self._buffer = data if not self._buffer else self._buffer + data
        ended = self._buffer.find(b"\r\n\r\n")
        if ended < 0:
            return
        at = self._buffer.find(b"content-length: ", 0, ended)
        length = int(self._buffer[at + 16 : self._buffer.find(b"\r", at)])
        if len(self._buffer) < ended + 4 + length:
            return
        work = self._work
        work.took_s.append(time.perf_counter() - self._sent_s)
        work.statuses[self._buffer[9:12].decode()] += 1
        work.bodies[:] = [self._buffer[ended + 4 :]]
        self._buffer = b""
        work.answered += 1
        if work.answered == len(work.requests):
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
    load, bodies = await _drive(server, [request], connections=1)
    if load.statuses != {"200": 1}:
        raise ConnectionError(f"answered {bodies[0][:300]!r}")
    return bodies[0]


async def _drive(server: Server, requests: Sequence[bytes], *, connections: int) -> tuple[Load, list[bytes]]:
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
        statuses=work.statuses,
    )
    return load, work.bodies
