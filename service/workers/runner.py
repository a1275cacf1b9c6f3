"""The loops beside the HTTP server: the care for the endpoints of each chain, and in a process that works also signs of
life, an engine a chain with the hints of its WebSockets, its market history, the keeper of its resting orders, the end
of withdrawals that nobody approved, and the pruning of request nonces.

Guarantees: before any of them, what ended in older versions gets no signature any more (`sweeping`); every engine
recovers what an earlier process left before it takes new work; every loop runs until `stop` is set; one that fails
fails `run_workers`, and with it the process. Not guaranteed: that work under way is finished at the end; it is taken up
from its rows at the next start. Whether a worker keeps up shows in `service.health`.
"""

import asyncio
import contextlib
from typing import Final

from service.approvals.expiring import LOOP as EXPIRING
from service.approvals.expiring import run_expiring
from service.auth.replay import prune
from service.build import ChainRuntime, Services
from service.workers.heartbeats import LATE_FOR_PRUNING_S, engine_loop
from service.workers.hints import run_hints
from service.workers.history import history_loop, run_history
from service.workers.keeper import keeper_loop, run_keeper
from service.workers.sweeping import end_what_has_ended

PRUNE_EVERY_S: Final = 60.0
PRUNING: Final = "prune-nonces"


async def run_endpoints(services: Services, stop: asyncio.Event) -> None:
    """Care for the endpoints of every chain until `stop`. Raises: ExceptionGroup: a loop failed."""
    async with asyncio.TaskGroup() as loops:
        for chain in services.chains.values():
            loops.create_task(chain.endpoints.run(stop), name=f"endpoints-{chain.config.key}")
        # A service without a chain yet has no loops, and goes on all the same.
        await stop.wait()


async def run_workers(services: Services, stop: asyncio.Event) -> None:
    """Recover and run every active chain's engine until `stop`.

    Raises:
        ExceptionGroup: a loop failed; the others were cancelled.
    """
    await end_what_has_ended(services.db, stop, master=services.master, clock=services.clock)
    async with asyncio.TaskGroup() as loops:
        loops.create_task(services.membership.run(stop), name="membership")
        for chain in services.chains.values():
            loops.create_task(_engine(services, chain, stop=stop), name=engine_loop(chain.config))
            sockets = services.settings.ws.get(chain.config.key, ())
            loops.create_task(run_history(services, chain, stop), name=history_loop(chain.config))
            loops.create_task(run_keeper(services, chain, stop), name=keeper_loop(chain.config))
            loops.create_task(run_hints(sockets, chain.engine.hint, stop), name=f"hints-{chain.config.key}")
        loops.create_task(_prune(services, stop), name="prune-nonces")
        loops.create_task(run_expiring(services, stop), name=EXPIRING)


async def resend_stored(services: Services) -> None:
    """Send stored bytes of all chains again. Needs no key and may be cancelled: `run_workers` goes on from there."""
    await asyncio.gather(*(chain.engine.resend() for chain in services.chains.values()))


async def _engine(services: Services, chain: ChainRuntime, *, stop: asyncio.Event) -> None:
    name = engine_loop(chain.config)
    services.heartbeats.expect(name)
    await chain.engine.recover()
    await chain.engine.run(stop)
    services.heartbeats.forget(name)


async def _prune(services: Services, stop: asyncio.Event) -> None:
    """Forget the nonces of requests that are too old to be accepted again."""
    services.heartbeats.expect(PRUNING, within_s=LATE_FOR_PRUNING_S)
    while not stop.is_set():
        services.heartbeats.beat(PRUNING)
        now_ms = services.clock.now_ms()
        await services.db.run(lambda c, now_ms=now_ms: prune(c, now_ms=now_ms))  # type: ignore[misc]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PRUNE_EVERY_S):
                await stop.wait()
    services.heartbeats.forget(PRUNING)
