"""Reference prices that wander: what the order flow's traders believe.

Guarantees: pure; the same seed and start give the same prices at every step, on any machine; a price stays
within `BOUND_PPM` of its start. It is a plausible market, not a model of one: one shock shared by all volatile
assets, one of their own, a pull back to the start; stablecoins barely move.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

MILLION = 1_000_000
# Liquidity of the volatile pools ends at half and at twice the opening price: stay well inside.
BOUND_PPM = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How an asset moves a step: standard deviations in millionths, and the part of its way back it takes."""

    shared_ppm: int
    own_ppm: int
    steps_back: int


# At one step a second about two per cent an hour.
VOLATILE = Temper(shared_ppm=300, own_ppm=250, steps_back=3_000)
STABLE = Temper(shared_ppm=0, own_ppm=20, steps_back=50)
STABLECOINS = frozenset({"USDC", "USDT", "DAI"})


class PriceWalk:
    """Prices of some assets, one step after the other."""

    def __init__(self, start: Mapping[str, int], *, seed: int) -> None:
        self._start = dict(sorted(start.items()))
        self._random = random.Random(f"prices {seed}")
        self._offset_ppm = dict.fromkeys(self._start, 0)

    def step(self) -> Mapping[str, int]:
        """Prices of the next step, in the unit of the start."""
        shared = self._random.gauss(0, 1)
        for asset, offset in self._offset_ppm.items():
            temper = STABLE if asset in STABLECOINS else VOLATILE
            shock = round(shared * temper.shared_ppm + self._random.gauss(0, 1) * temper.own_ppm)
            moved = offset + shock - round(offset / temper.steps_back)
            self._offset_ppm[asset] = max(-BOUND_PPM, min(BOUND_PPM, moved))
        return self.prices()

    def prices(self) -> Mapping[str, int]:
        """Prices of the present step."""
        return {a: p * (MILLION + self._offset_ppm[a]) // MILLION for a, p in self._start.items()}
