"""`python -m scripts.bench state`: pool states held in memory against fresh loads, through order flow and reorgs.

Each step makes a few blocks of everything that can happen to a pool (see `churn`), at times a reorg, and then asks for
the market: every pool of the view has to equal a fresh load of the same words at the same block, nothing may have been
given up on the way (what is reloaded proves nothing), and at the end every pool that the factories have is in the view.
"""

from __future__ import annotations

import asyncio
import random
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from rich.console import Console

from chains.client import EvmClient
from chains.config import load_chains
from chains.recent import RecentHead
from chains.rpc.transport import HttpTransport
from chains.types import Address, ChainId
from contracts.assets import load_assets
from contracts.deployments import MULTICALL3, load_deployments
from contracts.pools import PoolDirectory, discover, pool_keys
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import WordRange
from scripts.bench.churn import Churn
from scripts.bench.results import Bar, Sense
from scripts.devnet.network import LocalChain, start_devnet
from service.clock import SystemClock
from service.markets.state.loading import PoolLoader
from service.markets.state.model import StateFigures
from service.markets.state.states import PoolStates, has_price

DEEPEST: Final = 8
SHOWN: Final = 10
WARM_VIEWS: Final = 2_000


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run found."""

    steps: int = 0
    compared: int = 0
    pools: int = 0
    existing: int = 0
    """Pools that the factories have at the end."""
    differences: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    figures: StateFigures | None = None
    look_ms: list[float] = field(default_factory=list)
    """Of a view with new blocks in it."""
    warm_us: float = 0.0
    cpu_s: float = 0.0
    """Of this process, in views."""

    @property
    def held(self) -> bool:
        """Whether all were equal, and followed all the way."""
        figures = self.figures
        return (
            self.compared > 0
            and not self.differences
            and figures is not None
            and figures.restarts == figures.inconsistent == figures.failed_looks == 0
        )


def run(*, blocks: int, reorgs: int, seed: int, console: Console) -> list[Bar]:
    """Churn, compare, print."""
    with start_devnet(names=["ethereum"]) as devnet:
        began = time.perf_counter()
        done = asyncio.run(prove(devnet.chains["ethereum"], blocks=blocks, reorgs=reorgs, seed=seed))
    for text in done.differences[:SHOWN]:
        console.print(text)
    told = ", ".join(f"{count:,} {name}" for name, count in done.counts.items())
    console.print(f"{told}; in {time.perf_counter() - began:.0f} s")
    console.print(f"{done.compared:,} states of {done.pools} pools compared after {done.steps:,} steps; {done.figures}")
    console.print(
        f"a view with new blocks {statistics.median(done.look_ms):.1f} ms (median), warm {done.warm_us:.1f} µs; "
        f"CPU in views {done.cpu_s:.1f} s; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    figures = done.figures
    gaps = 1 if figures is None else figures.restarts + figures.inconsistent + figures.failed_looks
    return [
        Bar(name="blocks of order flow", measured=done.counts["blocks"], needed=blocks, unit=""),
        Bar(name="reorgs of 1 to 8 blocks", measured=done.counts["reorgs"], needed=reorgs, unit=""),
        Bar(name="states compared", measured=done.compared, needed=1, unit=""),
        Bar(name="states that differ from a fresh load", measured=len(done.differences), needed=0, unit="",
            sense=Sense.AT_MOST),
        Bar(name="states given up on the way", measured=gaps, needed=0, unit="", sense=Sense.AT_MOST),
    ]  # fmt: skip


async def prove(chain: LocalChain, *, blocks: int, reorgs: int, seed: int) -> Outcome:
    """The proof on a chain of its own."""
    rng, done = random.Random(seed), Outcome()
    churn = await asyncio.to_thread(Churn, chain, seed=seed)
    config = load_chains()[chain.name]
    transport = HttpTransport(chain.rpc_url, name=chain.name)
    clock, client = SystemClock(), EvmClient(config, transport)
    assets, deployments = load_assets(config.chain_id), load_deployments()
    directory = PoolDirectory(config.chain_id)
    states = PoolStates(
        client, assets=assets, deployments=deployments, directory=directory, recent=RecentHead(clock), clock=clock
    )
    tokens = [asset.token_address for asset in assets if not asset.is_native]
    fresh = PoolLoader(client, multicall=deployments.address(ChainId(chain.chain_id), MULTICALL3))
    left = reorgs
    try:
        while churn.counts["blocks"] < blocks or left:
            for _ in range(rng.randint(1, 3)):
                await asyncio.to_thread(churn.block)
            steps_left = max(1, (blocks - churn.counts["blocks"]) // 2)
            if left and states.figures().blocks > DEEPEST and rng.random() < 4 * left / steps_left:
                left -= 1
                with churn.reorg():
                    depth = rng.randint(1, DEEPEST)
                    for _ in range(depth):
                        await asyncio.to_thread(churn.block)
                        if rng.random() < 0.5:
                            await _compare(states, fresh, tokens, done)
                    await _compare(states, fresh, tokens, done)
                for _ in range(depth + rng.randint(1 - depth, 2)):
                    await asyncio.to_thread(churn.block)
            await _compare(states, fresh, tokens, done)
            await _walk_out(states, done, rng)
        await _find_missing(states, fresh, client, tokens=tokens, done=done)
        began = time.perf_counter()
        for _ in range(WARM_VIEWS):
            await states.view(tokens, max_age_s=60)
        done.warm_us = (time.perf_counter() - began) / WARM_VIEWS * 1e6
    finally:
        churn.close()
        await transport.close()
    done.counts, done.figures = dict(churn.counts), states.figures()
    return done


async def _compare(states: PoolStates, fresh: PoolLoader, tokens: list[Address], done: Outcome) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    view = await states.view(tokens, max_age_s=0)
    if done.steps:
        done.look_ms.append((time.perf_counter() - began) * 1e3)
        done.cpu_s += time.process_time() - cpu
    found = await fresh.differences(list(view.pools.values()), block=view.block)
    done.differences += map(str, found)
    done.compared += len(view.pools)
    done.pools = max(done.pools, len(view.pools))
    done.steps += 1


async def _find_missing(
    states: PoolStates, fresh: PoolLoader, client: EvmClient, *, tokens: Sequence[Address], done: Outcome
) -> None:
    """Every pool that the factories have by now, and that has a price, is in the view."""
    view = await states.view(tokens, max_age_s=0)
    chain_id, deployments = client.config.chain_id, load_deployments()
    directory, venues = PoolDirectory(chain_id), [one.venue for one in deployments.venues(chain_id)]
    keys = [key for pair in combinations(tokens, 2) for key in pool_keys(venues, pair)]
    await discover(client, directory, deployments=deployments, keys=keys, block=view.block)
    there = {address: key for key in keys if (address := directory.address(key)) is not None}
    loaded = await fresh.load(there, block=view.block)
    done.existing = len(loaded.pools)
    done.differences += [
        f"{pool.address} is not in the view"
        for pool in loaded.pools
        if has_price(pool) and pool.address not in view.pools
    ]


async def _walk_out(states: PoolStates, done: Outcome, rng: random.Random) -> None:
    """At times a quote needs more of a pool's ticks."""
    held = [pool for view in [await states.view([])] for pool in view.pools.values() if isinstance(pool.state, V3Pool)]
    if not held or rng.random() > 0.1:
        return
    pool = rng.choice(held)
    state = pool.state
    if isinstance(state, V3Pool):
        loaded, every = state.ticks.loaded, WordRange.all_of(state.tick_spacing)
        word = rng.choice([loaded.first - 1, loaded.last + 1])
        if every.first <= word <= every.last:
            await states.more(state.address, word)
