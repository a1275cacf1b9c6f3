"""What a pool of endpoints is told and what it tells: thresholds, counters, gauges. Plain values."""

from dataclasses import dataclass, field

from chains.rpc.endpoint import EndpointFigures
from chains.rpc.health import HealthPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """Times are seconds. `hedge_after_s` None: no second endpoint before the first has failed."""

    health: HealthPolicy = field(default_factory=HealthPolicy)
    hedge_after_s: float | None = 0.75
    """With it a primary that went silent costs a read less than 2 s."""
    send_timeout_s: float = 4.0
    """How long a send waits for a success. What has not answered by then goes on, and counts as unknown."""
    quorum_timeout_s: float = 3.0
    """How long one endpoint's vote is waited for before the next one is asked."""
    probe_every_s: float = 4.0
    """Four calls an endpoint each time. With two good probes needed, an endpoint is back within about ten seconds."""
    probe_timeout_s: float = 4.0
    max_wait_s: float = 5.0
    """A read that would wait longer for a budget or back-off is refused."""
    head_hold_s: float = 30.0
    implausible_ahead_blocks: int = 128
    """A head so far above all others, when there are two or more, is a lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFigures:
    """Counters since the start, and gauges, for metrics."""

    endpoints: tuple[EndpointFigures, ...]
    served_head: int
    served_finalized: int
    reads: int
    failovers: int
    hedges: int
    older_refused: int
    """Answers not passed on, since they were behind what had been answered before."""
    head_rewinds: int
    implausible: int
    sends: int
    contradictions: int
    wrong_hashes: int
    quorum_reads: int
    quorum_failures: int
    quorum_disagreements: int
    quorum_degraded: int


@dataclass(slots=True)
class Counts:
    """What a pool counts while it runs; the fields are those of `PoolFigures`."""

    reads: int = 0
    failovers: int = 0
    hedges: int = 0
    older_refused: int = 0
    head_rewinds: int = 0
    implausible: int = 0
    sends: int = 0
    contradictions: int = 0
    wrong_hashes: int = 0
    quorum_reads: int = 0
    quorum_failures: int = 0
    quorum_disagreements: int = 0
    quorum_degraded: int = 0
