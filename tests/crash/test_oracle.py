"""The oracle can fail: after a trial that held, each kind of damage is found."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, make_url, update

from scripts.devnet.network import Devnet
from service.db import models as m
from tests.crash.databases import SqliteFiles
from tests.crash.oracle import Category, Evidence, Finding, judge
from tests.crash.runner import Ground, ground
from tests.crash.subjects import FAR_BPS, Setting, Subject, draw_subject, executed_first
from tests.crash.trials import Kill, Trial
from tests.faults.emulation import Emulation

pytestmark = pytest.mark.chain

WAITED = m.clearances.c.state == "approved"
OF_ORDER = m.reservations.c.order_id.is_not(None)
ORDERS = m.key_usage.c.counter == "orders"
TRADE = m.journal_entries.c.cause == "trade"
GAS = m.journal_entries.c.cause == "gas"

SETTING = Setting(chance=random.Random(1), chain="ethereum", seed=1, direction=1)
PAYMENT = Subject(
    kind="withdrawal",
    body={"asset": "USDC", "amount": "10", "address": "@destination", "client_withdrawal_id": "w"},
    asset="USDC",
    raw=10_000_000,
)
FILLED = executed_first(SETTING)
RESTING = replace(FILLED, body={**FILLED.body, "price": f"@{FAR_BPS:+d}", "client_order_id": "order-1"})
APPROVED = replace(draw_subject(SETTING, index=2, kind="waiting"), then="approve_by_key")
TRIAL = Trial(
    seed=1,
    chain="ethereum",
    direction=1,
    subjects=[PAYMENT, FILLED, RESTING, APPROVED, draw_subject(SETTING, index=4, kind="entry")],
    kills=[Kill(point="K6")],
    fault="none",
    rules=[],
    emulation=Emulation(),
    reorg=False,
    blocks_down=0,
)


@pytest.fixture(scope="module")
def crash_ground(devnet: Devnet, sqlite_template: Path) -> Iterator[Ground]:
    origins = {"ethereum": devnet.chains["ethereum"].origin}
    with ground(origins, SqliteFiles(template=sqlite_template)) as made:
        yield made


def categories(findings: list[Finding]) -> set[Category]:
    return {finding.category for finding in findings}


def file_of(evidence: Evidence) -> Path:
    return Path(str(make_url(evidence.database_url).database))


def damaged(evidence: Evidence, statement: Any) -> set[Category]:
    """What is found after a change of the database, which is put back."""
    content = file_of(evidence).read_bytes()
    engine = create_engine(evidence.database_url)
    with engine.begin() as c:
        c.exec_driver_sql("PRAGMA foreign_keys = OFF")
        assert c.execute(statement).rowcount >= 1
    engine.dispose()
    try:
        return categories(judge(evidence))
    finally:
        file_of(evidence).write_bytes(content)


def test_every_kind_of_damage_is_found(crash_ground: Ground) -> None:
    found: dict[str, set[Category]] = {}

    def look(evidence: Evidence) -> list[Finding]:
        held = judge(evidence)
        engine = create_engine(evidence.database_url)
        with engine.connect() as c:
            c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        found["no outcome"] = damaged(evidence, update(m.txs).values(outcome="reverted"))
        found["no withdrawal"] = damaged(evidence, delete(m.withdrawals))
        found["paid twice"] = damaged(evidence, update(m.withdrawals).values(amount=1))
        found["no attempt"] = damaged(evidence, delete(m.attempts))
        found["held"] = damaged(evidence, update(m.reservations).values(released_ms=None))
        found["no row of the nonce"] = damaged(evidence, update(m.txs).values(nonce=m.txs.c.nonce + 7))
        found["event lost"] = damaged(evidence, delete(m.outbox).where(m.outbox.c.seq == 2))
        unsigned = {"state": "pending", "decider_id": None}
        found["approval lost"] = damaged(evidence, update(m.clearances).where(WAITED).values(unsigned))
        found["cooled"] = damaged(evidence, update(m.book_entries).values(in_force_ms=m.book_entries.c.created_ms))
        found["not held"] = damaged(evidence, update(m.reservations).where(OF_ORDER).values(released_ms=1))
        found["counted once more"] = damaged(evidence, update(m.key_usage).where(ORDERS).values(used=3))
        found["badly filled"] = damaged(evidence, update(m.fills).values(quote=1))
        found["booked wrong"] = damaged(evidence, update(m.journal_entries).where(TRADE).values(raw=1))
        found["gas unpaid"] = damaged(evidence, update(m.journal_entries).where(GAS).values(raw=1))
        found["order's gas"] = damaged(evidence, update(m.orders).values(gas_wei=1))
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
    assert {Category.UNAPPROVED, Category.BROKEN_PROMISE} <= found["approval lost"]
    assert found["cooled"] == found["not held"] - {Category.LEAKED_RESERVATION} == {Category.BROKEN_PROMISE}
    assert found["counted once more"] == {Category.BUDGETS}
    assert found["badly filled"] == {Category.OUTSIDE_LIMIT, Category.BOOKS}
    assert found["booked wrong"] == found["gas unpaid"] == found["order's gas"] == {Category.BOOKS}
