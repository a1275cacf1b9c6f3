"""Random kill trials, K1 to K17 under faults: no double send, no lost intent, no leaked reservation, books equal chain.

`python -m scripts.bench crash` runs the same trials at scale.
"""

import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from scripts.devnet.network import Devnet, Origin
from tests.crash.runner import Ground, ground
from tests.crash.trials import FAULTS, POINTS, draw

TRIALS: Final = 64
SEED: Final = int(os.environ.get("CAMBIST_CRASH_SEED", "20260"))
"""Set it to see other trials; `make test` always runs the same ones."""

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def crash_ground(devnet: Devnet, sqlite_template: Path) -> Iterator[Ground]:
    """One zygote and its forks for all trials of a worker."""
    origins: Mapping[str, Origin] = {
        name: Origin(base_url=chain.base_url or chain.rpc_url) for name, chain in devnet.chains.items()
    }
    with ground(origins, sqlite_template) as made:
        yield made


@pytest.mark.parametrize("number", range(TRIALS))
def test_F01_a_killed_service_pays_once_loses_nothing_and_keeps_its_books(crash_ground: Ground, number: int) -> None:
    verdict = crash_ground.run(draw(SEED + number, point=POINTS[number % len(POINTS)]))
    assert verdict.held, f"{verdict.trial.name}\n{verdict.findings}\n{verdict.log}"


def test_the_trials_reach_every_fault_and_several_kinds() -> None:
    trials = [draw(SEED + number, point=POINTS[number % len(POINTS)]) for number in range(TRIALS)]
    assert {trial.kills[0].point for trial in trials} == set(POINTS)
    assert {trial.fault for trial in trials} == set(FAULTS)
    assert {subject.kind for trial in trials for subject in trial.subjects} == {"withdrawal", "sell", "buy"}
    assert {trial.chain for trial in trials} == {"ethereum", "polygon"}
    assert any(trial.reorg for trial in trials)


def test_a_seed_always_gives_the_same_trial() -> None:
    seed = random.Random(7).randrange(10**6)
    assert draw(seed).name == draw(seed).name
