"""What ended before its clearance or MAC ended with it is made so once the service starts: by older versions of it.

Guarantees: before anything is signed by this process, in units of work of a bounded size; what is ended already is left
alone, so that starting again costs one look. What may still come back by a reorg keeps its own, until it is final.
Not guaranteed: that a row whose MAC is wrong is changed; it lets nothing be signed as it is.
"""

import asyncio
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Select, exists, select, update
from sqlalchemy.sql.elements import ColumnElement

from chains.tx.model import CLOSED_TX_STATES
from chains.tx.store import Clock
from service.approvals import clearances
from service.auth.secrets import MasterKey
from service.db import models as m
from service.db.engine import Database
from service.transactions.lifecycle import ENDED
from service.transactions.model import TransactionState
from service.withdrawals.model import WithdrawalState

BATCH: Final = 500
"""Rows of a unit of work: others wait for no more."""

_WITHDRAWALS: Final = sorted(
    {
        WithdrawalState.FINAL,
        WithdrawalState.REJECTED,
        WithdrawalState.CANCELLED,
        WithdrawalState.FAILED,
        WithdrawalState.UNKNOWN,
    }
)
_TRANSACTIONS: Final = sorted(
    {
        TransactionState.FINAL,
        TransactionState.REJECTED,
        TransactionState.CANCELLED,
        TransactionState.FAILED,
        TransactionState.UNKNOWN,
    }
)


async def end_what_has_ended(db: Database, stop: asyncio.Event, *, master: MasterKey, clock: Clock) -> None:
    """End the clearances of all ended withdrawals, and the MACs of all ended transactions."""
    after_id = 0
    while not stop.is_set():
        end = partial(_end_withdrawals, after_id=after_id, master=master, now_ms=clock.now_ms())
        if not (ended := await db.run(end)):
            break
        after_id = ended[-1]
    some_left = True
    while some_left and not stop.is_set():
        some_left = await db.run(_end_transactions)


def _end_withdrawals(c: Connection, *, after_id: int, master: MasterKey, now_ms: int) -> list[int]:
    found = _withdrawals(c, after_id=after_id)
    for withdrawal_id in found:
        clearances.end(c, withdrawal_id, master=master, now_ms=now_ms)
    return found


def _withdrawals(c: Connection, *, after_id: int) -> list[int]:
    w, t = m.withdrawals, m.clearances
    query = (
        select(w.c.id)
        .join(t, t.c.withdrawal_id == w.c.id)
        .where(t.c.ended_ms.is_(None), w.c.state.in_(_WITHDRAWALS), w.c.id > after_id, ~_may_come_back(w.c.plan_id))
    )
    return list(c.execute(query.order_by(w.c.id).limit(BATCH)).scalars())


def _end_transactions(c: Connection) -> bool:
    t = m.transactions
    query: Select[Any] = select(t.c.id).where(
        t.c.asked_mac != ENDED, t.c.state.in_(_TRANSACTIONS), ~_may_come_back(t.c.plan_id)
    )
    ids = c.execute(query.order_by(t.c.id).limit(BATCH)).scalars().all()
    return bool(ids) and c.execute(update(t).where(t.c.id.in_(ids)).values(asked_mac=ENDED)).rowcount > 0


def _may_come_back(plan_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a transaction of the plan is on its way, or not final."""
    of_plan = m.txs.join(m.intents, m.intents.c.id == m.txs.c.intent_id)
    return exists().select_from(of_plan).where(m.intents.c.plan_id == plan_id, m.txs.c.state.not_in(CLOSED_TX_STATES))
