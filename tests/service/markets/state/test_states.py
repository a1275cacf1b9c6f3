"""Views of a chain in memory: the head, reorgs, gaps, failing and lying nodes, what is asked of the node and when."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import RpcError, RpcUnavailable
from chains.recent import NotingClient, RecentHead
from chains.types import Address
from contracts.deployments import Venue
from contracts.errors import InsufficientLiquidity, TicksNotLoaded
from contracts.pools import ABSENT_FOR_BLOCKS
from contracts.uniswap_v2.pool import V2Pool
from service.markets.state.following import WINDOW
from service.markets.state.held import KEPT_BLOCKS
from service.markets.state.model import ORDERS_WITHIN_S, USABLE_FOR_S, MarketView, StaleMarket, require_fresh
from service.markets.state.states import (
    CHECK_EVERY_S,
    FAILED_FOR_BLOCKS,
    IDLE_AFTER_S,
    LOOK_WITHIN_S,
    MAX_TOKENS,
    UNUSED_FOR_S,
    PoolStates,
)
from tests.clock import FakeClock
from tests.examples import examples
from tests.service.markets.state.v2chain import (
    CONFIG,
    DAI,
    DEPLOYMENTS,
    USDC,
    USDT,
    WBTC,
    WETH,
    Reserves,
    V2Chain,
    pair_of,
    refused,
    states_of,
)

ETH_USDC, ETH_USDT, ETH_DAI = pair_of(WETH, USDC), pair_of(WETH, USDT), pair_of(WETH, DAI)
NOW = -0.001
"""Seconds: not even a look of this very moment, in which a test's clock stands still."""
START = {ETH_USDC: (10**6, 10**6), ETH_USDT: (2 * 10**6, 10**6), ETH_DAI: (3 * 10**6, 10**6)}


@pytest.fixture
def chain() -> V2Chain:
    made = V2Chain()
    made.trade(*START.items())
    return made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def states(chain: V2Chain, clock: FakeClock) -> PoolStates:
    return states_of(chain, clock)


def reserves(view: MarketView) -> dict[Address, Reserves]:
    return {
        address: (pool.state.reserve0, pool.state.reserve1)
        for address, pool in view.pools.items()
        if isinstance(pool.state, V2Pool)
    }


async def newest(states: PoolStates, *tokens: Address) -> MarketView:
    """By a look that begins now."""
    return await states.view(tokens or (DAI,), max_age_s=NOW)


def same(view: MarketView, chain: V2Chain) -> bool:
    return view.header == chain.blocks[-1] and reserves(view) == dict(chain.now)


def down(method: str, params: Sequence[Any]) -> RpcError:
    return RpcUnavailable("no connection", endpoint="v2chain", method=method)


async def test_a_view_has_the_pools_between_its_tokens_and_the_connectors(chain: V2Chain, states: PoolStates) -> None:
    assert reserves(await newest(states, WETH)) == {ETH_USDC: START[ETH_USDC], ETH_USDT: START[ETH_USDT]}
    assert same(await newest(states, DAI), chain)


async def test_new_blocks_are_followed_by_their_logs_alone(chain: V2Chain, states: PoolStates) -> None:
    await newest(states)
    calls = chain.asked["eth_call"]
    chain.trade((ETH_USDC, (5, 6)), (ETH_DAI, (7, 8)), (ETH_USDC, (9, 10)))
    chain.trade()
    chain.trade((ETH_DAI, (11, 12)))
    assert same(await newest(states), chain)
    assert chain.asked["eth_call"] == calls
    assert states.figures().blocks == 3


async def test_logs_of_other_contracts_and_of_pools_nobody_asked_for_change_nothing(
    chain: V2Chain, states: PoolStates
) -> None:
    view = await newest(states, WETH)
    chain.trade((ETH_DAI, (1, 2)), (pair_of(WBTC, DAI), (3, 4)))
    assert reserves(await newest(states, WETH)) == reserves(view)


@pytest.mark.parametrize("depth", [1, 3, 8])
async def test_a_reorg_takes_blocks_back_exactly(chain: V2Chain, states: PoolStates, depth: int) -> None:
    await newest(states)
    for number in range(1, 10):
        both = [(ETH_DAI, (number, 1)), (ETH_DAI, (number, 2))] if number % 2 else []
        chain.trade((ETH_USDC, (number, number)), (ETH_USDC, (number, 7)), *both)
    await newest(states)
    calls = chain.asked["eth_call"]
    chain.undo(depth)
    chain.trade((ETH_USDT, (50 + depth, 1)))
    assert same(await newest(states), chain)
    assert chain.asked["eth_call"] == calls
    assert states.figures().restarts == 0
    assert states.figures().removed == depth


async def test_a_reorg_of_the_block_that_pools_were_loaded_in_loads_them_anew(
    chain: V2Chain, states: PoolStates
) -> None:
    await newest(states, WETH)
    chain.trade((ETH_USDC, (5, 5)))
    chain.trade((ETH_DAI, (6, 6)))
    await newest(states, DAI)
    chain.undo(1)
    chain.trade((ETH_DAI, (7, 7)))
    assert same(await newest(states), chain)
    assert states.figures().restarts == 0
    chain.undo(2)
    chain.trade((ETH_USDC, (8, 8)))
    assert same(await newest(states), chain)


@pytest.mark.parametrize("depth", [KEPT_BLOCKS - 1, KEPT_BLOCKS + 5])
async def test_a_reorg_as_deep_as_is_kept_or_deeper_begins_anew(chain: V2Chain, states: PoolStates, depth: int) -> None:
    await newest(states)
    for number in range(KEPT_BLOCKS + 20):
        chain.trade((ETH_USDC, (number + 1, 1)))
        if number % WINDOW == 0:
            await newest(states)
    chain.undo(depth)
    for number in range(depth + 1):
        chain.trade((ETH_USDC, (1, number + 1)))
    assert same(await newest(states), chain)
    chain.trade((ETH_DAI, (5, 5)))
    assert same(await newest(states), chain)


@pytest.mark.parametrize("gap", [WINDOW, WINDOW + 1, 500])
async def test_after_a_gap_the_state_is_right_and_few_calls_are_made(
    chain: V2Chain, states: PoolStates, gap: int
) -> None:
    await newest(states)
    asked = chain.asked.total()
    for number in range(gap):
        chain.trade((ETH_USDC, (number + 1, 3)))
    assert same(await newest(states), chain)
    assert chain.asked.total() - asked <= 2 * WINDOW + 5


async def test_a_view_looked_at_recently_asks_nothing(chain: V2Chain, states: PoolStates, clock: FakeClock) -> None:
    view = await newest(states)
    asked = chain.asked.total()
    chain.trade((ETH_USDC, (5, 5)))
    clock.advance_ms(int(LOOK_WITHIN_S * 1000))
    assert await states.view((DAI,)) is view
    assert chain.asked.total() == asked
    clock.advance_ms(1)
    assert same(await states.view((DAI,)), chain)


async def test_callers_at_the_same_time_share_one_look(chain: V2Chain, states: PoolStates, clock: FakeClock) -> None:
    await newest(states)
    asked = chain.asked["eth_getBlockByNumber"]
    chain.trade((ETH_USDC, (5, 5)))
    clock.advance_ms(1)
    views = await asyncio.gather(*(states.view((DAI,), max_age_s=0) for _ in range(20)))
    assert all(view is views[0] for view in views)
    assert chain.asked["eth_getBlockByNumber"] == asked + 1


async def test_a_head_that_others_in_the_process_read_confirms_the_view(chain: V2Chain, clock: FakeClock) -> None:
    recent = RecentHead(clock)
    states = states_of(chain, clock, recent=recent)
    view = await newest(states)
    engine = NotingClient(CONFIG, chain, recent=recent, clock=clock)
    clock.advance_ms(10_000)
    await engine.head()
    asked = chain.asked.total()
    later = await states.view((DAI,))
    assert chain.asked.total() == asked
    assert later.checked_ms == view.checked_ms + 10_000
    chain.trade((ETH_DAI, (4, 4)))
    clock.advance_ms(5_000)
    await engine.head()
    assert same(await states.view((DAI,)), chain)


async def test_F41_without_a_node_the_last_view_is_given_for_a_while_and_then_refused(
    chain: V2Chain, states: PoolStates, clock: FakeClock
) -> None:
    view = await newest(states)
    chain.fault = down
    clock.advance_ms(int(USABLE_FOR_S * 1000))
    old = await newest(states)
    assert old.header == view.header
    assert old.checked_ms == view.checked_ms
    assert old.age_ms(clock) == USABLE_FOR_S * 1000
    clock.advance_ms(1)
    with pytest.raises(StaleMarket) as stale:
        await newest(states)
    assert stale.value.age_ms == USABLE_FOR_S * 1000 + 1
    chain.fault = lambda method, params: None
    chain.trade((ETH_DAI, (4, 4)))
    assert same(await newest(states), chain)


async def test_without_a_node_from_the_start_there_is_no_market(chain: V2Chain, states: PoolStates) -> None:
    chain.fault = down
    with pytest.raises(StaleMarket) as stale:
        await newest(states)
    assert stale.value.age_ms is None


async def test_F39_a_node_that_fell_behind_confirms_nothing(
    chain: V2Chain, states: PoolStates, clock: FakeClock
) -> None:
    chain.trade()
    view = await newest(states)
    hidden = chain.blocks.pop()
    clock.advance_ms(20_000)
    assert (await newest(states)).checked_ms == view.checked_ms
    clock.advance_ms(20_000)
    with pytest.raises(StaleMarket):
        await newest(states)
    chain.blocks.append(hidden)
    assert same(await newest(states), chain)


async def test_a_block_whose_logs_the_node_does_not_know_yet_is_not_passed_over(
    chain: V2Chain, states: PoolStates
) -> None:
    view = await newest(states)
    chain.trade((ETH_USDC, (5, 5)))
    chain.fault = lambda method, params: refused("unknown block") if method == "eth_getLogs" else None
    assert (await newest(states)).header == view.header
    assert states.figures().failed_looks == 1
    chain.fault = lambda method, params: None
    assert same(await newest(states), chain)
    assert states.figures().restarts == 0


async def test_F32_logs_that_a_node_leaves_out_are_found_by_the_check(chain: V2Chain, states: PoolStates) -> None:
    await newest(states)
    chain.hides = lambda block: True
    chain.trade((ETH_USDC, (5, 5)), (ETH_DAI, (6, 6)))
    assert not same(await newest(states), chain)
    chain.hides = lambda block: False
    assert {found.pool for found in await states.check()} == {ETH_USDC, ETH_DAI}
    assert same(await newest(states), chain)
    assert await states.check() == []
    assert states.figures().disagreements == 2


async def test_a_check_of_one_pool_that_differs_gives_all_up(chain: V2Chain, states: PoolStates) -> None:
    await newest(states)
    chain.trade(silent={ETH_USDC: (5, 5), ETH_DAI: (6, 6)})
    await newest(states)
    [found] = await states.check([ETH_USDC])
    assert str(found) == f"{ETH_USDC} at block 2: reserve0 1000000, chain 5, reserve1 1000000, chain 5"
    assert same(await newest(states), chain)


async def test_a_pool_whose_logs_do_not_fit_is_loaded_anew(chain: V2Chain, states: PoolStates) -> None:
    await newest(states)
    chain.trade((ETH_USDC, (5, 5)), silent={ETH_DAI: (9, 9)})
    chain.logs[chain.blocks[-1].hash].append((ETH_DAI, (2**112 - 1, 1)))
    encoded = chain._answer_logs

    def overflowing(query: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            one | {"data": "0x" + "ff" * 64} if one["address"] == ETH_DAI.lower() else one for one in encoded(query)
        ]

    chain._answer_logs = overflowing  # type: ignore[method-assign]
    assert same(await newest(states), chain)
    assert states.figures().inconsistent == 1
    assert states.figures().restarts == 0


async def test_a_pool_that_cannot_be_read_spoils_no_other_and_is_tried_again_later(
    chain: V2Chain, states: PoolStates
) -> None:
    hidden = ETH_DAI
    answer = chain._answer

    def broken(to: Address, data: bytes, state: Mapping[Address, Reserves]) -> tuple[bool, bytes]:
        return (False, b"") if to == hidden else answer(to, data, state)

    chain._answer = broken  # type: ignore[method-assign]
    assert set((await newest(states)).pools) == {ETH_USDC, ETH_USDT}
    calls = chain.asked["eth_call"]
    chain.trade()
    await newest(states)
    assert chain.asked["eth_call"] == calls
    chain._answer = answer  # type: ignore[method-assign]
    for _ in range(FAILED_FOR_BLOCKS):
        chain.trade()
    assert same(await newest(states), chain)


async def test_a_new_pool_is_noticed_after_a_while(chain: V2Chain, states: PoolStates) -> None:
    await newest(states)
    made = pair_of(DAI, USDT)
    chain.trade((made, (4, 4)))
    assert made not in (await newest(states)).pools
    for _ in range(ABSENT_FOR_BLOCKS):
        chain.trade()
    assert same(await newest(states), chain)


async def test_an_empty_pool_is_left_out_until_it_has_a_price(chain: V2Chain, states: PoolStates) -> None:
    chain.trade((ETH_DAI, (0, 0)))
    assert set((await newest(states)).pools) == {ETH_USDC, ETH_USDT}
    chain.trade((ETH_DAI, (1, 1)))
    assert same(await newest(states), chain)


async def test_a_block_that_leaves_the_chain_while_it_is_read_is_looked_at_again(
    chain: V2Chain, states: PoolStates
) -> None:
    chain.trade((ETH_USDC, (5, 5)))
    moved = False

    def moves_once(method: str, params: Sequence[Any]) -> RpcError | None:
        nonlocal moved
        if method == "eth_call" and not moved:
            moved = True
            chain.undo(1)
            chain.trade((ETH_USDC, (6, 6)))
            return refused("header for hash not found")
        return None

    chain.fault = moves_once
    assert same(await newest(states), chain)


async def test_configured_fee_tiers_are_asked_for_beside_the_usual_ones(chain: V2Chain, clock: FakeClock) -> None:
    asked = []
    answer = chain._answer

    def listening(to: Address, data: bytes, state: Mapping[Address, Reserves]) -> tuple[bool, bytes]:
        asked.append((to, int.from_bytes(data[68:100], "big")))
        return answer(to, data, state)

    chain._answer = listening  # type: ignore[method-assign]
    await newest(states_of(chain, clock, extra_fees=(200, 500)), WETH)
    fees = [fee for to, fee in asked if to == DEPLOYMENTS.venue(CONFIG.chain_id, Venue.UNISWAP_V3).factory]
    assert sorted(fees) == sorted([100, 200, 500, 3_000, 10_000] * 3)


async def test_what_never_has_enough_ticks_ends_as_too_little_liquidity(chain: V2Chain, states: PoolStates) -> None:
    def insatiable(view: MarketView) -> None:
        raise TicksNotLoaded(ETH_USDC, 1)

    with pytest.raises(InsufficientLiquidity):
        await states.ask((WETH,), insatiable)


async def test_too_many_tokens_are_refused(states: PoolStates) -> None:
    many = [pair_of(DAI, Address("0x" + f"{number:040x}")) for number in range(1, MAX_TOKENS)]
    with pytest.raises(ValueError, match="tokens"):
        await newest(states, *many)


async def test_orders_want_a_head_confirmed_lately_and_a_block_that_is_not_old(
    chain: V2Chain, states: PoolStates, clock: FakeClock
) -> None:
    view = await newest(states)
    block_age_s = clock.now_ms() // 1000 - view.header.timestamp_s
    require_fresh(view, clock, max_block_age_s=0)
    require_fresh(view, clock, max_block_age_s=block_age_s)
    with pytest.raises(StaleMarket, match="newest block"):
        require_fresh(view, clock, max_block_age_s=block_age_s - 1)
    clock.advance_ms(int(ORDERS_WITHIN_S * 1000))
    require_fresh(view, clock, max_block_age_s=0)
    clock.advance_ms(1)
    with pytest.raises(StaleMarket, match="confirmed"):
        require_fresh(view, clock, max_block_age_s=0)


async def test_F20_a_step_of_the_wall_clock_ages_nothing(chain: V2Chain, states: PoolStates, clock: FakeClock) -> None:
    view = await newest(states)
    clock.step_wall_ms(2 * 3_600_000)
    require_fresh(view, clock, max_block_age_s=0)
    assert await states.view((DAI,)) is view


@pytest.fixture
async def running(chain: V2Chain, clock: FakeClock) -> AsyncIterator[PoolStates]:
    """With its loop, which turns every few milliseconds."""
    states, stop = states_of(chain, clock, config=replace(CONFIG, block_time_ms=40)), asyncio.Event()
    loop = asyncio.create_task(states.run(stop))
    yield states
    stop.set()
    await loop


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- what is waited for is a loop's doing, which tells nobody
            await asyncio.sleep(0.002)


async def turns(chain: V2Chain, clock: FakeClock, count: int = 3) -> None:
    """So many looks of the loop."""
    before = chain.asked["eth_getBlockByNumber"]
    for number in range(before + 1, before + count + 1):
        clock.advance_ms(10)
        await until(partial(_asked_for_heads, chain, number))


def _asked_for_heads(chain: V2Chain, count: int) -> bool:
    return chain.asked["eth_getBlockByNumber"] >= count


async def test_the_loop_keeps_up_with_the_head_while_somebody_asks(
    chain: V2Chain, clock: FakeClock, running: PoolStates
) -> None:
    await newest(running)
    chain.trade((ETH_USDC, (5, 5)))
    clock.advance_ms(10)
    await until(lambda: running.figures().blocks == 1)
    asked = chain.asked.total()
    assert same(await running.view((DAI,), max_age_s=10), chain)
    assert chain.asked.total() == asked


async def test_nobody_asks_and_the_node_is_left_alone_until_somebody_does(
    chain: V2Chain, clock: FakeClock, running: PoolStates
) -> None:
    await asyncio.sleep(0.1)
    assert chain.asked.total() == 0
    await newest(running)
    await turns(chain, clock)
    clock.advance_ms(int(IDLE_AFTER_S * 1000))
    await asyncio.sleep(0.1)
    asked = chain.asked.total()
    chain.trade((ETH_DAI, (3, 3)))
    await asyncio.sleep(0.1)
    assert chain.asked.total() == asked
    assert same(await newest(running), chain)
    await turns(chain, clock)


async def test_the_loop_survives_a_node_that_is_down(chain: V2Chain, clock: FakeClock, running: PoolStates) -> None:
    await newest(running)
    chain.fault = down
    failed = running.figures().failed_looks
    clock.advance_ms(10)
    await until(lambda: running.figures().failed_looks > failed)
    chain.fault = lambda method, params: None
    chain.trade((ETH_DAI, (3, 3)))
    clock.advance_ms(10)
    await until(lambda: running.figures().head == chain.blocks[-1].number)


async def test_pools_that_nobody_asks_for_are_dropped(chain: V2Chain, clock: FakeClock, running: PoolStates) -> None:
    await newest(running, DAI)
    assert running.figures().pools == 3
    for _ in range(int(UNUSED_FOR_S // IDLE_AFTER_S) + 2):
        clock.advance_ms(int(IDLE_AFTER_S * 1000) - 1)
        await newest(running, WETH)
    await turns(chain, clock)
    assert running.figures().pools == 2
    assert same(await newest(running, DAI), chain)


async def test_F32_the_loops_random_checks_find_what_the_node_hid(
    chain: V2Chain, clock: FakeClock, running: PoolStates
) -> None:
    await newest(running)
    chain.trade(silent={ETH_USDC: (5, 5), ETH_USDT: (6, 6), ETH_DAI: (7, 7)})
    await newest(running)
    clock.advance_ms(int(CHECK_EVERY_S * 1000))
    await until(lambda: running.figures().disagreements)
    assert same(await newest(running), chain)


BLOCK = st.lists(
    st.tuples(st.sampled_from(sorted(START)), st.tuples(st.integers(1, 99), st.integers(1, 99))), max_size=4
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("block"), BLOCK),
        st.tuples(st.just("reorg"), st.integers(1, 8)),
        st.tuples(st.just("view"), st.sampled_from([(DAI,), (WETH,)])),
    ),
    max_size=40,
)


@settings(max_examples=examples(60))
@given(steps=STEPS)
async def test_whatever_happens_a_view_is_the_chains_state(steps: list[tuple[str, Any]]) -> None:
    chain, clock = V2Chain(), FakeClock()
    chain.trade(*START.items())
    states = states_of(chain, clock)
    for kind, value in [*steps, ("block", []), ("view", (DAI,))]:
        if kind == "block":
            chain.trade(*value)
        elif kind == "reorg":
            chain.undo(min(value, len(chain.blocks) - 2))
            chain.trade((ETH_USDC, (value, value)))
        else:
            view = await states.view(value, max_age_s=NOW)
            if view.header == chain.blocks[-1]:  # behind, after a reorg to a shorter chain, is no new view
                assert reserves(view) == {address: chain.now[address] for address in view.pools}
    chain.trade()
    assert same(await newest(states), chain)
    assert states.figures().inconsistent == 0
