"""Any sequence of work, blocks, reorgs, faults, crashes and acts of others leaves the engine's promises as they are.

    CAMBIST_MACHINE_ROUNDS=30 CAMBIST_MACHINE_SEED=7 .venv/bin/pytest -s -m deep tests/chains/tx/test_machine.py

goes through so many rounds of `DEEP_EXAMPLES` examples, with the seeds 7, 8, ... A failure names its seed, and shows
the shortest sequence that it was found to need. Without these variables the examples are the same at each run: what a
change broke fails with that change, and nobody else's. What is found from other seeds becomes a test of its own.
"""

import os
import time
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chains.tx.model.machine import EngineMachine, Tally

SHORT_EXAMPLES: Final = 25
SHORT_STEPS: Final = 40
DEEP_EXAMPLES: Final = 800
DEEP_STEPS: Final = 50
ROUNDS: Final = int(os.environ.get("CAMBIST_MACHINE_ROUNDS", "1"))
SEED: Final = int(os.environ.get("CAMBIST_MACHINE_SEED", "1"))
MOST_SECONDS_A_ROUND: Final = 600
"""Shrinking included."""


def profile(*, examples: int, steps: int, is_fixed: bool) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=is_fixed,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def test_whatever_happens_to_an_engine_its_promises_hold() -> None:
    run_state_machine_as_test(
        EngineMachine, settings=profile(examples=SHORT_EXAMPLES, steps=SHORT_STEPS, is_fixed=True)
    )


@pytest.mark.deep
@pytest.mark.timeout(MOST_SECONDS_A_ROUND * ROUNDS)
def test_whatever_happens_to_an_engine_its_promises_hold_deeper() -> None:
    for number in range(SEED, SEED + ROUNDS):
        tally = Tally()
        machine = type("EngineMachine", (EngineMachine,), {"tally": tally})
        began_s = time.monotonic()
        print(f"\nCAMBIST_MACHINE_SEED={number}", flush=True)
        run_state_machine_as_test(
            seed(number)(machine), settings=profile(examples=DEEP_EXAMPLES, steps=DEEP_STEPS, is_fixed=False)
        )
        print(f"{tally} in {time.monotonic() - began_s:.0f} s", flush=True)
