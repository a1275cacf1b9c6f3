"""The oracle can fail: after a trial that held, each kind of damage is found."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, update

from scripts.devnet.network import Devnet, Origin
from service.db import models as m
from tests.crash.oracle import Category, Evidence, Finding, judge
from tests.crash.runner import Ground, ground
from tests.crash.trials import Kill, Subject, Trial
from tests.faults.emulation import Emulation

pytestmark = pytest.mark.chain

PAYMENT = Subject(
    kind="withdrawal",
    body={"asset": "USDC", "amount": "10", "client_withdrawal_id": "w"},
    asset="USDC",
    raw=10_000_000,
)
TRIAL = Trial(
    seed=1,
    chain="ethereum",
    subjects=[PAYMENT],
    kills=[Kill(point="K6")],
    fault="none",
    rules=[],
    emulation=Emulation(),
    reorg=False,
    blocks_down=0,
)


@pytest.fixture(scope="module")
def crash_ground(devnet: Devnet, sqlite_template: Path) -> Iterator[Ground]:
    origins = {"ethereum": Origin(base_url=devnet.chains["ethereum"].base_url or devnet.chains["ethereum"].rpc_url)}
    with ground(origins, sqlite_template) as made:
        yield made


def categories(findings: list[Finding]) -> set[Category]:
    return {finding.category for finding in findings}


def damaged(evidence: Evidence, statement: Any) -> set[Category]:
    """What is found after a change of the database, which is put back."""
    content = evidence.database.read_bytes()
    engine = create_engine(f"sqlite:///{evidence.database}")
    with engine.begin() as c:
        c.exec_driver_sql("PRAGMA foreign_keys = OFF")
        assert c.execute(statement).rowcount >= 1
    engine.dispose()
    try:
        return categories(judge(evidence))
    finally:
        evidence.database.write_bytes(content)


def test_every_kind_of_damage_is_found(crash_ground: Ground) -> None:
    found: dict[str, set[Category]] = {}

    def look(evidence: Evidence) -> list[Finding]:
        held = judge(evidence)
        engine = create_engine(f"sqlite:///{evidence.database}")
        with engine.connect() as c:
            c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        found["no outcome"] = damaged(evidence, update(m.txs).values(outcome="reverted"))
        found["no withdrawal"] = damaged(evidence, delete(m.withdrawals))
        found["paid twice"] = damaged(evidence, update(m.withdrawals).values(amount=1))
        found["no attempt"] = damaged(evidence, delete(m.attempts))
        found["held"] = damaged(evidence, update(m.reservations).values(released_ms=None))
        found["no row of the nonce"] = damaged(evidence, update(m.txs).values(nonce=7))
        found["event lost"] = damaged(evidence, delete(m.outbox).where(m.outbox.c.seq == 2))
        result: Mapping[str, Any] = {**evidence.result, "wrong_rows": [{"asset": "x", "unexplained": 1}]}
        found["unexplained"] = categories(judge(replace(evidence, result=result)))
        return held

    verdict = crash_ground.run(TRIAL, look=look)
    assert verdict.held, verdict.findings
    assert verdict.killed_at == ("K6",)
    assert Category.DOUBLE_SEND in found["no outcome"]
    assert Category.LOST_INTENT in found["no withdrawal"]
    assert Category.DOUBLE_SEND in found["paid twice"]
    assert Category.UNRECORDED_SEND in found["no attempt"]
    assert Category.LEAKED_RESERVATION in found["held"]
    assert Category.NONCES in found["no row of the nonce"]
    assert Category.BOOKS in found["event lost"]
    assert Category.BOOKS in found["unexplained"]
