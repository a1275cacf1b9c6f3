"""Ways to the same result, timed in turn: each round runs every way once, so that all share the machine's moments."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

ROUNDS: Final = 9
"""Odd; one more comes first and is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`work` does as much as `units` of what is counted."""

    work: Callable[[], object]
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Medians a unit, µs: on the clock, and of this process's CPU."""

    us: float
    cpu_us: float


def interleaved(ways: Mapping[str, Way], *, rounds: int = ROUNDS) -> dict[str, Took]:
    """Medians of `rounds` rounds after one that is not counted."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            way.work()
            clock[name].append((time.perf_counter() - began) / way.units * 1e6)
            cpu[name].append((time.process_time() - cpu_began) / way.units * 1e6)
    return {name: Took(us=statistics.median(clock[name][1:]), cpu_us=statistics.median(cpu[name][1:])) for name in ways}
