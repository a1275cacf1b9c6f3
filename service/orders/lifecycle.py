"""An order's way from NEW to its end, step by step as its plan's transactions are observed.

    NEW -> FILLED     the swap is confirmed and succeeded; the fill is what its logs show
        -> REJECTED   nothing was sent, or the swap reverted
        -> EXPIRED    the same, after the order's deadline had passed
        -> CANCELED   the swap's nonce was closed by a self-send

Guarantees: gas is added for every transaction of the plan, whatever its outcome; every visible change emits one
`order` event with the whole order. After a reorg the state stays what it was: the reversal is in fills and books,
and a second confirmation may still turn REJECTED into FILLED, since that is then the truth.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from chains.tx.model import Intent, Outcome, PlanId, Tx
from chains.types import Receipt
from contracts.effects import swap_fill
from contracts.errors import NoFill
from service.journal import books
from service.markets.trades import in_base_and_quote
from service.orders import storage
from service.orders.model import Order, OrderState
from service.orders.view import order_document
from service.plans.booking import ChainBooks, Subject
from service.plans.progress import is_last

EVENT: Final = "order"
SWAP_REVERTED: Final = "swap_reverted"
DEADLINE_PASSED: Final = "deadline_passed"
CANCELLED: Final = "cancelled"
NOTHING_TRADED: Final = "nothing_traded"
NONCE_TAKEN: Final = "nonce_taken"
"""A foreign transaction used the swap's nonce. The order stays NEW: what happened is for a person to find out."""

_ANY: Final = frozenset(OrderState)


@dataclass(slots=True, kw_only=True)
class OrderLifecycle:
    """One order during one unit of work; `order` is always as stored."""

    order: Order
    books: ChainBooks
    now_ms: int

    @classmethod
    def of_plan(cls, c: Connection, plan_id: PlanId, *, books: ChainBooks, now_ms: int) -> "OrderLifecycle | None":
        order = storage.order_by_plan(c, plan_id)
        return None if order is None else cls(order=order, books=books, now_ms=now_ms)

    def rejected(self, c: Connection, *, reason: str, expired: bool) -> None:
        state = OrderState.EXPIRED if expired else OrderState.REJECTED
        self._move(c, expected=frozenset({OrderState.NEW}), state=state, reason=reason)
        self._emit(c)

    def mined(self, c: Connection, intent: Intent, tx: Tx) -> None:
        """Why a swap reverted is judged now, while the clock is still near its block."""
        if not is_last(c, intent.plan_id, position=intent.position) or self.order.state is not OrderState.NEW:
            return
        reason = self._revert_reason() if tx.outcome is Outcome.REVERTED else None
        if reason != self.order.reason:
            self._move(c, expected=frozenset({OrderState.NEW}), reason=reason)

    def confirmed(self, c: Connection, intent: Intent, tx: Tx, *, receipt: Receipt) -> None:
        self.books.book(c, intent, tx=tx, receipt=receipt, subject=self._subject(), now_ms=self.now_ms)
        changes: dict[str, Any] = {"gas_wei": self.order.gas_wei + receipt.fee_wei}
        if is_last(c, intent.plan_id, position=intent.position):
            changes |= self._settle(c, intent, tx, receipt=receipt)
        self._move(c, expected=_ANY, **changes)
        self._emit(c)

    def final(self, c: Connection, intent: Intent, tx: Tx) -> None:
        """Final is no state of an order: FILLED already meant it."""

    def reorged(self, c: Connection, intent: Intent, tx: Tx) -> None:
        for fill in storage.standing_fills(c, self.order.id):
            if fill.tx_hash == tx.mined_hash:
                storage.insert_fill(
                    c,
                    self.order,
                    tx_hash=fill.tx_hash,
                    block=fill.block,
                    base=fill.base,
                    quote=fill.quote,
                    gas_wei=fill.gas_wei,
                    reverses=fill.id,
                    now_ms=self.now_ms,
                )
        gas_wei = self.books.unbook(c, intent, tx=tx, subject=self._subject(), now_ms=self.now_ms)
        self._move(c, expected=_ANY, gas_wei=max(0, self.order.gas_wei - gas_wei))
        self._emit(c, extra={"reversed": True})

    def superseded(self, c: Connection, intent: Intent) -> None:
        self._move(c, expected=_ANY, reason=NONCE_TAKEN)
        self._emit(c)

    def _settle(self, c: Connection, intent: Intent, tx: Tx, *, receipt: Receipt) -> dict[str, Any]:
        if tx.outcome is Outcome.CANCELLED:
            return {"state": OrderState.CANCELED, "reason": CANCELLED}
        if not receipt.succeeded:
            reason = self.order.reason or self._revert_reason()
            state = OrderState.EXPIRED if reason == DEADLINE_PASSED else OrderState.REJECTED
            return {"state": state, "reason": reason}
        try:
            base, quote = self._fill(intent, receipt)
        except NoFill:
            # Succeeded, yet the logs show no trade: what did move is booked, and nothing is called a fill.
            return {"state": OrderState.REJECTED, "reason": NOTHING_TRADED}
        storage.insert_fill(
            c,
            self.order,
            tx_hash=receipt.tx_hash,
            block=receipt.block,
            base=base,
            quote=quote,
            gas_wei=receipt.fee_wei,
            reverses=None,
            now_ms=self.now_ms,
        )
        return {"state": OrderState.FILLED, "reason": None, "filled_base": base, "filled_quote": quote}

    def _fill(self, intent: Intent, receipt: Receipt) -> tuple[int, int]:
        assets = self.books.assets
        fill = swap_fill(
            receipt,
            call=intent.call,
            wallet=intent.lane.wallet,
            sold=assets.by_id(self.order.sold_asset),
            bought=assets.by_id(self.order.bought_asset),
            assets=assets,
            deployments=self.books.deployments,
        )
        return in_base_and_quote(self.order.side, sold_raw=fill.sold_raw, bought_raw=fill.bought_raw)

    def _revert_reason(self) -> str:
        deadline_ms = int(self.order.quote["deadline_s"]) * 1000
        return DEADLINE_PASSED if self.now_ms > deadline_ms else SWAP_REVERTED

    def _subject(self) -> Subject:
        return Subject(
            id=f"order:{self.order.id}",
            cause="trade",
            account_id=self.order.account_id,
            wallet_id=self.order.wallet_id,
        )

    def _move(self, c: Connection, *, expected: frozenset[OrderState], **values: Any) -> None:
        self.order = storage.move(c, self.order, expected=expected, now_ms=self.now_ms, **values)

    def _emit(self, c: Connection, *, extra: dict[str, Any] | None = None) -> None:
        payload = order_document(self.order) | (extra or {})
        books.emit(c, account_id=self.order.account_id, kind=EVENT, payload=payload, now_ms=self.now_ms)
