"""The state of one endpoint, as a pure state machine: events in, a new `Health` out.

                      dial: other chain id or genesis (from any state, at once)
              .--------------------------------------------------> WRONG_CHAIN --.
              |                                                                  | recover_after good dials
    UNREACHABLE <---- fail_after failures in a row (from any state but          |
     |        ^       WRONG_CHAIN)                                               |
     |        '------------------------------.                                   |
     '-- first dial: 1 probe, later: ------->  SYNCING | LAGGING | FINALIZED_LAGGING | ALIVE   (the verdict of probes)
         recover_after probes

| from \\ event       | Failed                       | Probed, verdict worse    | Probed, verdict better       |
|---------------------|------------------------------|--------------------------|------------------------------|
| never judged        | UNREACHABLE                  | the verdict, at once     | the verdict, at once         |
| ALIVE               | UNREACHABLE after fail_after | after lag_after in a row | -                            |
| FINALIZED_LAGGING   | the same                     | after lag_after in a row | after recover_after in a row |
| LAGGING             | the same                     | after lag_after in a row | after recover_after in a row |
| SYNCING             | the same                     | -                        | after recover_after in a row |
| UNREACHABLE         | stays                        | -                        | after recover_after in a row |
| WRONG_CHAIN         | stays                        | -                        | after recover_after in a row |

WrongChainSeen leads to WRONG_CHAIN from everywhere at once; Answered only ends a row of failures.
SYNCING is believed at once: the node says it of itself. An endpoint that lags is not ALIVE again before it is within
half of what made it lag, so that one at the edge does not flap.

Guarantees: no I/O, no clock; the same events give the same state. Not guaranteed: anything about use: that the last
usable endpoint is never disabled is the pool's rule, which asks states for their rank only.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never


class State(StrEnum):
    UNREACHABLE = "unreachable"
    """Not dialled yet, or too many failures in a row."""
    WRONG_CHAIN = "wrong_chain"
    """Its chain id or genesis is another one. Never used, whatever else is down."""
    SYNCING = "syncing"
    LAGGING = "lagging"
    """Its head is too far behind the best."""
    FINALIZED_LAGGING = "finalized_lagging"
    """Its head is fresh, its `finalized` is too far behind the best."""
    ALIVE = "alive"


RANK: Final[dict[State, int]] = {
    State.ALIVE: 0,
    State.FINALIZED_LAGGING: 1,
    State.LAGGING: 2,
    State.SYNCING: 3,
    State.UNREACHABLE: 4,
    State.WRONG_CHAIN: 5,
}
"""How much an endpoint is wanted, 0 first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """Thresholds. Counts are consecutive."""

    fail_after: int = 3
    recover_after: int = 2
    lag_after: int = 2
    lag_blocks: int = 5
    finalized_lag_blocks: int = 96
    """Three epochs on Ethereum: one late epoch is usual there, three are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One endpoint's state. `is_checked`: chain id and genesis were seen since the last failure."""

    state: State = State.UNREACHABLE
    is_checked: bool = False
    was_judged: bool = False
    failures: int = 0
    verdict: State | None = None
    """What the last probes said, where it is not yet the state; `streak` of them."""
    streak: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No usable answer: connection, time-out, 5xx, malformed. Being throttled is no failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A usable answer to some request, node errors included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongChainSeen:
    """It answered with another chain id or genesis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A probe's figures, chain id right. The best are those of the pool, this endpoint included."""

    head: int
    finalized: int | None
    is_syncing: bool
    best_head: int
    best_finalized: int | None


Event = Failed | Answered | WrongChainSeen | Probed


def step(health: Health, event: Event, policy: HealthPolicy) -> Health:
    """The health after an event."""
    match event:
        case Failed():
            failures = health.failures + 1
            gone = failures >= policy.fail_after and health.state is not State.WRONG_CHAIN
            return replace(
                health,
                state=State.UNREACHABLE if gone else health.state,
                # A new connection may lead elsewhere: behind one name there may be several machines.
                is_checked=False,
                failures=failures,
                verdict=None,
                streak=0,
            )
        case Answered():
            return replace(health, failures=0)
        case WrongChainSeen():
            return Health(state=State.WRONG_CHAIN, was_judged=True)
        case Probed():
            return _judged(health, _verdict(health.state, event, policy), policy)
        case _:
            assert_never(event)


def _verdict(state: State, probe: Probed, policy: HealthPolicy) -> State:
    if probe.is_syncing:
        return State.SYNCING
    if probe.best_head - probe.head > _allowed(policy.lag_blocks, lags=state is State.LAGGING):
        return State.LAGGING
    if probe.finalized is not None and probe.best_finalized is not None:
        allowed = _allowed(policy.finalized_lag_blocks, lags=state is State.FINALIZED_LAGGING)
        if probe.best_finalized - probe.finalized > allowed:
            return State.FINALIZED_LAGGING
    return State.ALIVE


def _allowed(blocks: int, *, lags: bool) -> int:
    return blocks // 2 if lags else blocks


def _judged(health: Health, verdict: State, policy: HealthPolicy) -> Health:
    # Quarantine checks the genesis each time, until it ends.
    seen = replace(health, is_checked=health.state is not State.WRONG_CHAIN, failures=0)
    if verdict is health.state:
        return replace(seen, verdict=None, streak=0)
    better = RANK[verdict] < RANK[health.state]
    # Of two bad verdicts in a row the direction counts, not that they are the same.
    same_way = health.verdict is not None and (RANK[health.verdict] < RANK[health.state]) == better
    streak = health.streak + 1 if same_way else 1
    needed = policy.recover_after if better else policy.lag_after
    if not health.was_judged or verdict is State.SYNCING or streak >= needed:
        return Health(state=verdict, is_checked=True, was_judged=True)
    return replace(seen, verdict=verdict, streak=streak)
