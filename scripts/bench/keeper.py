"""`python -m scripts.bench keeper`: resting orders on a local chain, through order flow and reorgs, and in memory.

On the chain (`keeperchain`) the whole service works: orders by signed requests, the engine, the keeper; receipts are
held against the limits, books against balances, and what rests against what the contracts themselves quote. In memory
(`tests.service.orders.keeper`) blocks cost nothing, so that there are thousands, with deaths of the keeper in between;
and 5,000 orders are looked at while prices move, for the time that it takes.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from scripts.bench.keeperchain import Proven, prove
from scripts.bench.results import Bar, Sense
from scripts.devnet.network import start_devnet
from service.db.engine import Database
from tests.clock import FakeClock
from tests.service.orders.keeper import test_model
from tests.service.orders.keeper.oracle import Oracle
from tests.service.orders.keeper.world import World

MANY: Final = 5_000
LOOKS: Final = 20
BLOCKS_A_WORLD: Final = 500
"""A world of its own each, so that they are small."""
MOST_LOOK_MS: Final = 1_000.0
"""Half a block time of Polygon."""


def run(*, blocks: int, reorgs: int, in_memory: int, seed: int, console: Console) -> list[Bar]:
    """Prove on the chain and in memory, measure, print."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        worlds = asyncio.run(_in_memory(Path(directory), blocks=in_memory, seed=seed))
        console.print(f"in memory: {in_memory:,} blocks in {time.perf_counter() - began:.0f} s")
        for world, oracle in worlds:
            console.print(f"  {world.counts}; traded {oracle.traded}, reverted {oracle.reverted}")
        quiet_ms, moved_ms = asyncio.run(_many(Path(directory), seed=seed))
        console.print(f"a look at {MANY:,} orders: {quiet_ms:.1f} ms at the same head, {moved_ms:.1f} ms at a new one")
        with start_devnet(names=["ethereum"]) as devnet:
            began = time.perf_counter()
            chain = devnet.chains["ethereum"]
            done = asyncio.run(prove(chain, Path(directory), blocks=blocks, reorgs=reorgs, seed=seed))
        console.print(f"on the chain: {done}; in {time.perf_counter() - began:.0f} s")
    return [*_memory_bars(worlds, blocks=in_memory), *_chain_bars(done, blocks=blocks, reorgs=reorgs),
        Bar(name=f"a look at {MANY:,} orders at a new head", measured=moved_ms, needed=MOST_LOOK_MS, unit=" ms",
            sense=Sense.AT_MOST),
    ]  # fmt: skip


async def _in_memory(directory: Path, *, blocks: int, seed: int) -> list[tuple[World, Oracle]]:
    """Raises: AssertionError: something did not hold."""
    done: list[tuple[World, Oracle]] = []
    for number, first in enumerate(range(0, blocks, BLOCKS_A_WORLD)):
        db = await _database(directory / f"world-{number}.sqlite")
        try:
            size = min(BLOCKS_A_WORLD, blocks - first)
            done.append(await test_model.run(db, FakeClock(), seed=seed * 1_000 + number, blocks=size))
        finally:
            await db.close()
    return done


async def _many(directory: Path, *, seed: int) -> tuple[float, float]:
    """Milliseconds of a look at thousands of orders, a few of them near the price: at the same head, at a new one."""
    db = await _database(directory / "many.sqlite")
    try:
        world = World(db, FakeClock(), seed=seed, wallets=50)
        await world.set_up()
        await world.rest_far(MANY)
        await world.next_block()
        await world.keeper.step()
        same: list[float] = []
        new: list[float] = []
        for _ in range(LOOKS):
            for times in (same, new):
                if times is new:
                    await world.next_block()
                began = time.perf_counter()
                await world.keeper.step()
                times.append((time.perf_counter() - began) * 1e3)
        return statistics.median(same), statistics.median(new)
    finally:
        await db.close()


async def _database(path: Path) -> Database:
    db = await Database.open(f"sqlite:///{path}")
    await db.migrate()
    return db


def _memory_bars(worlds: list[tuple[World, Oracle]], *, blocks: int) -> list[Bar]:
    longest = max((oracle.longest for _, oracle in worlds), default=99)
    return [
        Bar(name="in memory: blocks", measured=sum(world.counts.blocks for world, _ in worlds), needed=blocks, unit=""),
        Bar(name="in memory: reorgs of 1 to 8 blocks", measured=sum(world.counts.reorgs for world, _ in worlds),
            needed=blocks // 50, unit=""),
        Bar(name="in memory: deaths of the keeper", measured=sum(world.counts.deaths for world, _ in worlds),
            needed=blocks // 200, unit=""),
        Bar(name="in memory: orders executed", measured=sum(oracle.traded for _, oracle in worlds),
            needed=blocks // 10, unit=""),
        Bar(name="in memory: heads in a row that an executable order rested", measured=longest, needed=2, unit="",
            sense=Sense.AT_MOST),
    ]  # fmt: skip


def _chain_bars(done: Proven, *, blocks: int, reorgs: int) -> list[Bar]:
    return [
        Bar(name="blocks of order flow", measured=done.blocks, needed=blocks, unit=""),
        Bar(name="reorgs of 1 to 8 blocks", measured=done.reorgs, needed=reorgs, unit=""),
        Bar(name="orders filled", measured=done.filled, needed=blocks // 20, unit=""),
        Bar(name="tries of the keeper", measured=done.executed, needed=blocks // 40, unit=""),
        Bar(name="orders found executable before a look, of a fifth", measured=done.found_executable,
            needed=blocks // 400, unit=""),
        Bar(name="fills or tries outside the limit", measured=len(done.outside), needed=0, unit="",
            sense=Sense.AT_MOST),
        Bar(name="heads in a row that an executable order rested", measured=done.longest, needed=2, unit="",
            sense=Sense.AT_MOST),
        Bar(name="books that differ from the chain", measured=done.books_differ, needed=0, unit="",
            sense=Sense.AT_MOST),
    ]  # fmt: skip
