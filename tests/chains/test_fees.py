"""EIP-1559 fees: integers, within caps, and replacements that every node takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.config import FeePolicy
from chains.errors import FeeCapExceeded
from chains.fees import FeeHistory, bump, replace_within, suggest, within_cost_cap
from chains.types import Fees

GWEI = 10**9
POLICY = FeePolicy(
    max_fee_cap_wei=500 * GWEI, priority_floor_wei=GWEI, priority_cap_wei=20 * GWEI, max_tx_cost_wei=10**17
)
POLYGON = FeePolicy(
    max_fee_cap_wei=5_000 * GWEI, priority_floor_wei=30 * GWEI, priority_cap_wei=1_000 * GWEI, max_tx_cost_wei=10**19
)


def history(base_wei: int, *tips_wei: int) -> FeeHistory:
    return FeeHistory(base_fees_wei=(1, base_wei), rewards_wei=tuple((tip,) for tip in tips_wei))


def test_the_max_fee_is_the_tip_and_twice_the_next_base_fee() -> None:
    fees = suggest(history(10 * GWEI, 2 * GWEI, 3 * GWEI, 4 * GWEI), POLICY)
    assert fees == Fees(max_fee_wei=23 * GWEI, priority_fee_wei=3 * GWEI)


def test_one_block_of_enormous_tips_does_not_move_the_median() -> None:
    assert suggest(history(GWEI, 2 * GWEI, 2 * GWEI, 10**18), POLICY).priority_fee_wei == 2 * GWEI


def test_a_node_that_suggests_less_than_the_floor_is_not_followed() -> None:
    assert suggest(history(GWEI, 1_500_000_000), POLYGON).priority_fee_wei == 30 * GWEI


def test_a_node_that_suggests_more_than_the_cap_is_not_followed() -> None:
    assert suggest(history(GWEI, 10**24), POLICY).priority_fee_wei == 20 * GWEI


def test_without_any_history_of_tips_the_floor_is_offered() -> None:
    assert suggest(history(GWEI), POLICY) == Fees(max_fee_wei=3 * GWEI, priority_fee_wei=GWEI)


def test_the_headroom_shrinks_at_the_cap() -> None:
    assert suggest(history(300 * GWEI, 2 * GWEI), POLICY).max_fee_wei == 500 * GWEI


def test_close_to_the_cap_the_tip_gives_way_down_to_the_floor() -> None:
    fees = suggest(history(499 * GWEI, 20 * GWEI), POLICY)
    assert fees == Fees(max_fee_wei=500 * GWEI, priority_fee_wei=GWEI)


def test_a_base_fee_above_the_cap_is_refused_with_both_numbers() -> None:
    with pytest.raises(FeeCapExceeded) as caught:
        suggest(history(500 * GWEI, GWEI), POLICY)
    assert (caught.value.needed_wei, caught.value.cap_wei) == (501 * GWEI, 500 * GWEI)


def test_a_bump_raises_both_fields_by_a_tenth_rounded_up() -> None:
    previous = Fees(max_fee_wei=21 * GWEI + 1, priority_fee_wei=GWEI + 1)
    fees = bump(previous, Fees(max_fee_wei=1, priority_fee_wei=1), POLICY)
    assert fees == Fees(max_fee_wei=23_100_000_002, priority_fee_wei=1_100_000_002)


def test_a_bump_takes_the_fresh_price_when_that_is_higher() -> None:
    previous = Fees(max_fee_wei=21 * GWEI, priority_fee_wei=GWEI)
    fresh = Fees(max_fee_wei=100 * GWEI, priority_fee_wei=5 * GWEI)
    assert bump(previous, fresh, POLICY) == fresh


def test_a_bump_is_ten_percent_also_where_the_floor_would_hide_it() -> None:
    previous = Fees(max_fee_wei=100 * GWEI, priority_fee_wei=30 * GWEI)
    fees = bump(previous, Fees(max_fee_wei=90 * GWEI, priority_fee_wei=1), POLYGON)
    assert fees.priority_fee_wei == 33 * GWEI


def test_a_bump_above_the_cap_is_refused() -> None:
    with pytest.raises(FeeCapExceeded):
        bump(Fees(max_fee_wei=460 * GWEI, priority_fee_wei=GWEI), Fees(max_fee_wei=1, priority_fee_wei=1), POLICY)
    with pytest.raises(FeeCapExceeded):
        bump(Fees(max_fee_wei=40 * GWEI, priority_fee_wei=19 * GWEI), Fees(max_fee_wei=1, priority_fee_wei=1), POLICY)


def test_a_fresh_price_above_the_cap_is_cut_to_it() -> None:
    previous = Fees(max_fee_wei=100 * GWEI, priority_fee_wei=GWEI)
    assert bump(previous, Fees(max_fee_wei=900 * GWEI, priority_fee_wei=GWEI), POLICY).max_fee_wei == 500 * GWEI


def test_the_whole_cost_of_a_transaction_is_capped_by_cutting_the_headroom() -> None:
    fees = Fees(max_fee_wei=300 * GWEI, priority_fee_wei=GWEI)
    cut = within_cost_cap(fees, gas_limit=500_000, base_fee_wei=100 * GWEI, policy=POLICY)
    assert cut == Fees(max_fee_wei=200 * GWEI, priority_fee_wei=GWEI)
    with pytest.raises(FeeCapExceeded):
        within_cost_cap(fees, gas_limit=500_000, base_fee_wei=200 * GWEI, policy=POLICY)


@given(
    base=st.integers(0, 600 * GWEI),
    tips=st.lists(st.integers(0, 10**24), max_size=30),
)
def test_whatever_a_node_says_the_policy_holds(base: int, tips: list[int]) -> None:
    try:
        fees = suggest(history(base, *tips), POLICY)
    except FeeCapExceeded:
        assert base + POLICY.priority_floor_wei > POLICY.max_fee_cap_wei
        return
    assert POLICY.priority_floor_wei <= fees.priority_fee_wei <= POLICY.priority_cap_wei
    assert base + fees.priority_fee_wei <= fees.max_fee_wei <= POLICY.max_fee_cap_wei


@given(max_fee=st.integers(GWEI, 500 * GWEI), tip=st.integers(0, 20 * GWEI), fresh=st.integers(0, 10**13))
def test_a_bump_is_a_replacement_that_geth_takes_or_is_refused(max_fee: int, tip: int, fresh: int) -> None:
    previous = Fees(max_fee_wei=max(max_fee, tip), priority_fee_wei=tip)
    try:
        fees = bump(previous, Fees(max_fee_wei=fresh, priority_fee_wei=min(fresh, GWEI)), POLICY)
    except FeeCapExceeded:
        return
    assert 100 * fees.max_fee_wei >= 110 * previous.max_fee_wei
    assert 100 * fees.priority_fee_wei >= 110 * previous.priority_fee_wei
    assert fees.priority_fee_wei <= fees.max_fee_wei <= POLICY.max_fee_cap_wei


def test_the_headroom_of_a_replacement_shrinks_at_the_cost_cap_and_not_below_ten_percent_more() -> None:
    previous, fresh = (
        Fees(max_fee_wei=10 * GWEI, priority_fee_wei=GWEI),
        Fees(max_fee_wei=90 * GWEI, priority_fee_wei=GWEI),
    )
    policy = FeePolicy(
        max_fee_cap_wei=500 * GWEI,
        priority_floor_wei=GWEI,
        priority_cap_wei=20 * GWEI,
        max_tx_cost_wei=11 * GWEI * 21_000,
    )
    cut = replace_within(previous, fresh, gas_limit=21_000, policy=policy)
    assert cut == Fees(max_fee_wei=11 * GWEI, priority_fee_wei=1_100_000_000)
    with pytest.raises(FeeCapExceeded) as caught:
        replace_within(previous, fresh, gas_limit=21_001, policy=policy)
    assert caught.value.needed_wei == 11 * GWEI


def test_a_bound_of_its_own_cuts_the_headroom_and_is_never_exceeded() -> None:
    fees = Fees(max_fee_wei=23 * GWEI, priority_fee_wei=3 * GWEI)
    bound = 15 * GWEI * 21_000
    cut = within_cost_cap(fees, gas_limit=21_000, base_fee_wei=10 * GWEI, policy=POLICY, max_cost_wei=bound)
    assert cut == Fees(max_fee_wei=15 * GWEI, priority_fee_wei=3 * GWEI)
    with pytest.raises(FeeCapExceeded):
        within_cost_cap(fees, gas_limit=21_000, base_fee_wei=13 * GWEI, policy=POLICY, max_cost_wei=bound)


def test_a_bound_above_the_policys_cap_changes_nothing() -> None:
    fees = Fees(max_fee_wei=500 * GWEI, priority_fee_wei=GWEI)
    asked = {"gas_limit": 1_000_000, "base_fee_wei": 10 * GWEI, "policy": POLICY}
    assert within_cost_cap(fees, **asked, max_cost_wei=10**18) == within_cost_cap(fees, **asked)  # type: ignore[arg-type]


def test_a_replacement_stays_within_its_own_bound_or_is_not_made() -> None:
    previous, fresh = (
        Fees(max_fee_wei=10 * GWEI, priority_fee_wei=GWEI),
        Fees(max_fee_wei=40 * GWEI, priority_fee_wei=GWEI),
    )
    bound = 12 * GWEI * 21_000
    bumped = replace_within(previous, fresh, gas_limit=21_000, policy=POLICY, max_cost_wei=bound)
    assert bumped == Fees(max_fee_wei=12 * GWEI, priority_fee_wei=1_100_000_000)
    with pytest.raises(FeeCapExceeded):
        replace_within(bumped, fresh, gas_limit=21_000, policy=POLICY, max_cost_wei=bound)
