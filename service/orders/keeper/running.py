"""The loop that keeps one chain's resting orders, by whichever worker holds its lease.

Guarantees: one process at a time keeps a chain's orders (`keeper:<chain id>`, every write fenced by the term in which
the look began); a node or a database that fails for a while is tried again with growing pauses, and ends nothing; a
chain without resting orders costs no node call. All state is in rows: another process, or the next start, goes on from
there. A broken database, or a bug, ends `run` by raising. Not guaranteed: a look a block, where looks take longer.
"""

import asyncio
from typing import Final, Protocol

import structlog
from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.errors import ChainError
from chains.tx.context import Backoff, wait_for_any
from chains.tx.leases import FencedUnitOfWork, LeaseName, Leases
from chains.tx.store import Clock, StaleState, StoreUnavailable, UnitOfWork, UnusableRow
from chains.types import ChainId
from contracts.errors import ContractError
from service.auth.secrets import MasterKey
from service.orders.keeper.looks import Looked
from service.orders.keeper.needs import KeeperPolicy, KeptChain
from service.orders.keeper.watching import Watcher

POLL_PART: Final = 4
"""Looks a block time."""
MIN_POLL_MS: Final = 250
MAX_POLL_MS: Final = 3_000
STOP_GRACE_S: Final = 3.0
"""For the look under way when stopping; what it has not written, the next one decides anew."""
PAUSES: Final = (ChainError, ContractError, StaleState, StoreUnavailable, UnusableRow)
"""What is tried again: a node's answer that is none, or makes no sense, a lost race for a row, and a row of the chain's
own that is none. A row of one order holds back that one (`watching`, `trying`)."""

_log: Final = structlog.get_logger("cambist.keeper")


class KeeperWatcher(Protocol):
    """Who is told what a keeper does: metrics and signs of life."""

    def turned(self, config: ChainConfig) -> None:
        """The loop is alive, whether or not this process has the lease."""
        ...

    def without_lease(self, config: ChainConfig) -> None:
        """Another process keeps these orders, or nobody: what was told before is old."""
        ...

    def looked(self, config: ChainConfig, done: Looked, *, seconds: float) -> None: ...


class Keeper:
    """Keeps one chain's resting orders. Used by one event loop; `run` once."""

    def __init__(
        self,
        chain: KeptChain,
        *,
        uow: UnitOfWork[Connection],
        leases: Leases[Connection],
        clock: Clock,
        master: MasterKey,
        policy: KeeperPolicy,
        watcher: KeeperWatcher,
    ) -> None:
        config = chain.config
        self._config: Final = config
        self._leases: Final = leases
        self._lease: Final = keeper_lease(config.chain_id)
        self._uow: Final = FencedUnitOfWork(uow, leases)
        self._clock: Final = clock
        self._told: Final = watcher
        self._orders: Final = Watcher(chain, clock=clock, master=master, policy=policy)
        self._poll_ms: Final = min(max(config.block_time_ms // POLL_PART, MIN_POLL_MS), MAX_POLL_MS)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises: ExceptionGroup: a bug or a broken database."""
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(self._loop(stop), name=f"keeper-{self._config.key}-looks")
            await stop.wait()
            # A node that does not answer must not keep the process.
            _, late = await asyncio.wait([loop], timeout=STOP_GRACE_S)
            for task in late:
                task.cancel()

    async def step(self) -> Looked | None:
        """One look; None without the lease. Raises: what makes `run` pause."""
        self._told.turned(self._config)
        await self._leases.claim([self._lease])
        if not self._leases.holds(self._lease):
            self._orders.forget()
            self._told.without_lease(self._config)
            return None
        began_s = self._clock.monotonic_s()
        done = await self._orders.look(self._uow.of_this_term())
        self._told.looked(self._config, done, seconds=self._clock.monotonic_s() - began_s)
        if self._lease in self._leases.unwanted():
            await self._leases.give_back([self._lease])
        return done

    async def _loop(self, stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            wait_ms = self._poll_ms
            try:
                await self.step()
                backoff.succeeded()
            except PAUSES as exc:
                _log.warning("orders are looked at later", chain=self._config.key, reason=str(exc))
                wait_ms = max(backoff.failed(), self._poll_ms)
            await wait_for_any(stop, timeout_ms=wait_ms)


def keeper_lease(chain_id: ChainId) -> LeaseName:
    return LeaseName(f"keeper:{chain_id}")
