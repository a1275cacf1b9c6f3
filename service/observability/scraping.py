"""The page that Prometheus fetches: what was counted in this process, and what the database and the endpoints show now.

    cambist_pending_transactions{chain, age}   nonces that are taken and not mined, by how long ago
    cambist_endpoint_lag_blocks{chain, endpoint} ...

Guarantees: endpoints appear by name; a database that does not answer leaves its figures out, and says so by
`cambist_database_up` 0: a figure that could not be read is absent, never zero.
Not guaranteed: that the figures of one page are of one moment.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select, type_coerce
from sqlalchemy.types import NullType

from chains.rpc.health import State
from chains.rpc.policy import PoolFigures
from chains.tx.model import UNMINED_TX_STATES, IntentState
from chains.types import ChainId
from service.build import Services
from service.db import models as m
from service.db.errors import DatabaseError
from service.db.headstore import SqlHeadStore

DATABASE_TIMEOUT_S: Final = 5.0
AGES: Final[Mapping[str, int]] = {"1m": 60_000, "5m": 300_000, "30m": 1_800_000, "2h": 7_200_000}
"""Upper ends of the age classes, milliseconds; what is older is `older`."""
OLDER: Final = "older"
_POOL_COUNTERS: Final[Mapping[str, str]] = {
    "reads": "Reads asked of the pool.",
    "failovers": "Reads that went on to another endpoint.",
    "hedges": "Reads for which a second endpoint was asked since the first was slow.",
    "older_refused": "Answers not passed on, being behind what had been answered before.",
    "head_rewinds": "Heads that went back, after a wait.",
    "implausible": "Heads too far above all others to be believed.",
    "sends": "Signed transactions handed to all endpoints.",
    "contradictions": "Sends that one endpoint took and another refused for good.",
    "wrong_hashes": "Sends answered with another transaction's hash.",
    "quorum_reads": "Reads for which endpoints had to agree.",
    "quorum_failures": "Reads on which too few endpoints agreed.",
    "quorum_disagreements": "Reads on which endpoints answered differently.",
    "quorum_degraded": "Such reads with a single endpoint configured.",
}
_MARKET_COUNTERS: Final[Mapping[str, str]] = {
    "node_calls": "Calls made of the node for the pools in memory.",
    "blocks": "Blocks applied to them.",
    "removed": "Blocks taken back.",
    "loads": "Pools read from the chain.",
    "restarts": "Times that all of them were given up: a gap, a deep reorg, a disagreement.",
    "inconsistent": "Pools given up since their logs did not fit their state.",
    "checks": "Pools compared with the chain.",
    "disagreements": "Compared pools that were not as on the chain.",
    "failed_looks": "Looks at the head without an answer.",
}
_ENDPOINT_COUNTERS: Final[Mapping[str, str]] = {
    "requests": "Calls made.",
    "failures": "Requests without a usable answer.",
    "throttled": "Requests refused for their rate.",
    "sends": "Signed transactions sent.",
    "state_changes": "Changes of state.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """What waits on one chain."""

    by_age: Mapping[str, int]
    oldest_ms: int | None
    queued: int
    held: Mapping[str, int]
    frozen: str | None
    """The code of the reason."""
    cursor: int | None


async def page(services: Services) -> bytes:
    """The page, in the text format."""
    families = [*_endpoints(services), *_markets(services), *_workers(services)]
    try:
        async with asyncio.timeout(DATABASE_TIMEOUT_S):
            waiting = await services.db.read(lambda c: _read(c, services, services.clock.now_ms()))
        families += _waiting(waiting, services)
        up = 1
    except (TimeoutError, DatabaseError):
        up = 0
    families.append(_gauge("cambist_database_up", "Whether the database answered for this page.", [], [([], up)]))
    now = CollectorRegistry(auto_describe=False)
    now.register(_Found(families))
    return generate_latest(services.metrics.registry) + generate_latest(now)


class _Found(Collector):
    """Figures that were read already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families: Final = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _read(c: Connection, services: Services, now_ms: int) -> dict[str, _Waiting]:
    return {key: _of_chain(c, chain.config.chain_id, now_ms) for key, chain in services.chains.items()}


def _of_chain(c: Connection, chain_id: ChainId, now_ms: int) -> _Waiting:
    unmined = m.txs.c.chain_id == chain_id, m.txs.c.state.in_(UNMINED_TX_STATES)
    # As they are: a row that makes no sense must not keep the figures of all others.
    stored: Iterable[object] = c.execute(select(type_coerce(m.txs.c.created_ms, NullType())).where(*unmined)).scalars()
    created = [one for one in stored if isinstance(one, int)]
    by_age = dict.fromkeys([*AGES, OLDER], 0)
    for created_ms in created:
        by_age[_age(now_ms - created_ms)] += 1
    queued = select(func.count()).where(m.intents.c.chain_id == chain_id, m.intents.c.state == IntentState.QUEUED)
    holds = c.execute(
        select(type_coerce(m.lanes.c.hold_reason, NullType())).where(
            m.lanes.c.chain_id == chain_id, m.lanes.c.hold_reason.is_not(None)
        )
    ).scalars()
    held: dict[str, int] = {}
    for reason in holds:
        code = str(reason).partition(":")[0]
        held[code] = held.get(code, 0) + 1
    frozen = SqlHeadStore().frozen(c, chain_id)
    cursor = select(type_coerce(m.chain_cursors.c.block_number, NullType()))
    at: object = c.execute(cursor.where(m.chain_cursors.c.chain_id == chain_id)).scalar_one_or_none()
    return _Waiting(
        by_age=by_age,
        oldest_ms=now_ms - min(created) if created else None,
        queued=c.execute(queued).scalar_one(),
        held=held,
        frozen=None if frozen is None else frozen.partition(":")[0],
        cursor=at if isinstance(at, int) else None,
    )


def _age(age_ms: int) -> str:
    return next((name for name, most_ms in AGES.items() if age_ms <= most_ms), OLDER)


def _waiting(found: Mapping[str, _Waiting], services: Services) -> Iterator[Metric]:
    yield _gauge(
        "cambist_pending_transactions",
        "Nonces that are taken and not mined, by age class (up to).",
        ["chain", "age"],
        [([key, age], count) for key, one in found.items() for age, count in one.by_age.items()],
    )
    yield _gauge(
        "cambist_oldest_pending_seconds",
        "Age of the oldest of them.",
        ["chain"],
        [([key], (one.oldest_ms or 0) // 1000) for key, one in found.items()],
    )
    yield _gauge(
        "cambist_queued_intents",
        "Steps of orders and withdrawals that wait for their nonce.",
        ["chain"],
        [([key], one.queued) for key, one in found.items()],
    )
    yield _gauge(
        "cambist_held_lanes",
        "Wallets that take no new work until a person looked, by reason.",
        ["chain", "code"],
        [([key, code], count) for key, one in found.items() for code, count in one.held.items()],
    )
    yield _gauge(
        "cambist_frozen_chains",
        "Chains on which nothing moves until a person looked, by reason.",
        ["chain", "code"],
        [([key, one.frozen], 1) for key, one in found.items() if one.frozen is not None],
    )
    behind = {
        key: max(0, services.chains[key].endpoints.figures().served_head - one.cursor)
        for key, one in found.items()
        if one.cursor is not None
    }
    yield _gauge(
        "cambist_books_behind_blocks",
        "From the newest block served to the block up to which the books go; the confirmed depth is part of it.",
        ["chain"],
        [([key], blocks) for key, blocks in behind.items()],
    )


def _endpoints(services: Services) -> Iterator[Metric]:
    pools = {key: chain.endpoints.figures() for key, chain in services.chains.items()}
    for name, text in _POOL_COUNTERS.items():
        counter = CounterMetricFamily(f"cambist_pool_{name}", text, labels=["chain"])
        for key, pool in pools.items():
            counter.add_metric([key], getattr(pool, name))
        yield counter
    for name, text in _ENDPOINT_COUNTERS.items():
        counter = CounterMetricFamily(f"cambist_endpoint_{name}", text, labels=["chain", "endpoint"])
        for key, pool in pools.items():
            for endpoint in pool.endpoints:
                counter.add_metric([key, endpoint.name], getattr(endpoint, name))
        yield counter
    yield _gauge(
        "cambist_endpoint_state",
        "1 for the state that the endpoint is in.",
        ["chain", "endpoint", "state"],
        [
            ([key, endpoint.name, str(state)], int(endpoint.state == state))
            for key, pool in pools.items()
            for endpoint in pool.endpoints
            for state in State
        ],
    )
    yield _gauge(
        "cambist_endpoint_lag_blocks",
        "Blocks behind the newest one served. Absent for one that was never asked.",
        ["chain", "endpoint"],
        [
            ([key, endpoint.name], max(0, _newest(pool) - endpoint.head))
            for key, pool in pools.items()
            for endpoint in pool.endpoints
            if endpoint.head is not None
        ],
    )
    yield _gauge(
        "cambist_endpoint_latency_seconds",
        "Moving average of the time a request takes.",
        ["chain", "endpoint"],
        [
            ([key, endpoint.name], endpoint.latency_ms / 1000)
            for key, pool in pools.items()
            for endpoint in pool.endpoints
            if endpoint.latency_ms is not None
        ],
    )


def _markets(services: Services) -> Iterator[Metric]:
    figures = {key: chain.states.figures() for key, chain in services.chains.items()}
    for name, text in _MARKET_COUNTERS.items():
        counter = CounterMetricFamily(f"cambist_market_{name}", text, labels=["chain"])
        for key, one in figures.items():
            counter.add_metric([key], getattr(one, name))
        yield counter
    yield _gauge(
        "cambist_market_pools", "Pools held in memory.", ["chain"], [([key], one.pools) for key, one in figures.items()]
    )
    yield _gauge(
        "cambist_market_behind_blocks",
        "From the newest block served to the block of the pools in memory. Absent before the first view.",
        ["chain"],
        [
            ([key], max(0, services.chains[key].endpoints.figures().served_head - one.head))
            for key, one in figures.items()
            if one.head is not None
        ],
    )


def _newest(pool: PoolFigures) -> int:
    return max([pool.served_head, *(endpoint.head for endpoint in pool.endpoints if endpoint.head is not None)])


def _workers(services: Services) -> Iterator[Metric]:
    yield _gauge(
        "cambist_worker_silent_seconds",
        "Since the last sign of life of a loop of this process.",
        ["worker"],
        [([name], round(seconds, 3)) for name, seconds in services.heartbeats.silent_s().items()],
    )


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family
