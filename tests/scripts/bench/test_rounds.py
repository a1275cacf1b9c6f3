"""Ways are timed in turn, each as often as the others."""

from scripts.bench.rounds import Way, interleaved


def test_every_round_runs_each_way_once_and_the_first_is_not_counted() -> None:
    ran: list[str] = []
    took = interleaved({name: Way(work=lambda name=name: ran.append(name), units=10) for name in "ab"}, rounds=3)  # type: ignore[misc]  # a default binds the loop's value
    assert "".join(ran) == "abababab"
    assert set(took) == {"a", "b"}
    assert all(each.us > 0 for each in took.values())


def test_times_are_of_one_unit() -> None:
    def work() -> None:
        sum(range(20_000))

    took = interleaved({"one": Way(work=work, units=1), "thousand": Way(work=work, units=1_000)}, rounds=5)
    assert took["one"].us > 50 * took["thousand"].us
