"""Signs of life: who is late, and who need not beat."""

from service.workers.heartbeats import LATE_S, Heartbeats
from tests.clock import FakeClock


def test_a_loop_is_late_once_it_was_silent_for_longer_than_allowed(clock: FakeClock) -> None:
    heartbeats = Heartbeats(clock)
    heartbeats.expect("engine-ethereum")
    heartbeats.expect("slow", within_s=200)
    clock.advance_ms(int(LATE_S * 1000))
    assert heartbeats.late() == {"engine-ethereum": False, "slow": False}
    clock.advance_ms(1)
    assert heartbeats.late() == {"engine-ethereum": True, "slow": False}
    heartbeats.beat("engine-ethereum")
    assert heartbeats.late() == {"engine-ethereum": False, "slow": False}


def test_what_is_not_expected_or_has_ended_is_never_late(clock: FakeClock) -> None:
    heartbeats = Heartbeats(clock)
    heartbeats.beat("engine-ethereum")
    heartbeats.expect("books")
    heartbeats.forget("books")
    clock.advance_ms(10**6)
    assert heartbeats.late() == {}
    assert heartbeats.silent_s() == {}
