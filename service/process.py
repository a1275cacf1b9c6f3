"""One process: HTTP server, workers and control socket in one TaskGroup.

Guarantees: whatever part ends before it was asked to, the process ends with it (a supervisor restarts it), and
the log says which part and why; SIGTERM or SIGINT stops taking requests and work, lets what is under way be saved,
and the process is gone within `SHUTDOWN_S` and a moment; a second signal does not make it rude: what must be
durable was durable before it was acted on. A public address is refused unless TLS or a trusted proxy is set.
Does not guarantee that work in flight is finished at the end: it is taken up from its rows at the next start.
"""

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
import uvicorn

from service.bounded_http import BoundedHttp

SHUTDOWN_S: Final = 8.0
"""From the signal until what still runs is cancelled; supervisors kill after 10 s."""
HTTP_DRAIN_S: Final = 4
"""How long requests under way may take to answer after the signal."""
KEEP_ALIVE_S: Final = 30
MAX_CONNECTIONS: Final = 1_000
BACKLOG: Final = 512

_log: Final = structlog.get_logger("cambist.process")


class UnsafeBind(Exception):
    """The address is reachable from elsewhere, and neither TLS nor a trusted proxy is set."""


class PartEnded(Exception):
    """A part of the process ended without being asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A loop that runs until `stop` is set, and raises when it cannot go on."""

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Certificate chain and key, PEM files."""

    certificate: Path
    key: Path


def refuse_unsafe_bind(host: str, *, tls: Tls | None, trusted_proxies: Sequence[str]) -> None:
    """A request is signed but not secret: on the open network it needs TLS, here or in a proxy in front.

    Raises:
        UnsafeBind: the address is not loopback, with no TLS and no trusted proxy.
    """
    if tls is not None or trusted_proxies or _is_loopback(host):
        return
    raise UnsafeBind(
        f"{host} can be reached from other machines: set TLS (certificate and key), or name the proxy in front of"
        " Cambist in the trusted proxies, or listen on 127.0.0.1"
    )


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket, so that a taken port is known before anything is started. Port 0 takes a free one.

    Raises:
        OSError: the address is taken or is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket, *, tls: Tls | None) -> str:
    """Where a client on this machine reaches the server."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


async def run_until_stopped(
    app: Callable[..., Awaitable[None]],
    *,
    listener: socket.socket,
    tls: Tls | None,
    workers: Sequence[Worker],
    stop: asyncio.Event,
) -> None:
    """Serve and work until `stop` is set, then until all parts have saved and ended.

    Raises:
        BaseExceptionGroup: a part failed or ended early; the others were cancelled.
    """
    async with asyncio.TaskGroup() as parts:
        all_parts = [http_part("http", app, listener=listener, tls=tls), *workers]
        tasks = [parts.create_task(_part(part, stop), name=part.name) for part in all_parts]
        parts.create_task(_enforce_deadline(tasks, stop), name="deadline")


def http_part(name: str, app: Callable[..., Awaitable[None]], *, listener: socket.socket, tls: Tls | None) -> Worker:
    """A server on that socket as a part of the process; the socket is closed at its end."""
    server = _HttpServer(_http_config(app, tls=tls))

    async def serve(stop: asyncio.Event) -> None:
        with listener:
            async with asyncio.TaskGroup() as group:
                stopping = group.create_task(_stop_http(server, stop))
                await server.serve(sockets=[listener])
                stopping.cancel()

    return Worker(name=name, run=serve)


@contextlib.contextmanager
def stop_on_signals(stop: asyncio.Event, *, then: Callable[[], None]) -> Generator[None, None, None]:
    """SIGTERM and SIGINT set `stop` and call `then`."""
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        _log.info("stopping", signal=number.name)
        stop.set()
        then()

    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, asked, number)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def reasons(error: BaseException) -> list[BaseException]:
    """The single failures inside nested exception groups."""
    if isinstance(error, BaseExceptionGroup):
        return [reason for inner in error.exceptions for reason in reasons(inner)]
    return [error]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, else the standard one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class _HttpServer(uvicorn.Server):
    """uvicorn without its own signal handling: the process stops all its parts, not only this one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _http_config(app: Callable[..., Awaitable[None]], *, tls: Tls | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=HTTP_DRAIN_S,
        ssl_certfile=str(tls.certificate) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        ws="none",
        http=BoundedHttp,
    )


async def _part(part: Worker, stop: asyncio.Event) -> None:
    try:
        await part.run(stop)
    except Exception as exc:
        exc.add_note(f"in the part {part.name!r} of the process")
        raise
    if not stop.is_set():
        raise PartEnded(f"{part.name} ended without being asked to")


async def _stop_http(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


async def _enforce_deadline(tasks: Sequence[asyncio.Task[Any]], stop: asyncio.Event) -> None:
    await stop.wait()
    _, late = await asyncio.wait(tasks, timeout=SHUTDOWN_S)
    for task in late:
        _log.error("cancelled at the end of the shutdown time", part=task.get_name(), seconds=SHUTDOWN_S)
        task.cancel()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.asynccontextmanager
async def closing_after(close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run the block, then `close`, whatever happened."""
    try:
        yield
    finally:
        await close()
