"""Any sequence of work, blocks, reorgs, faults, crashes and acts of others leaves the engine's promises as they are."""

import os
from typing import Final

from hypothesis import HealthCheck, settings

from tests.chains.tx.model.machine import EngineMachine

EXAMPLES: Final = int(os.environ.get("CAMBIST_MACHINE_EXAMPLES", "30"))
STEPS: Final = int(os.environ.get("CAMBIST_MACHINE_STEPS", "40"))

EngineTest = EngineMachine.TestCase
EngineTest.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
