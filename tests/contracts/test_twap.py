"""Averages of V3 pools: roundings, wrapping accumulators, and which pool speaks."""

import pytest

from chains.types import Address
from contracts.multicall import Ok, Reverted
from contracts.ratio import Ratio
from contracts.twap import WINDOWS_S, Consulted, Twap, consult, consulted_from, deepest_twap, price_at_tick

A, B = Address("0x" + "a" * 40), Address("0x" + "b" * 40)
OLD = Reverted(b"OLD")


def seen(tick: int, *, liquidity: int) -> Ok[Consulted]:
    return Ok(Consulted(mean_tick=tick, mean_liquidity=liquidity))


@pytest.mark.parametrize(
    ("passed", "mean"), [(0, 0), (1800, 1), (1799, 0), (-1, -1), (-1800, -1), (-1801, -2), (5400, 3)]
)
def test_a_mean_tick_is_rounded_down_also_below_zero(passed: int, mean: int) -> None:
    assert consulted_from([7, 7 + passed], [0, 1], window_s=1800).mean_tick == mean


def test_accumulators_that_wrapped_around_give_the_same_mean() -> None:
    plain = consulted_from([0, 1800], [0, 2**128], window_s=1800)
    top = 2**55 - 1
    wrapped = consulted_from([top, top + 1800 - 2**56], [2**160 - 1, 2**128 - 1], window_s=1800)
    assert wrapped == plain


def test_the_mean_liquidity_is_that_of_oracle_library() -> None:
    # A pool with liquidity L for w seconds adds (w << 128) / L to its accumulator.
    for liquidity in (1, 10**6, 3 * 10**20):
        added = (600 << 128) // liquidity
        found = consulted_from([0, 0], [5, 5 + added], window_s=600).mean_liquidity
        assert liquidity * 999 // 1000 <= found <= liquidity * 1001 // 1000 + 1


def test_a_price_at_a_tick_is_the_pools_own() -> None:
    assert price_at_tick(0) == Ratio(num=1, den=1)
    # TickMath rounds its square root, in the last of some 30 digits at this size.
    assert price_at_tick(-1).inverse.times(10**18) == 1_000_099_999_999_999_999
    assert price_at_tick(200_000).times(10**6) == 10_001**200_000 * 10**6 // 10_000**200_000


def test_the_pool_with_most_liquidity_over_its_longest_window_speaks() -> None:
    answers: list[Ok[Consulted] | Reverted] = [
        OLD,
        OLD,
        OLD,
        seen(3, liquidity=9),
        seen(1, liquidity=5),
        seen(2, liquidity=50),
        OLD,
        OLD,
    ]
    assert deepest_twap([A, B], answers) == Twap(pool=A, window_s=300, mean_tick=3, mean_liquidity=9)
    assert deepest_twap([B], answers[4:]) == Twap(pool=B, window_s=1800, mean_tick=1, mean_liquidity=5)


def test_pools_that_remember_less_than_the_shortest_window_say_nothing() -> None:
    assert deepest_twap([A, B], [OLD] * 2 * len(WINDOWS_S)) is None
    assert deepest_twap([], []) is None


def test_the_call_asks_for_the_window_and_now() -> None:
    call = consult(A, window_s=1800)
    assert call.data[:4].hex() == "883bdbfd"
    assert call.data.endswith((1800).to_bytes(32, "big") + bytes(32))
