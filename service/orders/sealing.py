"""The MACs of open orders and of their tries, so that nothing is signed for a row that something else has written.

    order   all that was asked for, and how it stands: state, plan, number of tries, triggered, not before when
    try     its order and number, its limits and deadline, and the digest of its plan's calls

Guarantees: of an order with its MAC every column but those marked `NOT_IN_MAC` is as the service wrote it; a MAC is
made anew only for an order that had it (`storage`), and one that has ended has none, so that setting its state back
grants nothing.
Not guaranteed: freshness. Who has an older copy of an open order's row can put it back whole; tries and fills that are
still there tell on it (`altered.why_rolled_back`).
"""

import hmac
from collections.abc import Callable
from dataclasses import fields

from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import order_plans, orders
from service.orders.model import Order, OrderTry

_ORDER = tuple(field.name for field in fields(Order))
_TRY = tuple(field.name for field in fields(OrderTry))


def order_mac(master: MasterKey, order: Order) -> bytes:
    """The MAC that the order should have, as it is."""
    return authority.mac(master, orders, {name: getattr(order, name) for name in _ORDER})


def try_mac(master: MasterKey, tried: OrderTry) -> bytes:
    """The MAC that the try should have, as it is."""
    return authority.mac(master, order_plans, {name: getattr(tried, name) for name in _TRY})


def is_intact(master: MasterKey, order: Order) -> bool:
    """Whether an open order is as the service wrote it."""
    return _is_intact(order.mac, lambda: order_mac(master, order))


def is_try_intact(master: MasterKey, tried: OrderTry) -> bool:
    """Whether a try is as the service wrote it."""
    return _is_intact(tried.mac, lambda: try_mac(master, tried))


def _is_intact(mac: bytes | None, right: Callable[[], bytes]) -> bool:
    try:
        return mac is not None and hmac.compare_digest(mac, right())
    except (TypeError, ValueError):
        # A value of a kind that no column has, or one that has no encoding.
        return False
