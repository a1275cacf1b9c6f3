"""Random kill trials, K1 to K21 under faults: no double send, nothing lost, no promise broken, books equal the chain.

`python -m scripts.bench crash` runs the same trials at scale.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from scripts.devnet.network import Devnet
from tests.crash.databases import PostgresDatabases, SqliteFiles
from tests.crash.oracle import Evidence, Finding, judge
from tests.crash.runner import Ground, ground
from tests.crash.subjects import KINDS, Setting, bought_first, draw_subject
from tests.crash.trials import FAULTS, POINTS, Kill, Trial, draw

TRIALS: Final = 48
SEED: Final = int(os.environ.get("CAMBIST_CRASH_SEED", "20260"))
"""Set it to see other trials; `make test` always runs the same ones."""
MIGRATED: Final = "cambist_template"
"""The database that `postgres_server` comes with."""

pytestmark = pytest.mark.chain


def trial(number: int) -> Trial:
    """Every point in turn, every fault in turn, the rest drawn."""
    faults = sorted(FAULTS)
    return draw(SEED + number, point=POINTS[number % len(POINTS)], fault=faults[number % len(faults)])


@pytest.fixture(scope="module")
def crash_ground(devnet: Devnet, sqlite_template: Path) -> Iterator[Ground]:
    """One zygote and its forks for all trials of a worker."""
    origins = {name: chain.origin for name, chain in devnet.chains.items()}
    with ground(origins, SqliteFiles(template=sqlite_template)) as made:
        yield made


@pytest.mark.parametrize("number", range(TRIALS))
def test_F01_a_killed_service_pays_once_loses_nothing_and_keeps_its_books(crash_ground: Ground, number: int) -> None:
    verdict = crash_ground.run(trial(number))
    assert verdict.held, f"{verdict.trial.name}\n{verdict.findings}\n{verdict.log}"


@pytest.mark.postgres
def test_F01_on_postgresql_a_life_goes_on_from_where_the_killed_one_stopped(
    devnet: Devnet, postgres_server: str
) -> None:
    databases = PostgresDatabases(server=postgres_server, template=MIGRATED)
    setting = Setting(chance=random.Random(1), chain="ethereum", seed=1, direction=1)
    changed = replace(
        draw(1),
        chain="ethereum",
        direction=1,
        subjects=[bought_first(setting, raw=20_000_001), draw_subject(setting, index=1, kind="limit")],
        kills=[Kill(point="K12"), Kill(point="K20", count=8), Kill(point="K21", count=8)],
        fault="none",
        rules=[],
    )
    with ground({"ethereum": devnet.chains["ethereum"].origin}, databases) as here:
        verdict = here.run(changed)
    assert verdict.held, f"{verdict.findings}\n{verdict.log}"
    assert verdict.killed_at == ("K12", "K20", "K21")


@pytest.mark.parametrize("fault", ["no simulation of sequences", "none"])
def test_F56_killed_between_approval_and_swap_it_resumes_and_is_filled(crash_ground: Ground, fault: str) -> None:
    drawn = draw(SEED + 3, point="K17")
    changed = replace(drawn, kills=drawn.kills[:1], fault=fault, rules=FAULTS[fault](), subjects=drawn.subjects[:1])
    states: list[str] = []

    def look(evidence: Evidence) -> list[Finding]:
        states.extend(evidence.result["states"].values())
        return judge(evidence)

    verdict = crash_ground.run(changed, look=look)
    assert verdict.held, f"{verdict.findings}\n{verdict.log}"
    assert (verdict.killed_at, states) == (("K17",), ["FILLED"])


@pytest.mark.parametrize("point", ["K14", "K14b", "K11", "K12"])
def test_F30_killed_in_the_middle_of_a_rewind_the_rewind_is_whole_or_not_there(
    crash_ground: Ground, point: str
) -> None:
    drawn = draw(SEED + 5, point="K14")
    changed = replace(drawn, kills=[Kill(point=point)], fault="none", rules=[], reorg=True)
    verdict = crash_ground.run(changed)
    assert verdict.held, f"{verdict.findings}\n{verdict.log}"
    assert verdict.killed_at == (point,)


def test_the_trials_reach_every_fault_and_several_kinds() -> None:
    trials = [trial(number) for number in range(TRIALS)]
    assert {one.kills[0].point for one in trials} == set(POINTS)
    assert {one.fault for one in trials} == set(FAULTS)
    assert {subject.kind for one in trials for subject in one.subjects} == KINDS
    assert {one.chain for one in trials} == {"ethereum", "polygon"}
    assert any(one.reorg for one in trials)


def test_a_seed_always_gives_the_same_trial() -> None:
    seed = random.Random(7).randrange(10**6)
    assert draw(seed).name == draw(seed).name
