"""Ways are timed in turn, each as often as the others."""

from dataclasses import dataclass

import pytest

from scripts.bench import rounds
from scripts.bench.rounds import Took, Way, interleaved


@dataclass(slots=True)
class Clock:
    """In place of the module `time`: it moves when work is done, however busy the machine is."""

    now_s: float = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.now_s / 2

    def work(self) -> None:
        self.now_s += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rounds, "time", made)
    return made


def test_every_round_runs_each_way_once_and_the_first_is_not_counted() -> None:
    ran: list[str] = []
    took = interleaved({name: Way(work=lambda name=name: ran.append(name), units=10) for name in "ab"}, rounds=3)  # type: ignore[misc]  # a default binds the loop's value
    assert "".join(ran) == "abababab"
    assert set(took) == {"a", "b"}


def test_times_are_of_one_unit(clock: Clock) -> None:
    took = interleaved({"one": Way(work=clock.work, units=1), "thousand": Way(work=clock.work, units=1_000)}, rounds=5)
    assert took == {"one": Took(us=1e6, cpu_us=5e5), "thousand": Took(us=1e3, cpu_us=5e2)}
