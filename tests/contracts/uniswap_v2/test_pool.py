"""V2's maths: its laws, the vectors of Uniswap's suite, forks' fees, and the state after a swap."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chains.types import BlockHash, BlockRef, Log, TxHash, address_from_bytes
from contracts.abi import load_abi
from contracts.errors import (
    AbiError,
    AmountTooSmall,
    InconsistentPool,
    InsufficientLiquidity,
    InvalidTradeAmount,
    QuoteError,
)
from contracts.ratio import Ratio
from contracts.uniswap_v2.maths import get_amount_in, get_amount_out
from contracts.uniswap_v2.pool import (
    MAX_RESERVE,
    Synced,
    V2Fee,
    V2Pool,
    V2Quote,
    apply,
    decode,
    quote_exact_in,
    quote_exact_out,
    swapped,
)

ADDRESS = address_from_bytes(bytes(range(20)))
ETHER = 10**18
RESERVES = st.one_of(st.integers(1, 10**6), st.integers(1, MAX_RESERVE))
AMOUNTS = st.one_of(st.integers(1, 10**6), st.integers(1, 2**130))
FEES = st.sampled_from([V2Fee(kept=997, whole=1_000), V2Fee(kept=9_975, whole=10_000), V2Fee(kept=1, whole=1)])
POOLS = st.builds(V2Pool, address=st.just(ADDRESS), reserve0=RESERVES, reserve1=RESERVES, fee=FEES)


@pytest.mark.parametrize(
    ("amount_in", "reserve_in", "reserve_out", "amount_out"),
    [
        (1, 5, 10, 1662497915624478906),
        (1, 10, 5, 453305446940074565),
        (2, 5, 10, 2851015155847869602),
        (2, 10, 5, 831248957812239453),
        (1, 10, 10, 906610893880149131),
        (1, 100, 100, 987158034397061298),
        (1, 1000, 1000, 996006981039903216),
    ],
)
def test_outputs_are_those_of_uniswaps_suite(
    amount_in: int, reserve_in: int, reserve_out: int, amount_out: int
) -> None:
    """v2-core at v1.0.1, test/UniswapV2Pair.spec.ts, swapTestCases."""
    bought = get_amount_out(amount_in * ETHER, reserve_in * ETHER, reserve_out * ETHER, kept=997, whole=1_000)
    assert bought == amount_out


def test_small_amounts_are_those_of_the_routers_suite() -> None:
    """v2-periphery, test/UniswapV2Router02.spec.ts: getAmountOut(2, 100, 100) and getAmountIn(1, 100, 100)."""
    assert get_amount_out(2, 100, 100, kept=997, whole=1_000) == 1
    assert get_amount_in(1, 100, 100, kept=997, whole=1_000) == 2


@given(pool=POOLS, amount=AMOUNTS, zero_for_one=st.booleans())
def test_a_swap_never_lowers_the_product_that_the_pair_checks(pool: V2Pool, amount: int, zero_for_one: bool) -> None:
    """UniswapV2Pair.swap, 'K': the fee is taken from the input first."""
    for quote in (quote_exact_in, quote_exact_out):
        try:
            found = quote(pool, amount, zero_for_one=zero_for_one)
            after = swapped(pool, found, zero_for_one=zero_for_one)
        except QuoteError:
            continue
        fee = (pool.fee.whole - pool.fee.kept) * found.amount_in
        adjusted0 = after.reserve0 * pool.fee.whole - (fee if zero_for_one else 0)
        adjusted1 = after.reserve1 * pool.fee.whole - (0 if zero_for_one else fee)
        assert adjusted0 * adjusted1 >= pool.reserve0 * pool.reserve1 * pool.fee.whole**2


@given(pool=POOLS, amount=AMOUNTS, zero_for_one=st.booleans())
def test_the_price_of_an_output_buys_it_and_one_less_does_not_by_much(
    pool: V2Pool, amount: int, zero_for_one: bool
) -> None:
    try:
        cost = quote_exact_out(pool, amount, zero_for_one=zero_for_one).amount_in
        bought = quote_exact_in(pool, cost, zero_for_one=zero_for_one).amount_out
    except QuoteError:
        return
    assert bought >= amount
    assume(cost > 2)
    # The contract rounds up and adds one: two less is never enough.
    assert quote_exact_in(pool, cost - 2, zero_for_one=zero_for_one).amount_out < amount


@given(pool=POOLS, amounts=st.tuples(AMOUNTS, AMOUNTS), zero_for_one=st.booleans())
def test_more_in_never_gives_less_and_more_out_never_costs_less(
    pool: V2Pool, amounts: tuple[int, int], zero_for_one: bool
) -> None:
    less, more = sorted(amounts)
    for quote in (quote_exact_in, quote_exact_out):
        try:
            smaller, larger = (quote(pool, each, zero_for_one=zero_for_one) for each in (less, more))
        except QuoteError:
            continue
        assert smaller.amount_in <= larger.amount_in
        assert smaller.amount_out <= larger.amount_out


@given(pool=POOLS, amount=AMOUNTS, zero_for_one=st.booleans())
def test_a_round_trip_never_gains(pool: V2Pool, amount: int, zero_for_one: bool) -> None:
    try:
        there = quote_exact_in(pool, amount, zero_for_one=zero_for_one)
        between = swapped(pool, there, zero_for_one=zero_for_one)
        back = quote_exact_in(between, there.amount_out, zero_for_one=not zero_for_one)
    except QuoteError:
        return
    assert back.amount_out <= amount


@pytest.mark.parametrize("amount", [0, -1, 2**256 // 997, 2**255])
def test_an_amount_that_reverts_is_refused(amount: int) -> None:
    pool = V2Pool(address=ADDRESS, reserve0=ETHER, reserve1=ETHER)
    with pytest.raises(InvalidTradeAmount):
        quote_exact_in(pool, amount, zero_for_one=True)
    with pytest.raises(QuoteError):
        quote_exact_out(pool, amount, zero_for_one=True)


@pytest.mark.parametrize("amount", [ETHER, ETHER + 1])
def test_an_output_of_the_whole_reserve_is_refused(amount: int) -> None:
    pool = V2Pool(address=ADDRESS, reserve0=ETHER, reserve1=ETHER)
    with pytest.raises(InsufficientLiquidity):
        quote_exact_out(pool, amount, zero_for_one=True)
    assert quote_exact_out(pool, ETHER - 1, zero_for_one=True).amount_in > 0


def test_an_empty_pair_is_refused() -> None:
    pool = V2Pool(address=ADDRESS, reserve0=0, reserve1=0)
    for quote in (quote_exact_in, quote_exact_out):
        with pytest.raises(InsufficientLiquidity):
            quote(pool, 1, zero_for_one=False)


def test_a_swap_that_the_pair_itself_refuses_has_no_state_after_it() -> None:
    pool = V2Pool(address=ADDRESS, reserve0=MAX_RESERVE - 5, reserve1=10**6)
    with pytest.raises(AmountTooSmall):
        swapped(pool, quote_exact_in(pool, 1, zero_for_one=True), zero_for_one=True)
    with pytest.raises(InvalidTradeAmount):
        swapped(pool, quote_exact_in(pool, MAX_RESERVE, zero_for_one=True), zero_for_one=True)
    with pytest.raises(InsufficientLiquidity):
        swapped(pool, V2Quote(1, 10**6), zero_for_one=True)


@given(fee=st.tuples(st.integers(-5, 5), st.integers(-5, 5)))
def test_a_fee_keeps_a_part_of_the_whole(fee: tuple[int, int]) -> None:
    kept, whole = fee
    if 0 < kept <= whole:
        assert V2Fee(kept=kept, whole=whole).kept == kept
    else:
        with pytest.raises(InconsistentPool):
            V2Fee(kept=kept, whole=whole)


@given(pool=POOLS, amount=AMOUNTS)
def test_an_output_is_the_constant_product_with_the_forks_fee_rounded_down(pool: V2Pool, amount: int) -> None:
    paid = Fraction(amount * pool.fee.kept, pool.fee.whole)
    exact = pool.reserve1 - Fraction(pool.reserve0 * pool.reserve1) / (pool.reserve0 + paid)
    assert quote_exact_in(pool, amount, zero_for_one=True).amount_out == floor(exact)


def test_the_mid_price_is_token1_for_token0() -> None:
    assert V2Pool(address=ADDRESS, reserve0=10, reserve1=40).mid_price == Ratio(num=4, den=1)
    with pytest.raises(InconsistentPool):
        _ = V2Pool(address=ADDRESS, reserve0=0, reserve1=40).mid_price


def test_a_sync_log_replaces_the_reserves_and_others_say_nothing() -> None:
    pool = V2Pool(address=ADDRESS, reserve0=1, reserve1=2)
    sync = load_abi("uniswap_v2_pair").event("Sync").topic
    assert sync.hex() == "1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"
    event = decode(_log(sync, (7).to_bytes(32, "big") + (9).to_bytes(32, "big")))
    assert event == Synced(reserve0=7, reserve1=9)
    assert apply(pool, event) == V2Pool(address=ADDRESS, reserve0=7, reserve1=9)
    assert decode(_log(b"\1" * 32, b"")) is None
    with pytest.raises(AbiError):
        decode(_log(sync, b"\0" * 63))
    with pytest.raises(InconsistentPool):
        apply(pool, Synced(reserve0=MAX_RESERVE + 1, reserve1=1))


def _log(topic: bytes, data: bytes) -> Log:
    block = BlockRef(number=1, hash=BlockHash("0x" + "0" * 64))
    return Log(address=ADDRESS, topics=(topic,), data=data, log_index=0, tx_hash=TxHash("0x" + "0" * 64), block=block)
