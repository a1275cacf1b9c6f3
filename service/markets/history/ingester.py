"""One chain's history, kept by whichever worker holds its lease: the new end, old gaps, and what is too old.

    follow   as blocks come        every quarter of a block time
    fill     gaps, politely        a range, then a pause as long as it took, and longer
    prune    once an hour          a few rows at a time

Guarantees: one process writes a chain's history (`history:<chain id>`, and each unit of work is fenced); filling and
pruning never make following wait; a node or a database that fails for a while is tried again with growing pauses, and
ends nothing. A broken database, or a bug, ends `run` by raising.
Not guaranteed: that history is up to date; how old it is stands in each answer (`service.markets.history.reading`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.errors import ChainError
from chains.tx.context import Backoff, wait_for_any
from chains.tx.leases import FencedUnitOfWork, LeaseName, Leases
from chains.tx.store import Clock, StaleState, StoreUnavailable, UnitOfWork, UnusableRow
from chains.types import ChainId
from contracts.assets import AssetList
from contracts.deployments import Deployments
from contracts.errors import ContractError
from service.markets.history import storage
from service.markets.history.backfill import Backfill, Filled, Horizon
from service.markets.history.candles import BASES, DAY_S, HOUR_S
from service.markets.history.following import Followed, Follower
from service.markets.history.source import HistorySource
from service.markets.history.writing import PRUNED_AT_ONCE, prune_candles, prune_trades

POLL_PART: Final = 4
"""Looks at the chain a block time."""
MIN_POLL_MS: Final = 250
MAX_POLL_MS: Final = 3_000
FILL_PAUSE_MS: Final = 250
"""Between two ranges at least, and as long as the last one took: at most half of one connection to the node."""
IDLE_MS: Final = 5_000
"""Between two looks for gaps when there was none."""
PRUNE_EVERY_MS: Final = 3_600_000
PRUNE_PAUSE_MS: Final = 100
"""Between two units of work that take rows away, so that others get their turn."""
STOP_GRACE_S: Final = 1.0
"""For what is under way when stopping."""
PAUSES: Final = (ChainError, ContractError, StaleState, StoreUnavailable, UnusableRow)
"""What is tried again: a node's answer that is none, or makes no sense, and a lost race for a row."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPolicy:
    """How far back history goes at first, and how long it is kept: candles of two hours and of a day for good."""

    backfill_ms: int
    trades_kept_ms: int
    minutes_kept_ms: int
    quarters_kept_ms: int
    """Candles of 15 minutes."""

    def __post_init__(self) -> None:
        if not DAY_S * 1000 < self.trades_kept_ms <= self.minutes_kept_ms <= self.quarters_kept_ms:
            raise ValueError("history: trades are kept for over a day, and candles not shorter than what they are of")


class HistoryWatcher(Protocol):
    """Who is told what an ingester does: metrics and signs of life."""

    def turned(self, config: ChainConfig) -> None:
        """The loop is alive, whether or not this process has the lease."""
        ...

    def without_lease(self, config: ChainConfig) -> None:
        """Another process keeps this history, or nobody: what was told before is old."""
        ...

    def followed(self, config: ChainConfig, done: Followed, *, now_ms: int) -> None: ...

    def filled(self, config: ChainConfig, done: Filled) -> None: ...


class Ingester:
    """Keeps one chain's history. Used by one event loop; `run` once."""

    def __init__(
        self,
        source: HistorySource,
        *,
        config: ChainConfig,
        assets: AssetList,
        deployments: Deployments,
        uow: UnitOfWork[Connection],
        leases: Leases[Connection],
        policy: HistoryPolicy,
        watcher: HistoryWatcher,
        clock: Clock,
    ) -> None:
        self._config: Final = config
        self._leases: Final = leases
        self._lease: Final = history_lease(config.chain_id)
        self._policy: Final = policy
        self._watcher: Final = watcher
        self._clock: Final = clock
        self._uow: Final = FencedUnitOfWork(uow, leases)
        self._follower: Final = Follower(
            source, config=config, assets=assets, deployments=deployments, uow=self._uow, clock=clock
        )
        self._backfill: Final = Backfill(
            source,
            chain_id=config.chain_id,
            horizon=Horizon(blocks=policy.backfill_ms // config.block_time_ms, trades_kept_ms=policy.trades_kept_ms),
            uow=self._uow,
            clock=clock,
        )
        self._poll_ms: Final = min(max(config.block_time_ms // POLL_PART, MIN_POLL_MS), MAX_POLL_MS)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raises: ExceptionGroup: a bug or a broken database."""
        turns = (("follow", self._follow), ("fill", self._fill), ("prune", self._prune))
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._loop(turn, stop), name=f"history-{self._config.key}-{name}")
                for name, turn in turns
            ]
            await stop.wait()
            # A node that does not answer must not keep the process: what was not written is read again.
            _, late = await asyncio.wait(loops, timeout=STOP_GRACE_S)
            for task in late:
                task.cancel()

    async def step(self) -> bool:
        """One round of following and filling; False when neither found anything to do."""
        await self._claim()
        if not self._leases.holds(self._lease):
            return False
        followed = await self._follower.turn()
        filled = await self._backfill.turn()
        is_filling = filled is not None and filled.blocks > 0
        return is_filling or followed is None or followed.trades + followed.removed_blocks > 0

    # -- private ---------------------------------------------------------------------------------------------

    async def _loop(self, turn: Callable[[asyncio.Event], Awaitable[int]], stop: asyncio.Event) -> None:
        backoff = Backoff()
        while not stop.is_set():
            try:
                wait_ms = await turn(stop)
                backoff.succeeded()
            except PAUSES as exc:
                log.warning("%s: history goes on later: %s", self._config.key, exc)
                wait_ms = max(backoff.failed(), self._poll_ms)
            await wait_for_any(stop, timeout_ms=wait_ms)

    async def _follow(self, stop: asyncio.Event) -> int:
        self._watcher.turned(self._config)
        await self._claim()
        if not self._leases.holds(self._lease):
            self._follower.forget()
            self._watcher.without_lease(self._config)
        elif (done := await self._follower.turn()) is not None:
            self._watcher.followed(self._config, done, now_ms=self._clock.now_ms())
        if self._lease in self._leases.unwanted():
            await self._leases.give_back([self._lease])
        return self._poll_ms

    async def _fill(self, stop: asyncio.Event) -> int:
        if not self._leases.holds(self._lease):
            return IDLE_MS
        began_s = self._clock.monotonic_s()
        if (done := await self._backfill.turn()) is None:
            return self._poll_ms
        self._watcher.filled(self._config, done)
        took_ms = int((self._clock.monotonic_s() - began_s) * 1000)
        return max(FILL_PAUSE_MS, took_ms) if done.missing_blocks else IDLE_MS

    async def _prune(self, stop: asyncio.Event) -> int:
        if not self._leases.holds(self._lease):
            return IDLE_MS
        now_ms, chain_id = self._clock.now_ms(), self._config.chain_id
        kept_ms = dict(zip(BASES, (self._policy.minutes_kept_ms, self._policy.quarters_kept_ms), strict=False))
        for pair_id in {pool.pair_id for pool in await self._uow.read(lambda c: storage.pools_of(c, chain_id))}:
            before_ms = now_ms - self._policy.trades_kept_ms
            await self._all_of(lambda c, p=pair_id, b=before_ms: prune_trades(c, p, before_ms=b), stop)  # type: ignore[misc]
            for seconds, kept in kept_ms.items():
                await self._all_of(
                    lambda c, p=pair_id, s=seconds, b=now_ms - kept: prune_candles(c, p, seconds=s, before_ms=b),  # type: ignore[misc]
                    stop,
                )
        return PRUNE_EVERY_MS

    async def _all_of(self, prune: Callable[[Connection], int], stop: asyncio.Event) -> None:
        while not stop.is_set() and await self._uow.run(prune) == PRUNED_AT_ONCE:
            await wait_for_any(stop, timeout_ms=PRUNE_PAUSE_MS)

    async def _claim(self) -> None:
        await self._leases.claim([self._lease])


def history_lease(chain_id: ChainId) -> LeaseName:
    return LeaseName(f"history:{chain_id}")


def policy_of_hours(*, backfill_hours: int, trades_days: int, minutes_days: int, quarters_days: int) -> HistoryPolicy:
    """From settings."""
    day_ms = DAY_S * 1000
    return HistoryPolicy(
        backfill_ms=backfill_hours * HOUR_S * 1000,
        trades_kept_ms=trades_days * day_ms,
        minutes_kept_ms=minutes_days * day_ms,
        quarters_kept_ms=quarters_days * day_ms,
    )
