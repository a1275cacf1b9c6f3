"""The loop that keeps a chain's resting orders, with what an operator sees of it.

Guarantees: those of `service.orders.keeper.running`; a process without the chain's lease shows no figures.
"""

import asyncio
from typing import Final

from chains.config import ChainConfig
from service.build import ChainRuntime, Services
from service.observability.metrics import Metrics
from service.orders.keeper.deciding import Why
from service.orders.keeper.looks import Looked
from service.orders.keeper.needs import KeeperPolicy
from service.orders.keeper.running import Keeper
from service.settings import Settings
from service.workers.heartbeats import Heartbeats

LATE_FOR_KEEPER_S: Final = 120.0
"""A look with hundreds of quotes takes seconds, and each node call in it has a time-out of 20 s."""


RESTS_BY: Final = tuple(why for why in Why if why is not Why.ALTERED)
"""What the gauge tells of orders that rest on: one that was altered is closed, and counted as that."""


class KeeperFigures:
    """`KeeperWatcher` into metrics and heartbeats."""

    def __init__(self, metrics: Metrics, heartbeats: Heartbeats) -> None:
        self._metrics: Final = metrics
        self._heartbeats: Final = heartbeats

    def turned(self, config: ChainConfig) -> None:
        self._heartbeats.beat(keeper_loop(config))

    def without_lease(self, config: ChainConfig) -> None:
        self._metrics.resting_orders.remove(config.key)
        for why in RESTS_BY:
            self._metrics.orders_held_back.remove(config.key, why.value)

    def looked(self, config: ChainConfig, done: Looked, *, seconds: float) -> None:
        metrics, chain = self._metrics, config.key
        metrics.resting_orders.labels(chain).set(done.resting)
        metrics.keeper_look_seconds.labels(chain).observe(seconds)
        metrics.keeper_quotes.labels(chain).inc(done.quoted)
        made = {
            "executed": done.executed,
            "triggered": done.triggered,
            "expired": done.expired,
            "altered": done.altered,
        }
        for what, count in made.items():
            metrics.keeper_orders.labels(chain, what).inc(count)
        for why in RESTS_BY:
            metrics.orders_held_back.labels(chain, why.value).set(done.held_back[why])


async def run_keeper(services: Services, chain: ChainRuntime, stop: asyncio.Event) -> None:
    """Keep one chain's resting orders until `stop`. Raises: ExceptionGroup: a bug, a broken database."""
    name = keeper_loop(chain.config)
    services.heartbeats.expect(name, within_s=LATE_FOR_KEEPER_S)
    await keeper_of(services, chain).run(stop)
    services.heartbeats.forget(name)


def keeper_of(services: Services, chain: ChainRuntime) -> Keeper:
    """The chain's keeper in this process."""
    return Keeper(
        chain,
        uow=services.db,
        leases=services.membership,
        clock=services.clock,
        master=services.master,
        policy=policy_of(services.settings),
        watcher=KeeperFigures(services.metrics, services.heartbeats),
    )


def keeper_loop(config: ChainConfig) -> str:
    """What the loop of a chain's keeper is called."""
    return f"keeper-{config.key}"


def policy_of(settings: Settings) -> KeeperPolicy:
    """From settings: the same bounds that hold for an order that trades at once."""
    return KeeperPolicy(
        bounds=settings.price_bounds,
        max_price_impact_bps=settings.max_price_impact_bps,
        max_block_age_s=settings.max_block_age_s,
        deadline_s=settings.order_deadline_s,
    )
