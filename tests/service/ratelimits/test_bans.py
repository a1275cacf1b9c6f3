"""Who goes on after a refusal is not listened to, each time for longer."""

from service.ratelimits.bans import FIRST_BAN_S, FORGIVEN_AFTER_S, LONGEST_BAN_S, STRIKES, STRIKES_WITHIN_S, Bans
from tests.clock import FakeClock


def struck_out(bans: Bans, client: str = "a") -> int | None:
    for _ in range(STRIKES):
        bans.strike(client)
    return bans.left_s(client)


def test_a_ban_begins_with_the_last_strike_and_ends(clock: FakeClock) -> None:
    bans = Bans(clock)
    for _ in range(STRIKES - 1):
        bans.strike("a")
    assert bans.left_s("a") is None
    bans.strike("a")
    assert bans.left_s("a") == FIRST_BAN_S + 1
    assert bans.left_s("b") is None
    clock.advance_ms(FIRST_BAN_S * 1_000)
    assert bans.left_s("a") is None


def test_strikes_far_apart_are_no_ban(clock: FakeClock) -> None:
    bans = Bans(clock)
    for _ in range(10 * STRIKES):
        bans.strike("a")
        clock.advance_ms((STRIKES_WITHIN_S * 1_000) // (STRIKES - 2))
    assert bans.left_s("a") is None


def test_each_ban_is_twice_as_long_up_to_an_hour_and_forgiven_later(clock: FakeClock) -> None:
    bans = Bans(clock)
    lengths = []
    for _ in range(9):
        left_s = struck_out(bans)
        assert left_s is not None
        lengths.append(left_s - 1)
        clock.advance_ms(left_s * 1_000)
    assert lengths[:4] == [FIRST_BAN_S, 2 * FIRST_BAN_S, 4 * FIRST_BAN_S, 8 * FIRST_BAN_S]
    assert lengths[-1] == LONGEST_BAN_S
    clock.advance_ms(FORGIVEN_AFTER_S * 1_000)
    assert struck_out(bans) == FIRST_BAN_S + 1


def test_memory_of_bans_is_bounded(clock: FakeClock) -> None:
    bans = Bans(clock, max_clients=2)
    for client in "abc":
        struck_out(bans, client)
    assert [bans.left_s(client) is None for client in "abc"] == [True, False, False]
