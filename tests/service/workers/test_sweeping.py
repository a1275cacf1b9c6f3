"""Withdrawals and transactions that ended in older versions are not brought back by setting their state back (F79)."""

import asyncio

import pytest
from sqlalchemy import Connection, select, update

from chains.tx.model import Tx, TxState
from service.db import models as m
from service.db.engine import Database
from service.transactions.lifecycle import ENDED
from service.transactions.model import TransactionKind, TransactionState
from service.withdrawals.model import WithdrawalState
from service.workers import sweeping
from service.workers.sweeping import end_what_has_ended
from tests.clock import FakeClock
from tests.service.books_seed import NOW_MS, seed_owner
from tests.service.orders.tampering import write
from tests.service.trading_seed import MASTER, STORE, observer, reserve, seed_key, seed_withdrawal_of
from tests.service.transactions import test_presigning as transactions
from tests.service.workers.test_presign import presign, refused, seeded

OVER = [WithdrawalState.REJECTED, WithdrawalState.CANCELLED, WithdrawalState.FAILED, WithdrawalState.UNKNOWN]


async def sweep(db: Database) -> None:
    await end_what_has_ended(db, asyncio.Event(), master=MASTER, clock=FakeClock(NOW_MS))


async def put_back(db: Database) -> None:
    def edit(c: Connection) -> None:
        c.execute(update(m.withdrawals).values(state="processing", reason=None))
        c.execute(update(m.transactions).values(state="processing", reason=None))

    await db.run(edit)


@pytest.mark.parametrize("state", [WithdrawalState.FINAL, *OVER])
async def test_a_withdrawal_that_ended_in_an_older_version_is_not_signed_again(
    db: Database, state: WithdrawalState
) -> None:
    withdrawal = await seeded(db, seed_withdrawal_of)
    await db.run(lambda c: c.execute(update(m.withdrawals).values(state=state)))
    await sweep(db)
    await sweep(db)
    await put_back(db)
    await refused(db, withdrawal.plan.intents[0], "has ended")


@pytest.mark.parametrize("state", [TransactionState.FINAL, TransactionState.REJECTED, TransactionState.UNKNOWN])
async def test_a_transaction_that_ended_in_an_older_version_is_not_signed_again(
    db: Database, state: TransactionState
) -> None:
    found = await transactions.seeded(db, TransactionKind.WRAP)
    await db.run(lambda c: c.execute(update(m.transactions).values(state=state)))
    await sweep(db)
    await put_back(db)
    await transactions.refused(db, found.plan.intents[-1], "integrity check")


async def test_what_is_on_its_way_or_may_come_back_by_a_reorg_keeps_what_lets_it_be_signed(db: Database) -> None:
    withdrawal = await seeded(db, seed_withdrawal_of)
    await sweep(db)
    await presign(db).check(withdrawal.plan.intents[0])

    def self_send_mined(c: Connection) -> None:
        reserve(c, withdrawal.plan)
        c.execute(update(m.txs).values(state=TxState.BROADCAST))
        c.execute(update(m.withdrawals).values(state=WithdrawalState.CANCELLED))

    await db.run(self_send_mined)
    await sweep(db)
    assert await db.read(lambda c: c.execute(select(m.clearances.c.ended_ms)).scalar_one()) is None


async def test_a_bad_row_keeps_no_other_from_being_ended(
    sqlite_db: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, of one row each here."""
    monkeypatch.setattr(sweeping, "BATCH", 1)

    def seed(c: Connection) -> None:
        for number in (0xA1, 0xA2):
            owner = seed_owner(c, number)
            seed_withdrawal_of(c, owner, key_id=seed_key(c, owner, f"key-{number}"), master=MASTER)
        c.execute(update(m.withdrawals).values(state=WithdrawalState.REJECTED))

    await sqlite_db.run(seed)
    write(sqlite_url, "UPDATE clearances SET usd = 'x' WHERE withdrawal_id = 1")
    await sweep(sqlite_db)
    t = m.clearances.c
    ended = await sqlite_db.read(lambda c: c.execute(select(t.ended_ms).order_by(t.withdrawal_id)).scalars().all())
    assert ended == [None, NOW_MS]


async def test_what_a_foreign_transaction_took_the_nonce_of_is_not_signed_again(db: Database) -> None:
    withdrawal = await seeded(db, seed_withdrawal_of)

    def work(c: Connection) -> None:
        tx: Tx
        (tx,) = reserve(c, withdrawal.plan)
        observer().on_superseded(c, withdrawal.plan.intents[0], tx)

    await db.run(work)
    await put_back(db)
    plan = await db.read(lambda c: STORE.plan(c, withdrawal.plan.id))
    assert plan is not None
    await refused(db, plan.intents[0], "has ended")


async def test_a_call_whose_nonce_a_foreign_transaction_took_is_not_signed_again(db: Database) -> None:
    found = await transactions.seeded(db, TransactionKind.WRAP)

    def work(c: Connection) -> None:
        (tx,) = reserve(c, found.plan)
        observer().on_superseded(c, found.plan.intents[0], tx)

    await db.run(work)
    assert await db.read(lambda c: c.execute(select(m.transactions.c.asked_mac)).scalar_one()) == ENDED
