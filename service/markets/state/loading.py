"""Reading pools' states from the chain at one block, in few node calls, and comparing what is held with it.

Guarantees: every answer is of the block asked for, by its hash; a pool that cannot be read is told and spoils no other;
how many pools are read together halves when the node refuses, and grows back.
Not guaranteed: all ticks of a V3 pool: those around its price (`TICKS_AROUND`), or the words that are given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from chains.errors import ChainError, ExecutionReverted, RpcError
from chains.sizing import Portion, is_too_much
from chains.types import Address, BlockRef
from contracts.call import ContractReader
from contracts.deployments import Venue
from contracts.errors import InconsistentPool
from contracts.plans import Plan, run_plans
from contracts.pools import PoolKey
from contracts.routing.model import GraphPool
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import reading
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import TickMap, WordRange, word_of

TICKS_AROUND: Final = 4_096
"""On each side of a V3 pool's price at a load: half as much again, or a third less. A quote that goes on asks for more.
"""
POOLS_AT_ONCE: Final = 32
"""Read together: some 3 to 33 words and as many ticks each, so that a round is a few eth_calls."""
LEAST_WORDS: Final = 64
"""More words of one pool in one step, one eth_call: all of one direction at a spacing of 60."""
WORDS_AT_ONCE: Final = 1_024
"""The same at most, three eth_calls; a pool with a spacing of 1 has 6,932."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a load gave: states, and the pools that could not be read, with why."""

    pools: tuple[GraphPool, ...]
    failed: Mapping[Address, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A pool whose held state is not the chain's. `chain` is None where the chain's could not be read."""

    pool: Address
    block: BlockRef
    held: GraphPool
    chain: GraphPool | None

    def __str__(self) -> str:
        return f"{self.pool} at block {self.block.number}: {', '.join(_differing(self.held, self.chain))}"


class PoolLoader:
    """Loads for one chain; remembers how much its node takes at once."""

    def __init__(self, client: ContractReader, *, multicall: Address) -> None:
        self._client = client
        self._multicall = multicall
        self._portion = Portion(POOLS_AT_ONCE)

    async def load(self, keys: Mapping[Address, PoolKey], *, block: BlockRef) -> Loaded:
        """The states of these pools. Raises: ChainError: the node did not answer, or not at this block."""
        return await self._run(
            {address: partial(_graph_pool, key, address) for address, key in keys.items()}, block=block
        )

    async def load_like(self, pools: Sequence[GraphPool], *, block: BlockRef) -> Loaded:
        """The states of these pools, V3 ones with the words that they have. Raises: ChainError."""
        return await self._run({pool.address: partial(_like, pool) for pool in pools}, block=block)

    async def differences(self, pools: Sequence[GraphPool], *, block: BlockRef) -> list[Difference]:
        """The pools whose states are not the chain's at this block. Raises: ChainError."""
        there = {pool.address: pool for pool in (await self.load_like(pools, block=block)).pools}
        return [
            Difference(pool=pool.address, block=block, held=pool, chain=there.get(pool.address))
            for pool in pools
            if there.get(pool.address) != pool
        ]

    async def widened(self, pool: GraphPool, word: int, *, block: BlockRef) -> GraphPool:
        """The pool with its ticks known further towards `word`, about twice as far as before; itself if it is known.

        Raises: ChainError; InconsistentPool: the words could not be read.
        """
        state = pool.state
        if not isinstance(state, V3Pool) or state.ticks.loaded.first <= word <= state.ticks.loaded.last:
            return pool
        words = _next_words(state.ticks, word)
        [found] = await run_plans(
            self._client,
            [reading.load_ticks(state.address, tick_spacing=state.tick_spacing, words=words)],
            multicall=self._multicall,
            block=block,
        )
        loaded = WordRange(
            first=min(state.ticks.loaded.first, words.first), last=max(state.ticks.loaded.last, words.last)
        )
        ticks = TickMap.of(state.tick_spacing, {**state.ticks.liquidity, **found}, loaded=loaded)
        ticks.check(state.tick, state.liquidity)
        return replace(pool, state=replace(state, ticks=ticks))

    async def _run(self, plans: Mapping[Address, Callable[[], Plan[GraphPool]]], *, block: BlockRef) -> Loaded:
        pools: list[GraphPool] = []
        failed: dict[Address, str] = {}
        waiting = list(plans)
        while waiting:
            asked = waiting[: self._portion.size]
            try:
                answers = await run_plans(
                    self._client, [_guarded(plans[each]()) for each in asked], multicall=self._multicall, block=block
                )
            except ChainError as exc:
                # aggregate3 itself reverts where it runs out of gas, and for nothing else.
                may_shrink = isinstance(exc, ExecutionReverted) or (isinstance(exc, RpcError) and is_too_much(exc))
                if may_shrink and self._portion.refused(len(asked)):
                    continue
                raise
            self._portion.answered(len(asked))
            for address, answer in zip(asked, answers, strict=True):
                if isinstance(answer, GraphPool):
                    pools.append(answer)
                else:
                    failed[address] = str(answer)
            waiting = waiting[len(asked) :]
        return Loaded(pools=tuple(pools), failed=failed)


def price_is_covered(pool: GraphPool) -> bool:
    """Whether the word of a V3 pool's price is among those loaded, with one on either side."""
    state = pool.state
    if not isinstance(state, V3Pool):
        return True
    word, loaded, every = (
        word_of(state.tick, state.tick_spacing),
        state.ticks.loaded,
        WordRange.all_of(state.tick_spacing),
    )
    return max(every.first, word - 1) >= loaded.first and min(every.last, word + 1) <= loaded.last


def _graph_pool(key: PoolKey, address: Address) -> Plan[GraphPool]:
    if key.venue is Venue.UNISWAP_V3:
        v3_pool = yield from reading.load_pool(address, fee_pips=key.fee_pips, ticks_around=TICKS_AROUND)
        return GraphPool(key=key, state=v3_pool)
    return GraphPool(key=key, state=(yield from v2.load_pool(address)))


def _like(pool: GraphPool) -> Plan[GraphPool]:
    state = pool.state
    if isinstance(state, V3Pool):
        v3_pool = yield from reading.load_pool(
            state.address, fee_pips=state.fee_pips, tick_spacing=state.tick_spacing, words=state.ticks.loaded
        )
        return replace(pool, state=v3_pool)
    return replace(pool, state=(yield from v2.load_pool(state.address, fee=state.fee)))


def _guarded(plan: Plan[GraphPool]) -> Plan[GraphPool | InconsistentPool]:
    """A pool that cannot be read is an answer, so that the others are read all the same."""
    try:
        return (yield from plan)
    except InconsistentPool as exc:
        return exc


def _next_words(ticks: TickMap, word: int) -> WordRange:
    """On the side of `word`, as many words as there are already, within bounds."""
    every, loaded = WordRange.all_of(ticks.spacing), ticks.loaded
    more = min(WORDS_AT_ONCE, max(LEAST_WORDS, loaded.last - loaded.first + 1))
    if word < loaded.first:
        return WordRange(first=max(every.first, loaded.first - more), last=loaded.first - 1)
    return WordRange(first=loaded.last + 1, last=min(every.last, loaded.last + more))


def _differing(held: GraphPool, chain: GraphPool | None) -> list[str]:
    """The parts that differ, as text for people."""
    if chain is None:
        return ["it could not be read"]
    ours, theirs = held.state, chain.state
    names = ("sqrt_price_x96", "tick", "liquidity") if isinstance(ours, V3Pool) else ("reserve0", "reserve1")
    told = [
        f"{name} {getattr(ours, name)}, chain {getattr(theirs, name, None)}"
        for name in names
        if getattr(ours, name) != getattr(theirs, name, None)
    ]
    if isinstance(ours, V3Pool) and isinstance(theirs, V3Pool) and ours.ticks != theirs.ticks:
        mine, their = ours.ticks.liquidity, theirs.ticks.liquidity
        told.append(f"{sum(mine.get(tick) != their.get(tick) for tick in {*mine, *their})} ticks")
    return told
