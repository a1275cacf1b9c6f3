"""Any sequence of withdrawals, blocks, reorgs, faults and crashes leaves the books equal to the chain."""

import itertools
import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from scripts.devnet.network import LocalChain
from tests.faults.machine import bound_to

EXAMPLES: Final = int(os.environ.get("CAMBIST_ANVIL_MACHINE_EXAMPLES", "4"))
STEPS: Final = 30

pytestmark = pytest.mark.chain


def test_I3_the_journal_equals_the_chain_after_anything_that_may_happen(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    numbers = itertools.count()

    def empty() -> Path:
        made = tmp_path / f"example-{next(numbers)}"
        made.mkdir()
        return made

    run_state_machine_as_test(
        bound_to(fresh_ethereum, empty),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # Blocks outlive an example, so that a shorter one is another one: it is shown as it was found.
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
