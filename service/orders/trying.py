"""Sending an order to its lane, in one unit of work: its plan, what the plan holds, and the try with its limits.

Guarantees: the order is one that rests (or was stored a moment before in the same unit of work); its hold becomes the
plan's, raised where the plan takes more; the calldata is the try's, which the check before signing compares again; a
plan has its order's id and the number of the try for its name, so that a try is made once.
A lost race (cancelled, expired, triggered by another process) raises, and nothing of it stays.
Not here: whether it should be sent; pauses, holds of the lane, and the key are the caller's to ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from chains.tx.model import Lane
from chains.types import CallRequest
from contracts.assets import AssetId, AssetList
from service.auth.secrets import MasterKey
from service.db.txstore import SqlTxStore
from service.ids import order_plan_id
from service.journal import reservations
from service.orders import storage
from service.orders.approvals import approvals
from service.orders.model import Order, OrderTry
from service.orders.pricing import Ready
from service.plans.binding import calls_hash
from service.plans.building import queued_plan
from service.plans.funds import needs
from service.transactions.storage import is_revoking

PLAN_MARGIN_MS: Final = 15_000
"""A plan that was not placed this long before its on-chain deadline is not placed any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The transactions of a trade, the swap last."""

    calls: Sequence[CallRequest]

    @property
    def approvals(self) -> int:
        return len(self.calls) - 1


def calls_of(c: Connection, ready: Ready, *, wallet_id: int, own_order: int | None = None) -> Calls:
    """Approvals as they are needed now, and the swap. `own_order` is the one to be sent, which is no other one."""
    sold = ready.priced.trade.sold.id
    others_open = storage.sells_already(c, wallet_id, asset_id=sold, besides=own_order) or is_revoking(
        c, wallet_id, asset_id=sold
    )
    before = approvals(ready.swap, allowance=ready.allowance, others_open=others_open)
    return Calls(calls=(*before, ready.swap.call))


def amounts_of(ready: Ready, assets: AssetList, *, approvals: int) -> dict[AssetId, int]:
    """What the plan takes at most: what is sold, and the gas."""
    spend = ready.swap.spend
    return needs((spend.asset.id, spend.raw), (assets.native.id, ready.gas_wei(approvals=approvals)))


def queue_try(
    c: Connection,
    order: Order,
    ready: Ready,
    *,
    lane: Lane,
    assets: AssetList,
    quote: Mapping[str, Any],
    master: MasterKey,
    now_ms: int,
) -> Order:
    """Queue a plan for an order that rests. `quote` is the snapshot of what it is priced on.

    Raises:
        StaleState: it does not rest any more, or holds nothing.
        NotEnoughFree: the wallet does not have what the plan takes.
        Tampered: it is not as it was accepted.
        DuplicateId: it had a try of that number already.
    """
    number = order.tries + 1
    plan_id = order_plan_id(order.id, number)
    found = calls_of(c, ready, wallet_id=order.wallet_id, own_order=order.id)
    valid_until_ms = ready.deadline_s * 1000 - PLAN_MARGIN_MS
    plan = queued_plan(plan_id, lane, calls=found.calls, created_ms=now_ms, valid_until_ms=valid_until_ms)
    SqlTxStore().add_plan(c, plan)
    limits = ready.priced.limits
    tried = OrderTry(
        plan_id=plan_id,
        order_id=order.id,
        max_sold=limits.max_sold,
        min_bought=limits.min_bought,
        deadline_s=ready.deadline_s,
        created_ms=now_ms,
        number=number,
        calls_hash=calls_hash(plan_id, plan.intents),
    )
    moved = storage.start_try(c, order, tried, quote=quote, master=master, now_ms=now_ms)
    reservations.move_to_plan(
        c,
        order.id,
        plan_id,
        amounts=amounts_of(ready, assets, approvals=found.approvals),
        available=ready.balances,
        available_at=ready.priced.header.number,
        now_ms=now_ms,
    )
    return moved
