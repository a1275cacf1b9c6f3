"""The endpoint's state machine, event by event, and its pace."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.rpc.budget import MAX_BACKOFF_S, Budget, Pace
from chains.rpc.health import Answered, Event, Failed, Health, HealthPolicy, Probed, State, WrongChainSeen, step

POLICY = HealthPolicy(fail_after=3, recover_after=2, lag_after=2, lag_blocks=10, finalized_lag_blocks=20)


def probed(behind: int = 0, *, finalized_behind: int | None = 0, syncing: bool = False) -> Probed:
    return Probed(
        head=1000 - behind,
        finalized=None if finalized_behind is None else 900 - finalized_behind,
        is_syncing=syncing,
        best_head=1000,
        best_finalized=900,
    )


def after(events: Sequence[Event], start: Health | None = None) -> Health:
    health = start or Health()
    for event in events:
        health = step(health, event, POLICY)
    return health


def in_state(state: State) -> Health:
    return Health(state=state, is_checked=state not in (State.WRONG_CHAIN, State.UNREACHABLE), was_judged=True)


def test_an_endpoint_starts_unreachable_and_unchecked() -> None:
    assert (Health().state, Health().is_checked) == (State.UNREACHABLE, False)


@pytest.mark.parametrize(
    ("probe", "state"),
    [
        (probed(), State.ALIVE),
        (probed(10), State.ALIVE),
        (probed(11), State.LAGGING),
        (probed(0, finalized_behind=20), State.ALIVE),
        (probed(0, finalized_behind=21), State.FINALIZED_LAGGING),
        (probed(0, finalized_behind=None), State.ALIVE),
        (probed(50, finalized_behind=50), State.LAGGING),
        (probed(syncing=True), State.SYNCING),
    ],
)
def test_the_first_probe_is_believed_at_once(probe: Probed, state: State) -> None:
    assert after([probe]).state is state


def test_it_is_unreachable_after_three_failures_in_a_row_and_not_before() -> None:
    alive = after([probed()])
    assert after([Failed(), Failed()], alive).state is State.ALIVE
    assert after([Failed(), Failed(), Failed()], alive).state is State.UNREACHABLE
    assert after([Failed(), Failed(), Answered(), Failed(), Failed()], alive).state is State.ALIVE


def test_a_single_failure_asks_for_chain_id_and_genesis_again() -> None:
    alive = after([probed()])
    assert alive.is_checked
    assert not after([Failed()], alive).is_checked
    assert not after([Failed(), Answered()], alive).is_checked
    assert after([Failed(), probed()], alive).is_checked


def test_recovery_takes_two_good_probes_in_a_row() -> None:
    gone = after([probed(), Failed(), Failed(), Failed()])
    assert after([probed()], gone).state is State.UNREACHABLE
    assert after([probed(), Failed(), probed()], gone).state is State.UNREACHABLE
    assert after([probed(), probed()], gone).state is State.ALIVE


def test_lagging_takes_two_probes_and_ends_within_half_of_the_limit() -> None:
    alive = after([probed()])
    assert after([probed(11)], alive).state is State.ALIVE
    assert after([probed(11), probed(), probed(11)], alive).state is State.ALIVE
    lagging = after([probed(11), probed(11)], alive)
    assert lagging.state is State.LAGGING
    assert after([probed(6), probed(6), probed(6)], lagging).state is State.LAGGING
    assert after([probed(5), probed(5)], lagging).state is State.ALIVE


def test_finalized_lagging_ends_within_half_of_the_limit() -> None:
    behind = after([probed(finalized_behind=21), probed(finalized_behind=21)], after([probed()]))
    assert behind.state is State.FINALIZED_LAGGING
    assert after([probed(finalized_behind=11)] * 3, behind).state is State.FINALIZED_LAGGING
    assert after([probed(finalized_behind=10)] * 2, behind).state is State.ALIVE


def test_syncing_is_believed_at_once_and_left_slowly() -> None:
    syncing = after([probed(), probed(syncing=True)])
    assert syncing.state is State.SYNCING
    assert after([probed()], syncing).state is State.SYNCING
    assert after([probed(), probed()], syncing).state is State.ALIVE


@pytest.mark.parametrize("state", list(State))
def test_another_chain_quarantines_at_once_from_every_state(state: State) -> None:
    quarantined = after([WrongChainSeen()], in_state(state))
    assert (quarantined.state, quarantined.is_checked) == (State.WRONG_CHAIN, False)
    assert after([Failed()] * 5, quarantined).state is State.WRONG_CHAIN
    assert after([Answered()] * 5, quarantined).state is State.WRONG_CHAIN


def test_quarantine_ends_after_two_good_dials_each_of_which_checks_the_genesis() -> None:
    once = after([WrongChainSeen(), probed()])
    assert (once.state, once.is_checked) == (State.WRONG_CHAIN, False)
    assert after([probed()], once).state is State.ALIVE
    assert after([WrongChainSeen(), probed()], once).state is State.WRONG_CHAIN


EVENTS = st.one_of(
    st.just(Failed()),
    st.just(Answered()),
    st.just(WrongChainSeen()),
    st.builds(
        lambda behind, final, syncing: probed(behind, finalized_behind=final, syncing=syncing),
        st.integers(0, 40),
        st.one_of(st.none(), st.integers(0, 60)),
        st.booleans(),
    ),
)


@given(st.lists(EVENTS, max_size=40))
def test_from_any_history_two_good_probes_make_it_alive_and_checked(history: list[Event]) -> None:
    health = after([*history, probed(), probed()])
    assert (health.state, health.is_checked, health.failures) == (State.ALIVE, True, 0)


@given(st.lists(EVENTS, max_size=40))
def test_what_is_not_checked_was_never_probed_since_the_last_failure(history: list[Event]) -> None:
    health = after([*history, Failed()])
    assert not health.is_checked
    assert health.state in (after(history).state, State.UNREACHABLE)


# -- pace ---------------------------------------------------------------------------------------------------


def pace(budget: Budget | None) -> Pace:
    return Pace(budget, rng=random.Random(1))


def test_a_budget_lets_a_burst_through_and_then_its_rate() -> None:
    own = pace(Budget(rate_per_s=10, burst=12, for_sends=2))
    for _ in range(10):
        assert own.wait_s(1, 0.0) == 0
        own.spend(1, 0.0)
    assert own.wait_s(1, 0.0) == pytest.approx(0.1)
    assert own.wait_s(1, 0.1) == pytest.approx(0.0)


def test_reads_leave_the_last_tokens_to_sends_and_pay_for_what_sends_overdraw() -> None:
    own = pace(Budget(rate_per_s=10, burst=12, for_sends=2))
    own.spend(10, 0.0)
    assert own.wait_s(1, 0.0) > 0
    own.spend(12, 0.0)  # sends: never refused
    assert own.wait_s(1, 0.0) == pytest.approx(1.3)


def test_a_batch_larger_than_the_burst_waits_for_a_full_one_only() -> None:
    own = pace(Budget(rate_per_s=10, burst=12, for_sends=2))
    assert own.wait_s(500, 0.0) == 0
    own.spend(500, 0.0)
    assert own.wait_s(1, 0.0) == pytest.approx(49.1)


def test_F42_back_off_doubles_with_jitter_to_a_bound_and_ends_with_an_answer() -> None:
    own = pace(None)
    waits = []
    for _ in range(12):
        own.throttled(None, 0.0)
        waits.append(own.wait_s(1, 0.0))
    assert waits == sorted(waits)
    assert 0.25 <= waits[0] <= 0.5
    assert MAX_BACKOFF_S / 2 <= waits[-1] <= MAX_BACKOFF_S
    own.answered()
    own.throttled(None, 1000.0)
    assert own.wait_s(1, 1000.0) <= 0.5


def test_F42_retry_after_is_honoured() -> None:
    own = pace(None)
    own.throttled(7, 100.0)
    assert 7 <= own.wait_s(1, 100.0) <= 7.5
    assert own.wait_s(1, 107.5) == 0


@pytest.mark.parametrize("values", [(0, 5, 1), (5, 5, 5), (5, 5, -1)])
def test_a_budget_that_could_never_serve_a_read_is_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="budget"):
        Budget(rate_per_s=values[0], burst=values[1], for_sends=values[2])
