"""Ids that the service makes."""

import uuid

from service.clock import SystemClock
from service.ids import RequestIds, intent_id, new_id, order_plan_id, withdrawal_plan_id
from tests.clock import FakeClock


def test_ids_are_uuids_of_version_7_that_sort_by_time(clock: FakeClock) -> None:
    made = []
    for _ in range(50):
        made.append(new_id(clock))
        clock.advance_ms(1)
    assert made == sorted(made)
    for text in made:
        found = uuid.UUID(text)
        assert (str(found), found.version, found.variant) == (text, 7, uuid.RFC_4122)


def test_ids_of_one_millisecond_differ(clock: FakeClock) -> None:
    assert len({new_id(clock) for _ in range(1_000)}) == 1_000


def test_the_time_of_an_id_is_the_clocks(clock: FakeClock) -> None:
    assert uuid.UUID(new_id(clock)).int >> 80 == clock.now_ms()


def test_plan_and_intent_ids_fit_their_columns(clock: FakeClock) -> None:
    for plan_id in (order_plan_id(2**53, 10**6), withdrawal_plan_id(clock)):
        assert len(intent_id(plan_id, 99)) <= 64
        assert intent_id(plan_id, 2) == f"{plan_id}/2"


def test_the_systems_clock_counts_milliseconds_since_1970() -> None:
    clock = SystemClock()
    assert 1_767_225_600_000 < clock.now_ms() < 4_102_444_800_000
    assert clock.monotonic_s() <= clock.monotonic_s()


def test_request_ids_are_the_same_kind_of_id() -> None:
    ids, now_ms = RequestIds(), 1_700_000_000_123
    made = [ids.next(now_ms + at // 400) for at in range(2_000)]
    assert len(set(made)) == len(made)
    for at, text in enumerate(made):
        found = uuid.UUID(text)
        assert (str(found), found.version, found.variant) == (text, 7, uuid.RFC_4122)
        assert found.int >> 80 == now_ms + at // 400
    # Every drawn bit is used.
    bits = [uuid.UUID(text).int & ((1 << 76) - 1) & ~(0b11 << 62) for text in made]
    seen = never = 0
    for one in bits:
        seen |= one
        never |= ~one
    every = ((1 << 76) - 1) & ~(0b11 << 62)
    assert (seen, never & every) == (every, every)
