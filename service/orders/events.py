"""The outbox event of a visible change of an order: the whole order, as a client would read it now."""

from typing import Any, Final

from sqlalchemy import Connection

from service.journal import books
from service.orders.model import Order
from service.orders.view import order_document

EVENT: Final = "order"


def emit_order(c: Connection, order: Order, *, now_ms: int, extra: dict[str, Any] | None = None) -> None:
    """Append it, in the unit of work that made the change."""
    payload = order_document(order) | (extra or {})
    books.emit(c, account_id=order.account_id, kind=EVENT, payload=payload, now_ms=now_ms)
