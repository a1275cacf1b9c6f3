"""A call of a contract right before its nonce: what the node does not tell keeps it waiting, and is never a yes."""

from collections.abc import Sequence
from typing import Any

import pytest

from chains.client import SimResult
from chains.errors import MethodUnavailable, RpcRefused
from chains.tx.model import Intent
from chains.tx.store import PreSignPaused, PreSignRefused
from chains.types import CallRequest, Header
from contracts.deployments import Deployments
from service.db.engine import Database
from service.transactions.model import TransactionKind
from service.workers.simulated import SimulatedCheck
from tests.service.trading_seed import ASSETS, CONFIG, DEPLOYMENTS
from tests.service.transactions.seed import AMOUNT, Seeded, seed_transaction
from tests.service.transactions.test_simulating import HEAD, Node


class Passing:
    """What decodes and asks the rows has nothing against it."""

    async def check(self, intent: Intent) -> None: ...

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        return [None for _ in intents]


class Simulating(Node):
    """A node at a head that simulates, or says no in some way."""

    says: Exception | None = None

    async def head(self) -> Header:
        return HEAD

    async def simulate(self, calls: list[CallRequest], **more: Any) -> list[SimResult]:
        if self.says is not None:
            raise self.says
        return await super().simulate(calls, **more)


def refusing(says: Exception) -> Simulating:
    node = Simulating()
    node.says = says
    return node


async def look(db: Database, node: Simulating, seeded: Seeded) -> PreSignRefused | None:
    deployments: Deployments = DEPLOYMENTS
    check = SimulatedCheck(
        inner=Passing(), db=db, config=CONFIG, client=node.client, assets=ASSETS, deployments=deployments
    )
    [*_, last] = await check.check_all(seeded.plan.intents)
    return last


@pytest.fixture
async def seeded(sqlite_db: Database) -> Seeded:
    return await sqlite_db.run(lambda c: seed_transaction(c, TransactionKind.CONTRACT, approvals={}))


REFUSED = RpcRefused("gas limit too high", endpoint="one", method="eth_simulateV1", code=-32000)
WITHOUT = MethodUnavailable("no such method", endpoint="one", method="eth_simulateV1", code=-32601)


@pytest.mark.parametrize("says", [REFUSED, WITHOUT], ids=["refused", "without"])
async def test_what_the_node_does_not_simulate_waits(sqlite_db: Database, seeded: Seeded, says: Exception) -> None:
    assert isinstance(await look(sqlite_db, refusing(says), seeded), PreSignPaused)


async def test_what_it_says_would_fail_is_the_lanes_to_judge(sqlite_db: Database, seeded: Seeded) -> None:
    assert await look(sqlite_db, Simulating(fails=True), seeded) is None


async def test_what_it_says_would_take_more_is_refused_for_good(sqlite_db: Database, seeded: Seeded) -> None:
    found = await look(sqlite_db, Simulating(taken=AMOUNT + 1), seeded)
    assert found is not None
    assert not isinstance(found, PreSignPaused)
    assert await look(sqlite_db, Simulating(taken=AMOUNT), seeded) is None
