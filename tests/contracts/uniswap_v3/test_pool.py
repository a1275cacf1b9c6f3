"""States, the events that change them, the logs that say so, and what is asked of a node to have one."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from typing import Any, cast

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.types import BlockHash, BlockRef, Log, TxHash
from contracts.abi import load_abi
from contracts.call import Call
from contracts.errors import AbiError, InconsistentPool
from contracts.multicall import Ok, Reverted
from contracts.plans import Plan
from contracts.ratio import Ratio
from contracts.uniswap_v3 import logs, reading
from contracts.uniswap_v3.maths import MAX_TICK, get_sqrt_ratio_at_tick
from contracts.uniswap_v3.pool import Initialized, PositionChanged, Swapped, V3Pool, apply
from contracts.uniswap_v3.quoting import quote_exact_in
from contracts.uniswap_v3.ticks import TickLiquidity, TickMap, WordRange, word_of
from tests.contracts.uniswap_v3.pools import ADDRESS, make_pool, pools
from tests.examples import examples

ONE = 10**18
BLOCK = BlockRef(number=1, hash=BlockHash("0x" + "0" * 64))
TOPICS = {
    "Initialize": "98636036cb66a9c19a37435efc1e90142190214e8abeb821bdba3f2990dd4c95",
    "Swap": "c42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67",
    "Mint": "7a53080ba414158be7ec69b987b5fb7d07dee101fe85488f0853ae16239d0bde",
    "Burn": "0c396cd989a39f4459b5fa1aed6a9a8dcdbc45908acfd67e028cd568da98982c",
}
"""As on every chain."""
SMALL = make_pool(3_000, sqrt_price_x96=get_sqrt_ratio_at_tick(30), tick=30, positions=[(-600, 600, ONE)])


def test_a_state_never_changes_and_equals_another_with_the_same_values() -> None:
    again = make_pool(3_000, sqrt_price_x96=get_sqrt_ratio_at_tick(30), tick=30, positions=[(-600, 600, ONE)])
    quote_exact_in(again, ONE, zero_for_one=True)
    assert again == SMALL
    assert replace(SMALL, liquidity=ONE + 1) != SMALL
    with pytest.raises(FrozenInstanceError):
        SMALL.tick = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        SMALL.ticks.liquidity[0] = TickLiquidity(1, 1)  # type: ignore[index]


def test_a_position_counts_for_the_liquidity_exactly_while_the_price_is_in_it() -> None:
    for tick, lower, upper, counts in (
        (30, 0, 60, True),
        (30, -60, 0, False),
        (30, 60, 120, False),
        (0, 0, 60, True),
        (0, -60, 0, False),
        (-1, 0, 60, False),
        (-1, -60, 0, True),
    ):
        state = make_pool(3_000, sqrt_price_x96=get_sqrt_ratio_at_tick(tick), tick=tick, positions=[(-600, 600, ONE)])
        minted = apply(state, PositionChanged(lower=lower, upper=upper, delta=7))
        assert minted.liquidity == ONE + 7 * counts
        assert minted.ticks.liquidity[lower] == TickLiquidity(7, 7)
        assert minted.ticks.liquidity[upper] == TickLiquidity(7, -7)
        assert minted.ticks.initialized == tuple(sorted({-600, 600, lower, upper}))
        minted.ticks.check(minted.tick, minted.liquidity)
        assert apply(minted, PositionChanged(lower=lower, upper=upper, delta=-7)) == state


def test_ends_that_two_positions_share_stay_until_the_last_is_gone() -> None:
    """Net liquidity of zero is not "uninitialised": the swap stops there still."""
    state = apply(SMALL, PositionChanged(lower=600, upper=1_200, delta=ONE))
    assert state.ticks.liquidity[600] == TickLiquidity(2 * ONE, 0)
    state = apply(state, PositionChanged(lower=-600, upper=600, delta=-ONE))
    assert state.ticks.initialized == (600, 1_200)
    assert state.liquidity == 0


@pytest.mark.parametrize(
    "event",
    [
        PositionChanged(lower=-600, upper=600, delta=-ONE - 1),
        PositionChanged(lower=0, upper=60, delta=-1),
        PositionChanged(lower=60, upper=60, delta=1),
        PositionChanged(lower=-MAX_TICK - 1, upper=60, delta=1),
        Swapped(sqrt_price_x96=5, tick=0, liquidity=1),
        Swapped(sqrt_price_x96=2**96, tick=0, liquidity=2**128),
    ],
)
def test_what_cannot_have_happened_is_refused(event: PositionChanged | Swapped) -> None:
    with pytest.raises(InconsistentPool):
        apply(SMALL, event)


def test_a_first_price_makes_a_pool_tradable_and_positions_before_it_do_not_count() -> None:
    unborn = make_pool(3_000, sqrt_price_x96=0, tick=0, positions=[])
    assert apply(unborn, PositionChanged(lower=-60, upper=60, delta=5)).liquidity == 0
    born = apply(unborn, Initialized(sqrt_price_x96=2**96, tick=0))
    state = apply(born, PositionChanged(lower=-600, upper=600, delta=ONE))
    assert quote_exact_in(state, 1_000, zero_for_one=True).amount_out == 996


@pytest.mark.parametrize("tick", [-700, -590, 0, 590, 700, 20_000])
@pytest.mark.parametrize("zero_for_one", [True, False])
def test_liquidity_that_the_ticks_do_not_have_is_told_when_it_is_quoted(tick: int, zero_for_one: bool) -> None:
    """A log that was missed, or applied twice: no guess is made from it, at whatever price the next one finds it."""
    positions = [(-600, 600, ONE), (-60_000, 60_000, 5)]
    good = make_pool(3_000, sqrt_price_x96=2**96, tick=0, positions=positions)
    quote_exact_in(good, 10**30, zero_for_one=zero_for_one)
    liquidity = ONE + 5 if -600 <= tick < 600 else 5
    moved = Swapped(sqrt_price_x96=get_sqrt_ratio_at_tick(tick) + 1, tick=tick, liquidity=liquidity)
    assert quote_exact_in(apply(good, moved), ONE, zero_for_one=zero_for_one).amount_in > 0
    for wrong in (0, 4, liquidity + 1):
        with pytest.raises(InconsistentPool):
            quote_exact_in(apply(good, replace(moved, liquidity=wrong)), ONE, zero_for_one=zero_for_one)


def test_the_mid_price_is_token1_for_token0() -> None:
    double = make_pool(3_000, sqrt_price_x96=2**97, tick=13_863, positions=[])
    assert double.mid_price == Ratio(num=4, den=1)
    with pytest.raises(InconsistentPool):
        _ = make_pool(3_000, sqrt_price_x96=0, tick=0, positions=[]).mid_price


@settings(deadline=None)
@given(
    pool=pools(),
    changes=st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 50), st.integers(1, 2**100)), max_size=5),
    undone=st.randoms(use_true_random=False),
)
def test_positions_added_and_removed_in_any_order_leave_the_state_as_it_was(
    pool: V3Pool, changes: list[tuple[int, int, int]], undone: Any
) -> None:
    spacing, state = pool.tick_spacing, pool
    highest = MAX_TICK // spacing
    spans = [(max(low, -highest), min(low + width, highest), amount) for low, width, amount in changes]
    spans = [(low * spacing, high * spacing, amount) for low, high, amount in spans if low < high]
    for low, high, amount in spans:
        state = apply(state, PositionChanged(lower=low, upper=high, delta=amount))
        state.ticks.check(state.tick, state.liquidity)
    undone.shuffle(spans)
    for low, high, amount in spans:
        state = apply(state, PositionChanged(lower=low, upper=high, delta=-amount))
    assert state == pool


def test_a_map_of_some_words_leaves_out_ends_beyond_them() -> None:
    part = TickMap.of(60, {}, loaded=WordRange(first=-1, last=0))
    assert part.with_position(-60_000, 120, delta=5).initialized == (120,)
    assert part.with_position(-60_000, 60_000, delta=5).initialized == ()


@pytest.mark.parametrize(
    ("ticks", "loaded"),
    [
        ({7: TickLiquidity(1, 1)}, None),
        ({0: TickLiquidity(0, 0)}, None),
        ({0: TickLiquidity(1, 2)}, None),
        ({0: TickLiquidity(2**128, 1)}, None),
        ({60 * 15_000: TickLiquidity(1, 1)}, None),
        ({60 * 256: TickLiquidity(1, 1)}, WordRange(first=0, last=0)),
    ],
)
def test_ticks_that_cannot_be_are_refused(ticks: Mapping[int, TickLiquidity], loaded: WordRange | None) -> None:
    with pytest.raises(InconsistentPool):
        TickMap.of(60, ticks, loaded=loaded)


@pytest.mark.parametrize(
    ("ticks", "tick", "liquidity"),
    [
        ({0: TickLiquidity(5, 5), 60: TickLiquidity(5, -5)}, 30, 4),
        ({0: TickLiquidity(5, 5), 60: TickLiquidity(5, -5)}, -1, 5),
        ({0: TickLiquidity(5, 5), 60: TickLiquidity(5, -4)}, 30, 5),
        ({0: TickLiquidity(5, -5), 60: TickLiquidity(5, 5)}, 90, 0),
        ({}, 0, 1),
    ],
)
def test_ticks_that_do_not_add_up_are_refused(ticks: Mapping[int, TickLiquidity], tick: int, liquidity: int) -> None:
    with pytest.raises(InconsistentPool):
        TickMap.of(60, ticks).check(tick, liquidity)


def test_words_and_their_ticks_are_those_of_the_bitmap() -> None:
    """v3-core, TickBitmap.position: rounds towards minus infinity."""
    assert [word_of(tick, 1) for tick in (-257, -256, -1, 0, 255, 256)] == [-2, -1, -1, 0, 0, 1]
    assert WordRange.all_of(1) == WordRange(first=-3466, last=3465)
    assert WordRange.all_of(60) == WordRange(first=-58, last=57)
    assert reading.ticks_of(-1, 1 << 255 | 1, 60) == [-15_360, -60]
    assert reading.ticks_of(5, 0, 60) == []
    with pytest.raises(InconsistentPool):
        reading.ticks_of(58, 1, 60)


@given(
    amounts=st.tuples(st.integers(-(2**255), 2**255 - 1), st.integers(-(2**255), 2**255 - 1)),
    price=st.integers(0, 2**160 - 1),
    liquidity=st.integers(0, 2**128 - 1),
    tick=st.integers(-MAX_TICK, MAX_TICK),
)
def test_a_swap_log_is_read_as_eth_abi_reads_it(
    amounts: tuple[int, int], price: int, liquidity: int, tick: int
) -> None:
    data = encode(["int256", "int256", "uint160", "uint128", "int24"], [*amounts, price, liquidity, tick])
    assert logs.decode(_log("Swap", data)) == Swapped(sqrt_price_x96=price, tick=tick, liquidity=liquidity)
    first = encode(["uint160", "int24"], [price, tick])
    assert logs.decode(_log("Initialize", first)) == Initialized(sqrt_price_x96=price, tick=tick)


@given(
    lower=st.integers(-MAX_TICK, MAX_TICK), upper=st.integers(-MAX_TICK, MAX_TICK), amount=st.integers(0, 2**128 - 1)
)
def test_position_logs_are_read_as_eth_abi_reads_them(lower: int, upper: int, amount: int) -> None:
    ends = [bytes(32), *(tick.to_bytes(32, "big", signed=True) for tick in (lower, upper))]
    minted = encode(["address", "uint128", "uint256", "uint256"], [ADDRESS, amount, 1, 2])
    assert logs.decode(_log("Mint", minted, *ends)) == PositionChanged(lower=lower, upper=upper, delta=amount)
    burned = encode(["uint128", "uint256", "uint256"], [amount, 1, 2])
    assert logs.decode(_log("Burn", burned, *ends)) == PositionChanged(lower=lower, upper=upper, delta=-amount)


def test_other_logs_say_nothing_and_malformed_ones_raise() -> None:
    assert logs.decode(replace(_log("Swap", b""), topics=())) is None
    assert logs.decode(replace(_log("Swap", b""), topics=(b"\1" * 32,))) is None
    assert {topic.hex() for topic in logs.topics()} == set(TOPICS.values())
    for log in (_log("Swap", bytes(159)), _log("Swap", bytes(192)), _log("Mint", bytes(128)), _log("Burn", bytes(32))):
        with pytest.raises(AbiError):
            logs.decode(log)


@settings(deadline=None, max_examples=examples(25))
@given(pool=pools())
def test_a_pool_is_read_back_from_what_a_node_would_answer(pool: V3Pool) -> None:
    assert _driven(reading.load_pool(ADDRESS, fee_pips=pool.fee_pips, tick_spacing=pool.tick_spacing), pool) == pool


def test_a_call_that_fails_is_no_pool_in_part() -> None:
    for failing in range(3):
        plan = reading.load_pool(ADDRESS, fee_pips=3_000, tick_spacing=60)
        calls = next(plan)
        for _ in range(failing):
            calls = plan.send([_answer(SMALL, call) for call in calls])
        with pytest.raises(InconsistentPool):
            plan.send([Reverted(b""), *(_answer(SMALL, call) for call in list(calls)[1:])])


def _driven(plan: Plan[V3Pool], pool: V3Pool) -> V3Pool:
    calls = next(plan)
    while True:
        try:
            calls = plan.send([_answer(pool, call) for call in calls])
        except StopIteration as done:
            return cast("V3Pool", done.value)


def _answer(pool: V3Pool, call: Call[Any]) -> Ok[Any]:
    """As the pool's contract would, through the ABI."""
    abi = load_abi("uniswap_v3_pool")
    functions = {abi.function(name).selector: name for name in ("slot0", "liquidity", "tickBitmap", "ticks")}
    argument = int.from_bytes(call.data[4:], "big", signed=True)
    match functions[call.data[:4]]:
        case "slot0":
            values = [pool.sqrt_price_x96, pool.tick, 0, 0, 0, 0, True]
            data = encode(["uint160", "int24", "uint16", "uint16", "uint16", "uint8", "bool"], values)
        case "liquidity":
            data = encode(["uint128"], [pool.liquidity])
        case "tickBitmap":
            bits = 0
            for tick in pool.ticks.initialized:
                if word_of(tick, pool.tick_spacing) == argument:
                    bits |= 1 << tick // pool.tick_spacing % 256
            data = encode(["uint256"], [bits])
        case _:
            gross, net = pool.ticks.liquidity[argument]
            kinds = ["uint128", "int128", "uint256", "uint256", "int56", "uint160", "uint32", "bool"]
            data = encode(kinds, [gross, net, 1, 2, 3, 4, 5, True])
    return Ok(call.decode(data))


def _log(name: str, data: bytes, *indexed: bytes) -> Log:
    return Log(
        address=ADDRESS,
        topics=(bytes.fromhex(TOPICS[name]), *indexed),
        data=data,
        log_index=0,
        tx_hash=TxHash("0x" + "0" * 64),
        block=BLOCK,
    )
