"""Buckets: bursts, steady rates, bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from service.ratelimits.buckets import Buckets
from tests.clock import FakeClock


def test_a_burst_passes_and_the_next_is_told_when_to_come_again() -> None:
    clock = FakeClock()
    buckets = Buckets(clock, per_minute=60, burst=3)
    assert [buckets.take("a").remaining for _ in range(3)] == [2, 1, 0]
    refused = buckets.take("a")
    assert not refused.passed
    assert (refused.limit, refused.remaining, refused.reset_s, refused.retry_after_s) == (3, 0, 3, 1)
    clock.advance_ms(1_000)
    assert buckets.take("a").passed
    assert not buckets.take("a").passed


def test_clients_do_not_share_a_bucket() -> None:
    buckets = Buckets(FakeClock(), per_minute=60, burst=1)
    assert buckets.take("a").passed
    assert buckets.take("b").passed


def test_a_costly_request_takes_more() -> None:
    buckets = Buckets(FakeClock(), per_minute=60, burst=10)
    assert buckets.take("a", 10).passed
    assert buckets.take("a", 5).retry_after_s == 5


def test_the_clients_seen_longest_ago_are_forgotten_first() -> None:
    buckets = Buckets(FakeClock(), per_minute=60, burst=2, max_clients=2)
    for client in ("a", "b", "a", "c"):
        assert buckets.take(client).passed
    assert not buckets.take("a").passed
    assert buckets.take("b").remaining == 1


@given(waits=st.lists(st.integers(0, 2_000), max_size=200), per_minute=st.integers(1, 6_000), burst=st.integers(1, 50))
def test_never_more_than_the_burst_and_the_rate(waits: list[int], per_minute: int, burst: int) -> None:
    clock = FakeClock()
    buckets = Buckets(clock, per_minute=per_minute, burst=burst)
    passed = 0
    for wait_ms in waits:
        clock.advance_ms(wait_ms)
        passed += buckets.take("a").passed
    # The clock's float may be a microsecond off, hence one more.
    assert passed <= burst + sum(waits) * per_minute // 60_000 + 1
