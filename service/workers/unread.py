"""Ending what a plan is of, when a row of it makes no sense: something else than the service has written it.

Guarantees: nothing of the rows is read but their ids, so that none keeps a lane, a key's revocation or the other plans;
in the caller's unit of work the order, withdrawal or transaction ends, as far as it has not, with what let it be
signed, and the audit log has an entry. Not guaranteed: that its account is told, since whose it is cannot be believed.
"""

from typing import Any, Final

import structlog
from sqlalchemy import Connection, select, update

from chains.tx.model import PlanId
from service.approvals import clearances
from service.audit.acts import SIGNING_REFUSED
from service.audit.appending import append
from service.audit.model import SYSTEM, NewEntry, Outcome, Subject
from service.auth.secrets import MasterKey
from service.db.models import transactions, withdrawals
from service.orders.altered import end_unread as end_order
from service.orders.reasons import ALTERED
from service.transactions.lifecycle import ENDED
from service.transactions.model import UNSETTLED, TransactionState
from service.withdrawals.model import WithdrawalState

_WAITING: Final = (WithdrawalState.AWAITING_APPROVAL, WithdrawalState.PROCESSING)
_log: Final = structlog.get_logger("cambist.integrity")


def end_unread(c: Connection, plan_id: PlanId, *, master: MasterKey, now_ms: int) -> None:
    """End what the plan is of, whatever its row has; what has ended stays so."""
    end_order(c, plan_id, reason=ALTERED, now_ms=now_ms)
    ended: dict[str, Any] = {"reason": ALTERED, "updated_ms": now_ms}
    w, t = withdrawals, transactions
    for withdrawal_id in c.execute(select(w.c.id).where(w.c.plan_id == plan_id)).scalars().all():
        waits = (w.c.id == withdrawal_id) & w.c.state.in_(_WAITING)
        if c.execute(update(w).where(waits).values(state=WithdrawalState.REJECTED, **ended)).rowcount == 1:
            clearances.end(c, withdrawal_id, master=master, now_ms=now_ms)
    waits = (t.c.plan_id == plan_id) & t.c.state.in_(sorted(UNSETTLED))
    c.execute(update(t).where(waits).values(state=TransactionState.REJECTED, asked_mac=ENDED, **ended))


def record_unread(c: Connection, plan_id: PlanId, *, master: MasterKey, now_ms: int) -> None:
    """Keep for the operator that a plan was given up for what its rows are."""
    why = "a row of it makes no sense: something else than the service has written it"
    _log.critical("a plan was given up", plan=plan_id, reason=why)
    entry = NewEntry(
        act=SIGNING_REFUSED,
        actor=SYSTEM,
        outcome=Outcome.REFUSED,
        subject=Subject(kind="plan", id=plan_id),
        details={"why": why, "plan": plan_id},
    )
    append(c, [entry], master=master, now_ms=now_ms)
