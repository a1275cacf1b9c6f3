"""Thresholds and clearances as rows, on both databases."""

import pytest
from sqlalchemy import Connection, select, update

from chains.tx.store import StaleState
from service.approvals import policies
from service.approvals.clearances import clearance_of, decide, taken_alone
from service.approvals.model import COOLING_MS, WINDOW_MS, ClearState, Thresholds, Why
from service.auth.authority import Tampered
from service.db import models as m
from service.db.engine import Database
from tests.service.books_seed import NOW_MS
from tests.service.trading_seed import MASTER, USDC, Seeded, seed_withdrawal_of
from tests.service.workers.test_presign import seed_authority


async def a_withdrawal(db: Database, *, why: Why | None) -> tuple[Seeded, int, int]:
    """One with its clearance; its account, and a user's id."""

    def work(c: Connection) -> tuple[Seeded, int, int]:
        owner, key_id = seed_authority(c)
        seeded = seed_withdrawal_of(c, owner, key_id=key_id, master=MASTER, why=why)
        return seeded, owner.account_id, c.execute(select(m.users.c.id)).scalar_one()

    return await db.run(work)


async def test_thresholds_are_changed_and_read_again(db: Database) -> None:
    _, account_id, user_id = await a_withdrawal(db, why=None)

    def change(c: Connection, wanted: Thresholds, now_ms: int) -> policies.Policy:
        return policies.change(c, account_id, wanted, user_id=user_id, master=MASTER, now_ms=now_ms)

    strict, lax = Thresholds(usd=2**200, assets={USDC.id: 0}), Thresholds(usd=2**201)
    assert (await db.run(lambda c: change(c, strict, NOW_MS))).in_force == strict
    waits = await db.run(lambda c: change(c, lax, NOW_MS + 1))
    assert (waits.in_force, waits.following, waits.from_ms) == (strict, lax, NOW_MS + 1 + COOLING_MS)
    later = waits.from_ms or 0
    assert (await db.read(lambda c: policies.policy_of(c, account_id, master=MASTER, now_ms=later))).in_force == lax


async def test_a_clearance_is_decided_once_and_its_row_cannot_be_edited(db: Database) -> None:
    seeded, _, user_id = await a_withdrawal(db, why=Why.OVER_USD)
    found = await db.read(lambda c: clearance_of(c, seeded.id, master=MASTER))
    assert found is not None

    def approve(c: Connection) -> None:
        decide(
            c,
            found,
            ClearState.APPROVED,
            decider_id=user_id,
            decided_with="session:1",
            master=MASTER,
            now_ms=NOW_MS,
        )

    await db.run(approve)
    with pytest.raises(StaleState):
        await db.run(approve)
    after = await db.read(lambda c: clearance_of(c, seeded.id, master=MASTER))
    assert after is not None
    assert (after.state, after.decider_id) == (ClearState.APPROVED, user_id)
    await db.run(lambda c: c.execute(update(m.clearances).values(usd=1)))
    with pytest.raises(Tampered):
        await db.read(lambda c: clearance_of(c, seeded.id, master=MASTER))


async def test_what_left_alone_counts_for_a_day_and_what_was_approved_does_not(db: Database) -> None:
    _, account_id, _ = await a_withdrawal(db, why=None)
    taken = await db.read(lambda c: taken_alone(c, account_id, now_ms=NOW_MS + WINDOW_MS - 1))
    assert taken.amounts == {USDC.id: 5_000_000}
    assert (await db.read(lambda c: taken_alone(c, account_id, now_ms=NOW_MS + WINDOW_MS))).amounts == {}


async def test_what_waits_for_an_approval_does_not_count_as_gone_alone(db: Database) -> None:
    _, account_id, _ = await a_withdrawal(db, why=Why.OVER_AMOUNT)
    assert (await db.read(lambda c: taken_alone(c, account_id, now_ms=NOW_MS))).amounts == {}
