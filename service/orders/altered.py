"""Ending orders whose rows are not as the service wrote them, and what is kept of that for the operator.

Guarantees: in the caller's unit of work: an order that rests is closed (CANCELED, `altered`) and what it held is free,
with an entry in the installation's audit chain, since whose it is cannot be believed; one that cannot even be read is
closed as well. What a plan of it holds stays with the plan, until its transactions have ended. Not guaranteed: that it
is found at once: it is looked at when it is new to its keeper, before it is acted on, and before a signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import Connection, func, select, update

from chains.tx.model import PlanId
from chains.tx.store import StaleState
from service.accounts.wallets import get_wallet
from service.audit.acts import ORDER_ALTERED, ORDER_CANCELLED
from service.audit.appending import append
from service.audit.model import SYSTEM, NewEntry, Outcome, Subject
from service.auth.authority import UNREADABLE, Tampered
from service.auth.secrets import MasterKey
from service.db.models import audit_entries, fills, order_plans, orders
from service.journal import books, reservations
from service.orders import sealing, storage
from service.orders.events import EVENT
from service.orders.model import Order, OrderState
from service.orders.reasons import ALTERED
from service.orders.view import order_document

NO_MAC: Final = "it has no MAC: it was not accepted here, or before orders had one"
WRONG_MAC: Final = "it is not as the service wrote it"
TRY_ALTERED: Final = "its try is not as the service wrote it"
UNREAD: Final = "its row makes no sense"

CLOCKS_DIFFER_MS: Final = 60_000
"""Of several processes, at most: with more they would not agree on signed requests either."""

_log: Final = structlog.get_logger("cambist.integrity")


def why_altered(c: Connection, order: Order, *, master: MasterKey) -> str | None:
    """Why nothing may be done for an open order that rests; None: it is as the service wrote it."""
    if order.mac is None:
        return NO_MAC
    if not sealing.is_intact(master, order):
        return WRONG_MAC
    return why_rolled_back(c, order)


def why_rolled_back(c: Connection, order: Order) -> str | None:
    """What tells that an order that rests is an older version of itself; None: nothing does."""
    t = order_plans
    made = c.execute(select(func.count(), func.max(t.c.number)).where(t.c.order_id == order.id)).one()
    if tuple(made) != (order.tries, order.tries or None):
        return f"it counts {order.tries} tries, and there are {made[0]}"
    if c.execute(select(fills.c.id).where(fills.c.order_id == order.id).limit(1)).first() is not None:
        return "it has been filled"
    return "the audit log says that it was cancelled" if _was_cancelled(c, order) else None


def _was_cancelled(c: Connection, order: Order) -> bool:
    """Whether the log of the order's account has an entry of its cancellation: it is written in the same step."""
    t = audit_entries
    query = select(t.c.details).where(
        t.c.chain == order.account_id,
        t.c.act == ORDER_CANCELLED,
        t.c.time_ms >= order.created_ms - CLOCKS_DIFFER_MS,
        t.c.details.contains(str(order.id)),
    )
    return any(order.id in _named(details) for details in c.execute(query).scalars())


def _named(details: str) -> Sequence[Any]:
    try:
        found = orjson.loads(details).get("orders")
    except UNREADABLE:
        return ()
    return found if isinstance(found, list) else ()


def end_unread(c: Connection, plan_id: PlanId, *, reason: str, now_ms: int) -> None:
    """End the order of which the plan is a try, whatever its row has."""
    of_plan = select(order_plans.c.order_id).where(order_plans.c.plan_id == plan_id).scalar_subquery()
    values = {"state": OrderState.CANCELED, "reason": reason, "mac": None, "updated_ms": now_ms}
    c.execute(update(orders).where(orders.c.id == of_plan, orders.c.state == OrderState.NEW).values(values))


def sound(c: Connection, order_id: int, *, master: MasterKey) -> Order:
    """The order as it rests now.

    Raises: StaleState: it does not rest any more. Tampered: it is not as the service wrote it.
    """
    order = storage.resting_now(c, order_id)
    if order is None:
        raise StaleState(f"order {order_id} does not rest any more")
    if not sealing.is_intact(master, order):
        raise Tampered(orders)
    return order


def close_altered(c: Connection, order_id: int, *, why: str | None = None, master: MasterKey, now_ms: int) -> bool:
    """End an order that rests and is not as it was written. False: it does not rest any more, or nothing is wrong.

    `why` where the caller knows more than the order's own rows say.
    """
    try:
        order = storage.resting_now(c, order_id)
        found = why if order is None else why_altered(c, order, master=master) or why
    except Tampered:
        order, found = None, UNREAD
    if found is None or not _close_unread(c, order_id, reason=ALTERED, now_ms=now_ms):
        return False
    reservations.release_order(c, order_id, now_ms)
    record(c, order_id, why=found, plan_id=None, master=master, now_ms=now_ms)
    if order is not None and _is_its_accounts(c, order, master=master):
        closed = replace(order, state=OrderState.CANCELED, reason=ALTERED, updated_ms=now_ms, mac=None)
        tell(c, closed, now_ms=now_ms)
    return True


def _close_unread(c: Connection, order_id: int, *, reason: str, now_ms: int) -> bool:
    """End an order that rests, whatever its row has; False: it does not rest any more."""
    rests = (orders.c.state == OrderState.NEW) & orders.c.plan_id.is_(None)
    values = {"state": OrderState.CANCELED, "reason": reason, "mac": None, "updated_ms": now_ms}
    return c.execute(update(orders).where(orders.c.id == order_id, rests).values(values)).rowcount == 1


def tell(c: Connection, order: Order, *, now_ms: int, extra: Mapping[str, Any] | None = None) -> None:
    """`emit_order` of one that may have been altered so that it cannot be shown: then only the operator is told."""
    try:
        document = order_document(order)
    except UNREADABLE:
        _log.error("nobody was told of a change of an order: it cannot be shown", order=order.id)
        return
    books.emit(c, account_id=order.account_id, kind=EVENT, payload=document | dict(extra or {}), now_ms=now_ms)


def record(c: Connection, order_id: int, *, why: str, plan_id: str | None, master: MasterKey, now_ms: int) -> None:
    """Keep for the operator that an order was closed for what its rows are."""
    _log.critical("an order was changed in the database, or written there", order=order_id, plan=plan_id, reason=why)
    entry = NewEntry(
        act=ORDER_ALTERED,
        actor=SYSTEM,
        outcome=Outcome.REFUSED,
        subject=Subject(kind="order", id=str(order_id)),
        details={"why": why, "plan": plan_id},
    )
    append(c, [entry], master=master, now_ms=now_ms)


def _is_its_accounts(c: Connection, order: Order, *, master: MasterKey) -> bool:
    """Whether who is told of it is who has its wallet, by the wallet's own MAC."""
    try:
        wallet = get_wallet(c, order.wallet_id, master=master)
    except Tampered:
        return False
    return wallet is not None and wallet.account_id == order.account_id
