"""Ending what a plan is of, when a row of it makes no sense: something else than the service has written it.

Guarantees: nothing of the rows is read but their ids, so that none keeps a lane, a key's revocation or the other plans;
in the caller's unit of work the order, withdrawal or transaction ends, as far as it has not, with what let it be
signed; what a transaction of it moved is booked for whose wallet it is by the wallet's own MAC.
Not guaranteed: that its account is told of more than its balance, since whose it is cannot be believed.
"""

from typing import Any, Final

import structlog
from sqlalchemy import Connection, Table, select, update

from chains.tx.model import Intent, PlanId
from service.accounts.wallets import wallet_by_address
from service.approvals import clearances
from service.audit.acts import SIGNING_REFUSED
from service.audit.appending import append
from service.audit.model import SYSTEM, NewEntry, Outcome
from service.audit.model import Subject as Named
from service.auth.authority import UNREADABLE, Tampered
from service.auth.secrets import MasterKey
from service.db.models import order_plans, transactions, withdrawals
from service.journal.books import Cause
from service.orders.altered import end_unread as end_order
from service.orders.reasons import ALTERED
from service.plans.booking import Subject
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
        c.execute(update(w).where(waits).values(state=WithdrawalState.REJECTED, **ended))
        clearances.end(c, withdrawal_id, master=master, now_ms=now_ms)
    c.execute(update(t).where(t.c.plan_id == plan_id).values(asked_mac=ENDED))
    waits = (t.c.plan_id == plan_id) & t.c.state.in_(sorted(UNSETTLED))
    c.execute(update(t).where(waits).values(state=TransactionState.REJECTED, **ended))


def subject_of(c: Connection, intent: Intent, *, master: MasterKey) -> Subject | None:
    """Whose books the intent's transaction is for; None: nobody's, its wallet's row is altered as well, or is none."""
    try:
        wallet = wallet_by_address(c, intent.lane.wallet, master=master)
    except (Tampered, *UNREADABLE):
        return None
    if wallet is None:
        return None
    kinds: tuple[tuple[Table, Any, Any, Cause, str], ...] = (
        (order_plans, order_plans.c.order_id, order_plans.c.plan_id, "trade", "order"),
        (withdrawals, withdrawals.c.id, withdrawals.c.plan_id, "withdrawal", "withdrawal"),
        (transactions, transactions.c.id, transactions.c.plan_id, "transaction", "transaction"),
    )
    for table, id_, of_plan, cause, word in kinds:
        found = c.execute(select(id_).select_from(table).where(of_plan == intent.plan_id)).scalars().first()
        if found is not None:
            name = f"{word}:{found}"
            return Subject(id=name, cause=cause, account_id=wallet.account_id, wallet_id=wallet.id)
    return None


def record_unread(c: Connection, plan_id: PlanId, *, master: MasterKey, now_ms: int) -> None:
    """Keep for the operator that a plan was given up for what its rows are."""
    why = "a row of it makes no sense: something else than the service has written it"
    _log.critical("a plan was given up", plan=plan_id, reason=why)
    entry = NewEntry(
        act=SIGNING_REFUSED,
        actor=SYSTEM,
        outcome=Outcome.REFUSED,
        subject=Named(kind="plan", id=plan_id),
        details={"why": why, "plan": plan_id},
    )
    append(c, [entry], master=master, now_ms=now_ms)
