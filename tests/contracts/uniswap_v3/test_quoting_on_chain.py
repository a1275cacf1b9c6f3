"""Quotes from memory against QuoterV2 and Router02 on both forks, and states kept by logs against fresh loads."""

import random
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chains.logs import SPAN_BLOCKS, LogQuery, logs_in
from chains.sizing import Portion
from chains.types import Address, BlockRef, BlockTag, CallRequest, Log
from contracts.errors import InconsistentPool
from contracts.multicall import CALLS_PER_REQUEST
from contracts.plans import run_plans
from contracts.uniswap_v2 import pool as v2
from contracts.uniswap_v3 import logs, reading
from contracts.uniswap_v3.pool import PositionChanged, Swapped, V3Pool, apply
from contracts.uniswap_v3.quoting import quote_exact_in
from contracts.uniswap_v3.ticks import WordRange
from scripts.bench.quotecases import Markets, compare, draw_cases, load_markets
from scripts.bench.quotepools import enrich, mint, more_pools, remove
from scripts.devnet.catalogue import CHAINS, Venue
from scripts.devnet.flow import OrderFlow
from scripts.devnet.liquidity import pool_address
from tests.contracts.desk import Desk

CASES = 300
TWO_WORDS = 2 * 256 * 60
SEED = 20


@pytest.mark.chain
async def test_random_quotes_are_what_the_chains_quoters_say(desk: Desk) -> None:
    """Both directions, exact input and output, V2 and V3, many ticks, limits, drained pools, reverts."""
    rng = random.Random(SEED)
    enrich(desk.rpc, desk.chain.name, rng, positions=8)
    markets = await _load(desk)
    found = compare(markets, draw_cases(markets, CASES, rng))
    assert found.differences == ()
    assert found.asked == CASES
    # That the draw had all kinds in it.
    assert min(found.reverted, found.partial) >= 8
    assert found.limited >= 30
    assert found.most_crossed >= 8


@pytest.mark.chain
async def test_states_kept_by_logs_are_those_of_a_fresh_load(desk: Desk) -> None:
    rng, name = random.Random(SEED), desk.chain.name
    enrich(desk.rpc, name, rng, positions=3)
    before = await _load(desk)
    for market in before.each:
        if isinstance(market.pool, V3Pool) and market.pool.liquidity:
            quote_exact_in(market.pool, 10**6, zero_for_one=True)  # ladders that the swaps inherit
    _trade_and_move_liquidity(desk, before, rng)
    after = await _load(desk)
    states: dict[Address, V3Pool | v2.V2Pool] = {market.pool.address: market.pool for market in before.each}
    events: list[object] = []
    async for log in _logs(desk, frozenset(states), after=before.block, upto=after.block):
        state = states[log.address]
        if isinstance(state, V3Pool):
            if (event := logs.decode(log)) is not None:
                states[log.address] = apply(state, event)
                events.append(event)
        elif (synced := v2.decode(log)) is not None:
            states[log.address] = v2.apply(state, synced)
            events.append(synced)
    assert {type(event) for event in events} >= {Swapped, PositionChanged, v2.Synced}
    assert {event.delta > 0 for event in events if isinstance(event, PositionChanged)} == {True, False}
    for market in after.each:
        assert states[market.pool.address] == market.pool, market.label
    # Equal states could hide unequal ladders: quote from the kept ones.
    kept = replace(after, each=tuple(replace(market, pool=states[market.pool.address]) for market in after.each))
    assert compare(kept, draw_cases(kept, CASES // 3, rng)).differences == ()


@pytest.mark.chain
async def test_a_part_of_the_words_gives_the_same_quotes(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    markets = await _loaded(desk, ticks_around=None)
    parts = await _loaded(desk, ticks_around=TWO_WORDS)
    for whole, part in zip(markets, parts, strict=True):
        assert not part.ticks.is_complete
        assert part.position == whole.position
        for zero_for_one in (True, False):
            assert quote_exact_in(part, 10**9, zero_for_one=zero_for_one) == quote_exact_in(
                whole, 10**9, zero_for_one=zero_for_one
            )


@pytest.mark.chain
async def test_loading_pools_together_shares_the_node_calls(ethereum_desk: Desk) -> None:
    desk, reader = ethereum_desk, _Counting(ethereum_desk)
    block = await desk.head()
    plans = [reading.load_pool(address, fee_pips=3_000, tick_spacing=60) for address in _addresses(desk)]
    states = await run_plans(reader, plans, multicall=desk.multicall, block=block)
    assert len(states) == 3
    assert all(len(state.ticks.initialized) >= 8 for state in states)
    words = len(states) * (len(range(WordRange.all_of(60).first, WordRange.all_of(60).last + 1)))
    assert words == 348 < CALLS_PER_REQUEST
    assert reader.calls == 3


@pytest.mark.chain
async def test_an_address_that_is_no_pool_is_refused(ethereum_desk: Desk) -> None:
    desk = ethereum_desk
    usdc = desk.assets.by_symbol("USDC").token_address
    for plan in (reading.load_pool(usdc, fee_pips=500, tick_spacing=10), v2.load_pool(usdc)):
        with pytest.raises(InconsistentPool):
            await run_plans(desk.client, [plan], multicall=desk.multicall, block=await desk.head())


async def _load(desk: Desk) -> Markets:
    name = desk.chain.name
    return await load_markets(
        desk.client, chain=name, url=desk.chain.rpc_url, block=await desk.head(), more=more_pools(name)
    )


def _trade_and_move_liquidity(desk: Desk, markets: Markets, rng: random.Random) -> None:
    """Seeded order flow; positions minted around the price, and half of them taken out again."""
    spec = CHAINS[desk.chain.name]
    flow = OrderFlow([desk.chain], seed=SEED)
    flow.prepare()
    minted = []
    for step in range(24):
        flow.step()
        if step % 4 == 0:
            pool = rng.choice([pool for pool in spec.pools if pool.venue is Venue.UNISWAP_V3])
            state = next(each.pool for each in markets.each if each.label == f"{spec.name} {pool.label}")
            assert isinstance(state, V3Pool)
            here, spacing = state.tick // state.tick_spacing * state.tick_spacing, state.tick_spacing
            minted += mint(desk.rpc, spec, pool, [(here - 2 * spacing, here + 3 * spacing)], rng)
    for receipt in minted[::2]:
        remove(desk.rpc, spec, receipt)
    assert flow.counts.trades >= 20


async def _loaded(desk: Desk, *, ticks_around: int | None) -> list[V3Pool]:
    plans = [
        reading.load_pool(address, fee_pips=3_000, tick_spacing=60, ticks_around=ticks_around)
        for address in _addresses(desk)
    ]
    return await run_plans(desk.client, plans, multicall=desk.multicall, block=await desk.head())


def _addresses(desk: Desk) -> list[Address]:
    """The 0.3 % V3 pools of the catalogue."""
    spec = CHAINS[desk.chain.name]
    return [
        Address(pool_address(desk.rpc, spec, pool=pool))
        for pool in spec.pools
        if pool.venue is Venue.UNISWAP_V3 and pool.fee == 3_000
    ]


class _Counting:
    """Passes calls on and counts them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.calls = 0

    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        self.calls += 1
        return await self._desk.client.call(request, block=block)


async def _logs(desk: Desk, addresses: frozenset[Address], *, after: BlockRef, upto: BlockRef) -> AsyncIterator[Log]:
    """What these contracts logged since."""
    transport, query = desk.client.transport, LogQuery(addresses=addresses)
    async for chunk in logs_in(transport, query, first=after.number + 1, last=upto.number, span=Portion(SPAN_BLOCKS)):
        for log in chunk.logs:
            yield log
