"""What one kill trial does, drawn from a seed: what is asked for, where the process dies, what the node does meanwhile.

The same seed gives the same trial; what the operating system schedules is not part of it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.crash.subjects import Setting, Subject, bought_first, draw_subject, executed_first
from tests.faults.emulation import BOR, GETH, Emulation
from tests.faults.rules import (
    Delay,
    Drop,
    Flaw,
    HttpStatus,
    Malformed,
    NodeError,
    Phase,
    Rule,
    Swallow,
    WrongHash,
)

SEND: Final = "eth_sendRawTransaction"
K7: Final = "K7"
"""Killed from outside when the proxy holds the answer to a send."""
AT_RANDOM: Final = "random"
"""Killed from outside after some time."""
NAMED: Final = (
    *("K1", "K2", "K3", "K4", "K5", "K6", "K8", "K8b", "K9", "K10", "K11", "K12", "K14", "K14b", "K17", "K18", "K19"),
    *("K20", "K21"),
)
POINTS: Final = (*NAMED, K7, AT_RANDOM)
ONCE: Final = frozenset({"K1", "K2", "K9", "K10", "K14", "K17", "K18", "K19"})
"""A life may well come there no second time."""
LONGEST_RANDOM_MS: Final = 1_500
"""From the start of a life: setting up and settling take about so long."""
MOST_COMMITS: Final = 25
"""Hardly a life has fewer of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """How one life ends: at the `count`-th passing of a point, or after a time."""

    point: str
    count: int = 1
    after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """`kills` has one entry a life; one more life follows and goes to the end. `blocks_down` are mined in between.

    `direction`: where the pools' price is pushed, 1 up, -1 down.
    """

    seed: int
    chain: str
    direction: int
    subjects: Sequence[Subject]
    kills: Sequence[Kill]
    fault: str
    rules: Sequence[Rule]
    emulation: Emulation
    reorg: bool
    blocks_down: int

    @property
    def name(self) -> str:
        kinds = "+".join(f"{subject.kind} {subject.then}".rstrip() for subject in self.subjects)
        return f"seed {self.seed}: {kinds} on {self.chain}, {', '.join(k.point for k in self.kills)}, {self.fault}" + (
            ", reorg" if self.reorg else ""
        )


CALLED_UNDERPRICED: Final = {"underpriced": Phase.BEFORE, "underpriced after accepting": Phase.AFTER}
"""A replacement follows, and so these faults lead to K9 and K10."""
FAULTS: Final[Mapping[str, Callable[[], list[Rule]]]] = {
    "none": list,
    "answer lost": lambda: [Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=2)],
    "send lost": lambda: [Rule(action=Drop(), method=SEND, times=2)],
    "swallowed": lambda: [Rule(action=Swallow(), method=SEND, times=2)],
    "wrong hash": lambda: [Rule(action=WrongHash(), method=SEND, times=2)],
    "503 after accepting": lambda: [Rule(action=HttpStatus(status=503), method=SEND, phase=Phase.AFTER, times=2)],
    "429": lambda: [Rule(action=HttpStatus(status=429, retry_after_s=0), method=SEND, times=2)],
    "truncated answer": lambda: [
        Rule(action=Malformed(flaw=Flaw.TRUNCATED), method=SEND, phase=Phase.AFTER, times=2)
    ],
    "wrong id": lambda: [Rule(action=Malformed(flaw=Flaw.WRONG_ID), method=SEND, phase=Phase.AFTER, times=2)],
    "unknown refusal after accepting": lambda: [
        Rule(action=NodeError(code=-32000, text="upstream gave up"), method=SEND, phase=Phase.AFTER, times=2)
    ],
    "nonce too low after accepting": lambda: [
        Rule(action=NodeError(code=-32000, text="nonce too low"), method=SEND, phase=Phase.AFTER, times=1)
    ],
    "already known without having it": lambda: [
        Rule(action=NodeError(code=-32000, text="already known"), method=SEND, times=1)
    ],
    **{
        name: lambda phase=phase: [  # type: ignore[misc]
            Rule(action=NodeError(code=-32000, text="transaction underpriced"), method=SEND, phase=phase, times=2)
        ]
        for name, phase in CALLED_UNDERPRICED.items()
    },
    "no simulation of sequences": lambda: [
        Rule(action=NodeError(code=-32601, text="Method not found"), method="eth_simulateV1")
    ],
    "every tenth answer lost": lambda: [Rule(action=Drop(), phase=Phase.AFTER, probability=0.1)],
    "receipts late": lambda: [
        Rule(action=NodeError(code=-32000, text="transaction indexing is in progress"),
             method="eth_getTransactionReceipt", times=4)
    ],
    "slow": lambda: [Rule(action=Delay(seconds=0.02))],
}  # fmt: skip


def draw(seed: int, *, point: str | None = None, fault: str | None = None) -> Trial:
    """The trial of a seed; `point` fixes where the first life ends, `fault` what the node does (unless a point needs
    one of its own)."""
    chance = random.Random(seed)
    chain = chance.choice(("ethereum", "ethereum", "polygon"))
    first = _kill(chance, point or chance.choice(POINTS))
    kills = [first]
    while len(kills) < 3 and chance.random() < 0.25:
        kills.append(_kill(chance, chance.choice(POINTS)))
    replacing = any(kill.point in ("K9", "K10") for kill in kills)
    drawn = chance.choice(sorted(CALLED_UNDERPRICED if replacing else FAULTS))
    fault = drawn if fault is None or replacing else fault
    setting = Setting(chance=chance, chain=chain, seed=seed, direction=chance.choice((1, -1)))
    subjects = [draw_subject(setting, index=index) for index in range(chance.choice((1, 2, 2, 3, 4)))]
    points = {kill.point for kill in kills}
    if "K17" in points:
        subjects[0] = bought_first(setting, raw=20_000_000 + seed % 10_000)
    elif points & {"K18", "K19"}:
        subjects[0] = executed_first(setting)
    return Trial(
        seed=seed,
        chain=chain,
        direction=setting.direction,
        subjects=subjects,
        kills=kills,
        fault=fault,
        rules=FAULTS[fault](),
        emulation=chance.choice((Emulation(), GETH if chain == "ethereum" else BOR)),
        reorg=chance.random() < 0.25 or any(kill.point == "K14" for kill in kills),
        blocks_down=chance.choice((0, 0, 1, 3)),
    )


def _kill(chance: random.Random, point: str) -> Kill:
    if point == AT_RANDOM:
        return Kill(point=point, after_ms=chance.randrange(20, LONGEST_RANDOM_MS))
    if point == "K14b":  # passed with every new block, from the first look on
        return Kill(point=point, count=chance.choice((1, 2, 3, 5)))
    if point in ("K20", "K21"):
        return Kill(point=point, count=chance.randint(1, MOST_COMMITS))
    return Kill(point=point, count=1 if point in ONCE else chance.choice((1, 1, 1, 2)))
