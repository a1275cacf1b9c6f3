"""What a benchmark found beside what it has to find: one `Bar` each, one table for all.

    def run(*, ..., console: Console) -> list[Bar]     every benchmark of `python -m scripts.bench all`

Guarantees: a bar that could not be measured (a peer that does not install here) is not held. Not guaranteed: that a
ratio of one run is that of the next; only what is measured side by side in one run may be divided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rich.table import Table


class Sense(StrEnum):
    """Which side of `needed` is good."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: `name` says what is compared with what, `measured` is None where it could not be measured.

    `unit` is shown behind both figures: `x` for a ratio, `µs`, `ms`, `bp`, ` of 10,000` and the like.
    """

    name: str
    measured: float | None
    needed: float
    unit: str = "x"
    sense: Sense = Sense.AT_LEAST

    @property
    def held(self) -> bool:
        if self.measured is None:
            return False
        return self.measured >= self.needed if self.sense is Sense.AT_LEAST else self.measured <= self.needed

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "NOT MEASURED"
        return "PASS" if self.held else "FAIL"


def all_held(bars: Iterable[Bar]) -> bool:
    """Whether there is a bar, and every one is held."""
    found = list(bars)
    return bool(found) and all(bar.held for bar in found)


def bars_table(bars: Iterable[Bar], *, title: str) -> Table:
    """One row a bar."""
    table = Table("what", "measured", "bar", "", title=title, title_justify="left")
    for column in table.columns[1:3]:
        column.justify = "right"
    for bar in bars:
        measured = "" if bar.measured is None else f"{_figure(bar.measured)}{bar.unit}"
        table.add_row(bar.name, measured, f"{bar.sense} {_figure(bar.needed)}{bar.unit}", bar.verdict)
    return table


def _figure(value: float) -> str:
    """Integers in full, fractions of large figures cut: `10,000`, `0.9999`, `12.63`, `5,995`."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.4g}" if abs(value) >= 1 else f"{value:.6g}"
