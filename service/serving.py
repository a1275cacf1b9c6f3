"""The service put into one process: build, unlock, recover, then HTTP, workers and control socket until a signal; of
these what its role asks for (`service.roles`).

Guarantees: what cannot work is refused before the port answers (an open bind, a taken port, a wrong keystore
password, a database of other chains); everything opened is closed at the end, also after a failure; a process that
was asked to stop is gone within `GIVE_UP_S`, whatever hangs.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import structlog

from service.accounts.registration import open_missing_chains
from service.app import create_app
from service.build import Nodes, Services, build
from service.control.acts import perform
from service.control.server import Operator, control_server
from service.health import readiness
from service.health import router as health
from service.observability.exporter import metrics_app
from service.process import (
    Tls,
    Worker,
    bind,
    http_part,
    refuse_unsafe_bind,
    run_until_stopped,
    stop_on_signals,
    url_of,
)
from service.roles import Role, RoleNeedsPostgres
from service.routers import ROUTERS
from service.settings import Settings
from service.workers.heartbeats import LATE_S
from service.workers.markets import run_markets
from service.workers.runner import resend_stored, run_endpoints, run_workers

GIVE_UP_S: Final = 9.5
"""After a signal. Supervisors kill after 10 s, without a word in the log."""
OPEN_EVERY_S: Final = 15.0
"""How often wallets are looked at whose books are not open on every chain."""

BOOKS: Final = "books"

_log: Final = structlog.get_logger("cambist.process")


async def serve(settings: Settings, *, keystore_password: str | None, role: Role = Role.ALL) -> None:
    """Run the service until SIGTERM or SIGINT.

    Raises:
        RoleNeedsPostgres: a part of the work alone, on SQLite.
        UnsafeBind, OSError: the address cannot be used.
        DatabaseError, ChainError, SigningError: a part cannot be used as configured.
        BaseExceptionGroup: a part failed while it ran.
    """
    if role is not Role.ALL and settings.database_address.startswith("sqlite"):
        raise RoleNeedsPostgres(f"--role {role} shares a database with other processes, and SQLite has only one")
    tls = _tls(settings)
    refuse_unsafe_bind(settings.host, tls=tls, trusted_proxies=[str(proxy) for proxy in settings.trusted_proxies])
    stop = asyncio.Event()
    with (
        bind(settings.host, settings.port) as listener,
        _metrics_listener(settings) as metrics_listener,
        _backstop() as started,
        stop_on_signals(stop, then=started),
    ):
        # A process of the API can sign nothing, here or elsewhere.
        own = settings if role.works else settings.model_copy(update={"signers": {}})
        services = await build(own, nodes=Nodes.AWAITED)
        try:
            if role.works and keystore_password is not None:
                await _unlock(services, keystore_password)
            url = url_of(listener, tls=tls)

            async def act(name: str, params: Mapping[str, Any], operator: Operator) -> Mapping[str, Any]:
                if name == "status":
                    return await status(services, url=url)
                return await perform(services, name, params, operator)

            parts = [Worker(name="endpoints", run=partial(run_endpoints, services))]
            if role.serves:
                parts.append(Worker(name="markets", run=partial(run_markets, services)))
                parts.append(Worker(name="key-uses", run=partial(services.key_uses.run, services.db, services.master)))
                parts.append(Worker(name="refusals", run=partial(services.refusals.run, services.db, services.master)))
            if role.works:
                parts.append(Worker(name="workers", run=partial(run_workers, services)))
                parts.append(Worker(name="books", run=partial(_open_books, services)))
            if metrics_listener is not None:
                parts.append(http_part("metrics", metrics_app(services), listener=metrics_listener, tls=None))
            async with control_server(settings.control_socket, act) if role.works else contextlib.nullcontext():
                _log.info("serving", role=role, url=url, chains=sorted(services.chains), pid=os.getpid())
                app = create_app(services, ROUTERS if role.serves else (health,))
                # Made now: it would hold up everybody's requests for a third of a second.
                app.openapi()
                await run_until_stopped(
                    app,
                    listener=listener,
                    tls=tls,
                    workers=parts,
                    stop=stop,
                )
        finally:
            started()
            await services.close()
    _log.info("stopped")


async def _unlock(services: Services, password: str) -> None:
    """Unlock the key files, a second each; what was signed before leaves meanwhile. Raises: SigningError."""
    sending = asyncio.create_task(resend_stored(services), name="resend")
    try:
        await services.unlock(password)
    finally:
        # The engines go on where it stops; whatever ends it early comes up again there.
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def status(services: Services, *, url: str) -> dict[str, Any]:
    """What `cambist status` shows of a running server."""
    unlocked = await services.signers.addresses()
    return {
        "url": url,
        "pid": os.getpid(),
        "health": (await readiness(services)).model_dump(),
        "chains": sorted(services.chains),
        "unlocked_wallets": list(unlocked),
    }


async def _open_books(services: Services, stop: asyncio.Event) -> None:
    """Open the books of known wallets on chains and assets that were configured later, again until all are open."""
    services.heartbeats.expect(BOOKS, within_s=LATE_S + OPEN_EVERY_S)
    while not stop.is_set():
        services.heartbeats.beat(BOOKS)
        opened = await open_missing_chains(services)
        for failure in opened.failures:
            _log.warning("books not open", chain=failure.chain, reason=str(failure))
        if opened.count:
            _log.info("books opened", count=opened.count)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_EVERY_S):
                await stop.wait()
    services.heartbeats.forget(BOOKS)


@contextlib.contextmanager
def _metrics_listener(settings: Settings) -> Iterator[socket.socket | None]:
    """Bound before anything starts, as the API's. Raises: OSError, which names this address."""
    if settings.metrics_port == 0:
        yield None
        return
    try:
        listener = bind(settings.metrics_host, settings.metrics_port)
    except OSError as exc:
        place = f"{settings.metrics_host}:{settings.metrics_port}"
        raise OSError(exc.errno, f"no metrics at {place}: {exc.strerror or exc}") from exc
    with listener:
        yield listener


@contextlib.contextmanager
def _backstop() -> Iterator[Callable[[], None]]:
    """A last resort: once the function it yields was called, the process ends within `GIVE_UP_S`, whatever hangs."""
    timer = threading.Timer(GIVE_UP_S, _give_up)
    timer.daemon = True

    def start() -> None:
        if not timer.is_alive() and not timer.finished.is_set():
            timer.start()

    try:
        yield start
    finally:
        timer.cancel()


def _give_up() -> None:
    _log.critical("did not end in time; giving up", seconds=GIVE_UP_S)
    # What is durable is durable; waiting longer only means being killed without this line.
    os._exit(70)


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(certificate=settings.tls_certificate, key=settings.tls_key)
