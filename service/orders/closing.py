"""Ending an open order from outside its lane, in one unit of work: while it rests, or while its plan waits unsigned.

    rests                          CANCELED at once, what it held is free
    has a plan, nothing placed     the plan is rejected in the same unit of work, then the same
    has a nonce taken              order_being_executed: the chain decides, and what it says is told

Guarantees: of a cancel, the keeper and the lane that meet, one wins, since each changes the rows only as it found them;
an order that was closed here has nothing on its way to the chain, and holds nothing. Not guaranteed: that an approval
before its swap, which a node without state overrides has mined first, is taken back.
"""

from typing import Final

from sqlalchemy import Connection

from chains.tx.model import IntentState, PlanId
from chains.tx.reasons import RejectCode
from chains.tx.reasons import reason as reason_of
from chains.tx.store import StaleState
from service.auth.authority import UNREADABLE, Tampered
from service.auth.secrets import MasterKey
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.journal import reservations
from service.orders import storage
from service.orders.altered import UNREAD, close_altered
from service.orders.events import emit_order
from service.orders.model import OPEN_STATES, Order, OrderState

_OPEN: Final = OPEN_STATES


def cancel(c: Connection, order: Order, *, reason: str, now_ms: int) -> Order:
    """The order, CANCELED; one that is so already is left as it is.

    Raises:
        ApiError: order_being_executed; order_not_open: it has ended otherwise.
    """
    if order.state is OrderState.CANCELED:
        return order
    if order.state not in _OPEN:
        raise ApiError("order_not_open", f"order {order.id} is {order.state}")
    try:
        closed = _closed(c, order, reason=reason, now_ms=now_ms)
    except StaleState as exc:
        raise _executing(order) from exc
    emit_order(c, closed, now_ms=now_ms)
    return closed


def cancel_of_key(c: Connection, key_id: str, *, reason: str, master: MasterKey, now_ms: int) -> int:
    """Cancel what rests of a key, and how many that were; what is on its way to the chain is not looked at here.

    No row keeps the others, or what the caller does with the key, from being done: one that makes no sense ends too.
    """
    ids = storage.resting_of_key(c, key_id)
    for order_id in ids:
        cancel_resting(c, order_id, reason=reason, master=master, now_ms=now_ms)
    return len(ids)


def cancel_resting(c: Connection, order_id: int, *, reason: str, master: MasterKey, now_ms: int) -> Order | None:
    """Cancel an order that rests, whatever its row has; None: it makes no sense, and there is an entry of it."""
    try:
        # What was written of it, up to where it made no sense, is taken back.
        with c.begin_nested():
            order = storage.resting_now(c, order_id)
            return None if order is None else cancel(c, order, reason=reason, now_ms=now_ms)
    except (Tampered, *UNREADABLE):
        close_altered(c, order_id, why=UNREAD, master=master, now_ms=now_ms)
        return None


def _closed(c: Connection, order: Order, *, reason: str, now_ms: int) -> Order:
    tried = None if order.plan_id is None else storage.try_by_plan(c, order.plan_id)
    if order.plan_id is not None and (tried is None or tried.order_id != order.id):
        # Somebody gave it a plan that it never had, which is not to be rejected for it.
        closed = storage.move(c, order, expected=_OPEN, now_ms=now_ms, state=OrderState.CANCELED, reason=reason)
        reservations.release_order(c, order.id, now_ms)
        return closed
    if order.plan_id is None:
        closed = storage.close_resting(c, order, state=OrderState.CANCELED, reason=reason, now_ms=now_ms)
        reservations.release_order(c, order.id, now_ms)
        return closed
    _reject_plan(c, order, order.plan_id, reason=reason)
    closed = storage.move(
        c, order, expected=_OPEN, now_ms=now_ms, state=OrderState.CANCELED, reason=reason, plan_id=order.plan_id
    )
    reservations.release(c, order.plan_id, now_ms)
    return closed


def _reject_plan(c: Connection, order: Order, plan_id: PlanId, *, reason: str) -> None:
    store = SqlTxStore()
    plan = store.plan(c, plan_id)
    if plan is None or plan.intents[-1].state is IntentState.PLACED:
        raise _executing(order)
    stored = reason_of(RejectCode.GIVEN_UP, reason)
    if any(intent.state is IntentState.PLACED for intent in plan.intents):
        store.reject_rest(c, plan_id, stored)
    else:
        store.reject_plan(c, plan_id, stored)


def _executing(order: Order) -> ApiError:
    return ApiError(
        "order_being_executed", f"order {order.id} is being executed on the chain and can no longer be cancelled"
    )
