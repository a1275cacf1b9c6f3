"""`python -m scripts.bench all`: the benchmarks with bars in `docs`, one after the other, and one table of their bars.

Within each benchmark the ways that are compared take turns (interleaved rounds), so that every ratio is of one moment
of the machine. A benchmark that ends with an error ends the run: a table with a hole would look finished.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console

from scripts.bench import balances, http, jsonrpc, logs, quotes, routing, state
from scripts.bench.results import Bar, all_held, bars_table

QUOTES: Final = 10_000
"""Random quotes of the proof."""
BLOCKS: Final = 1_000
"""Of order flow, through which states are held."""
REORGS: Final = 100
CASES: Final = 200
"""Trades beside smart-order-router."""
SEED: Final = 1
HTTP_ROUNDS: Final = 7

Benchmark = Callable[[Console], list[Bar]]

BENCHMARKS: Final[dict[str, Benchmark]] = {
    "quotes": lambda console: quotes.run(count=QUOTES, seed=SEED, peers=True, console=console),
    "routing": lambda console: routing.run(cases=CASES, seed=SEED, peer=True, console=console),
    "state": lambda console: state.run(blocks=BLOCKS, reorgs=REORGS, seed=SEED, console=console),
    "balances": lambda console: balances.run(seed=SEED, peers=True, console=console),
    "logs": lambda console: logs.run(seed=SEED, console=console),
    "jsonrpc": lambda console: jsonrpc.run(seed=SEED, console=console),
    "http": lambda console: http.run(console=console, rounds=HTTP_ROUNDS),
}
"""Name to what runs it; each prints its own figures and returns its bars."""


def run(*, console: Console) -> bool:
    """Run all and print the table; True if every bar is held."""
    bars: list[Bar] = []
    for name, benchmark in BENCHMARKS.items():
        console.rule(name)
        bars += benchmark(console)
    console.rule("bars")
    console.print(bars_table(bars, title="Bars, each of one interleaved run"))
    held = all_held(bars)
    console.print("PASS" if held else "FAIL")
    return held
