"""The loop that keeps a chain's market history, with what an operator sees of it.

Guarantees: those of `service.markets.history.ingester`; a process without the chain's lease shows no figures.
"""

import asyncio
from typing import Final

from chains.config import ChainConfig
from service.build import ChainRuntime, Services
from service.markets.history.backfill import Filled
from service.markets.history.following import Followed
from service.markets.history.ingester import HistoryPolicy, Ingester, policy_of_hours
from service.markets.history.source import ConfirmedChain
from service.observability.metrics import Metrics
from service.settings import Settings
from service.workers.heartbeats import Heartbeats

LATE_FOR_HISTORY_S: Final = 180.0
"""A turn after a pause reads some hundred blocks, each batch with a time-out of 20 s."""


class HistoryFigures:
    """`HistoryWatcher` into metrics and heartbeats."""

    def __init__(self, metrics: Metrics, heartbeats: Heartbeats) -> None:
        self._metrics = metrics
        self._heartbeats = heartbeats

    def turned(self, config: ChainConfig) -> None:
        self._heartbeats.beat(history_loop(config))

    def without_lease(self, config: ChainConfig) -> None:
        metrics = self._metrics
        for gauge in (metrics.history_block, metrics.history_age_seconds, metrics.history_missing_blocks):
            gauge.remove(config.key)

    def followed(self, config: ChainConfig, done: Followed, *, now_ms: int) -> None:
        metrics = self._metrics
        metrics.history_block.labels(config.key).set(done.head.number)
        metrics.history_age_seconds.labels(config.key).set(max(0, now_ms // 1000 - done.head.timestamp_s))
        metrics.history_trades.labels(config.key).inc(done.trades)
        metrics.history_removed_blocks.labels(config.key).inc(done.removed_blocks)

    def filled(self, config: ChainConfig, done: Filled) -> None:
        self._metrics.history_missing_blocks.labels(config.key).set(done.missing_blocks)
        self._metrics.history_trades.labels(config.key).inc(done.trades)


async def run_history(services: Services, chain: ChainRuntime, stop: asyncio.Event) -> None:
    """Keep one chain's history until `stop`, where that is wished. Raises: ExceptionGroup: a bug, a broken database."""
    if not services.settings.history_enabled:
        return
    name = history_loop(chain.config)
    services.heartbeats.expect(name, within_s=LATE_FOR_HISTORY_S)
    await ingester_of(services, chain).run(stop)
    services.heartbeats.forget(name)


def ingester_of(services: Services, chain: ChainRuntime) -> Ingester:
    """The chain's ingester in this process."""
    return Ingester(
        ConfirmedChain(chain.client, deployments=chain.deployments, recent=chain.recent_head),
        config=chain.config,
        assets=chain.assets,
        deployments=chain.deployments,
        uow=services.db,
        leases=services.membership,
        policy=_policy(services.settings),
        watcher=HistoryFigures(services.metrics, services.heartbeats),
        clock=services.clock,
    )


def history_loop(config: ChainConfig) -> str:
    """What the loop of a chain's history is called."""
    return f"history-{config.key}"


def _policy(settings: Settings) -> HistoryPolicy:
    return policy_of_hours(
        backfill_hours=settings.history_backfill_hours,
        trades_days=settings.history_trades_days,
        minutes_days=settings.history_minutes_days,
        quarters_days=settings.history_quarters_days,
    )
