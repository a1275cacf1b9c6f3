"""An order's way from NEW to its end, step by step as the transactions of its plans are observed.

    NEW -> FILLED     the swap is confirmed and succeeded; the fill is what its logs show
        -> EXPIRED    the swap reverted, or there was less than an IOC order asked for; its deadline had passed
        -> REJECTED   nothing was sent
        -> CANCELED   the swap's nonce was closed by a self-send
        -> rests      a try of an order that may rest came to nothing: what was held goes back to the order, which is
                      tried again after its back-off, as long as it has tries left and its key stands

Guarantees: gas is added for every transaction of every plan, whatever its outcome; every visible change emits one
`order` event with the whole order. What a plan does that the order does not have any more is booked, and changes its
state only by a fill. After a reorg the state stays what it was: the reversal is in fills and books, and a second
confirmation may still turn EXPIRED into FILLED, since that is then the truth. An order that is not as it was written,
or whose try is not, ends here instead of resting again (`altered`); what its signed swap does is booked all the same.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from chains.tx.model import Intent, Outcome, PlanId, Tx
from chains.types import Receipt
from contracts.effects import swap_fill
from contracts.errors import NoFill
from service.auth.authority import Tampered
from service.auth.secrets import MasterKey
from service.db.models import api_keys
from service.journal import reservations
from service.markets.trades import in_base_and_quote
from service.orders import fills as fill_rows
from service.orders import reasons, sealing, storage
from service.orders.altered import NO_MAC, TRY_ALTERED, WRONG_MAC, record, tell
from service.orders.backoff import MOST_REVERTS, retry_after_ms
from service.orders.model import Order, OrderState, OrderTry, TimeInForce
from service.plans.booking import ChainBooks, Subject
from service.plans.progress import is_last

_ANY: Final = frozenset(OrderState)
_NEW: Final = frozenset({OrderState.NEW})


@dataclass(slots=True, kw_only=True)
class OrderLifecycle:
    """One order during one unit of work; `order` is always as stored."""

    order: Order
    books: ChainBooks
    master: MasterKey
    now_ms: int

    @classmethod
    def of_plan(
        cls, c: Connection, plan_id: PlanId, *, books: ChainBooks, master: MasterKey, now_ms: int
    ) -> "OrderLifecycle | None":
        order = storage.order_by_plan(c, plan_id)
        return None if order is None else cls(order=order, books=books, master=master, now_ms=now_ms)

    def rejected(self, c: Connection, plan_id: PlanId, *, reason: str, expired: bool) -> None:
        if self.order.state is not OrderState.NEW:
            return
        code = reasons.code_of(reason)
        if code in reasons.NOT_SIGNED and (why := self._why_altered(c, plan_id)) is not None:
            self._close_altered(c, plan_id, why=why)
            self._emit(c)
            return
        if self.order.plan_id != plan_id:
            return
        unfilled = reasons.unfilled(self.order.time_in_force) if code in reasons.PRICE_MOVED else None
        if self.order.may_rest and (expired or code in reasons.RETRIED):
            self._rest_or_end(c, plan_id, reason=reason, signed=False)
        elif self.order.may_rest and (ended := self._key_ended(c)) is not None:
            self._move(c, expected=_NEW, state=OrderState.CANCELED, reason=ended)
        else:
            state = OrderState.EXPIRED if expired or unfilled else OrderState.REJECTED
            self._move(c, expected=_NEW, state=state, reason=unfilled or reason)
        self._emit(c)

    def mined(self, c: Connection, intent: Intent, tx: Tx) -> None:
        """Why a swap reverted is judged now, while the clock is still near its block."""
        if self.order.state is not OrderState.NEW or self.order.plan_id != intent.plan_id:
            return
        if not is_last(c, intent.plan_id, position=intent.position):
            return
        reason = self._revert_reason(c, intent.plan_id) if tx.outcome is Outcome.REVERTED else None
        if reason != self.order.reason:
            self._move(c, expected=_NEW, reason=reason)

    def confirmed(self, c: Connection, intent: Intent, tx: Tx, *, receipt: Receipt) -> None:
        self.books.book(c, intent, tx=tx, receipt=receipt, subject=self._subject(), now_ms=self.now_ms)
        self._move(c, expected=_ANY, gas_wei=self.order.gas_wei + receipt.fee_wei)
        if is_last(c, intent.plan_id, position=intent.position):
            self._settle(c, intent, tx, receipt=receipt)
        self._emit(c)

    def final(self, c: Connection, intent: Intent, tx: Tx) -> None:
        """Final is no state of an order: FILLED already meant it."""

    def reorged(self, c: Connection, intent: Intent, tx: Tx) -> None:
        for fill in fill_rows.standing_fills(c, self.order.id):
            if fill.tx_hash == tx.mined_hash:
                fill_rows.insert_fill(
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
        self._move(c, expected=_ANY, reason=reasons.NONCE_TAKEN)
        self._emit(c)

    def _settle(self, c: Connection, intent: Intent, tx: Tx, *, receipt: Receipt) -> None:
        if tx.outcome is Outcome.CANCELLED:
            self._came_to_nothing(c, intent, state=OrderState.CANCELED, reason=reasons.CANCELLED)
            return
        if not receipt.succeeded:
            reason = self.order.reason or self._revert_reason(c, intent.plan_id)
            self._came_to_nothing(c, intent, state=OrderState.EXPIRED, reason=reason)
            return
        try:
            base, quote = self._fill(intent, receipt)
        except NoFill:
            # Succeeded, yet the logs show no trade: what did move is booked, and nothing is called a fill.
            self._move(c, expected=_ANY, state=OrderState.REJECTED, reason=reasons.NOTHING_TRADED)
            return
        fill_rows.insert_fill(
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
        standing = fill_rows.standing_fills(c, self.order.id)
        filled_base, filled_quote = sum(fill.base for fill in standing), sum(fill.quote for fill in standing)
        part = self.order.time_in_force is TimeInForce.IOC and filled_base < (self.order.base_amount or 0)
        self._move(
            c,
            expected=_ANY,
            state=OrderState.EXPIRED if part else OrderState.FILLED,
            reason=reasons.UNFILLED_IOC if part else None,
            filled_base=filled_base,
            filled_quote=filled_quote,
        )
        # Held by the order only if this plan is not the one that it had: the one that it has releases its own.
        reservations.release_order(c, self.order.id, self.now_ms)

    def _came_to_nothing(self, c: Connection, intent: Intent, *, state: OrderState, reason: str) -> None:
        if self.order.plan_id != intent.plan_id:
            return
        if self.order.state is OrderState.NEW and self.order.may_rest:
            self._rest_or_end(c, intent.plan_id, reason=reason, signed=True)
        else:
            self._move(c, expected=_ANY, state=state, reason=reason)

    def _rest_or_end(self, c: Connection, plan_id: PlanId, *, reason: str, signed: bool) -> None:
        """Back to rest, with what the plan held; or the end, when nothing more is to be tried."""
        expires_ms = self.order.expires_ms
        if (why := self._why_altered(c, plan_id)) is not None:
            self._close_altered(c, plan_id, why=why)
        elif (ended := self._key_ended(c)) is not None:
            self._move(c, expected=_NEW, state=OrderState.CANCELED, reason=ended)
        elif expires_ms is not None and expires_ms <= self.now_ms:
            self._move(c, expected=_NEW, state=OrderState.EXPIRED, reason=reasons.TIME_OVER)
        elif signed and storage.count_reverts(c, self.order.id) >= MOST_REVERTS:
            self._move(c, expected=_NEW, state=OrderState.EXPIRED, reason=reasons.TRIES_USED)
        else:
            tried = self._sound_try(c, plan_id) if signed else None
            until_ms = None if tried is None else tried.deadline_s * 1000
            again_ms = retry_after_ms(tries=self.order.tries, now_ms=self.now_ms, signed_until_ms=until_ms)
            self.order = storage.rest_again(
                c,
                self.order,
                plan_id=plan_id,
                retry_after_ms=again_ms,
                reason=reason,
                master=self.master,
                now_ms=self.now_ms,
            )
            reservations.move_to_order(c, plan_id, self.order.id)

    def _why_altered(self, c: Connection, plan_id: PlanId) -> str | None:
        """Why the order, of which the plan is a try, may not go on; None: both are as the service wrote them, or it is
        none of the order's tries as it stands."""
        if not sealing.is_intact(self.master, self.order):
            return NO_MAC if self.order.mac is None else WRONG_MAC
        if self.order.plan_id == plan_id and self._sound_try(c, plan_id) is None:
            return TRY_ALTERED
        return None

    def _close_altered(self, c: Connection, plan_id: PlanId, *, why: str) -> None:
        self._move(c, expected=_NEW, state=OrderState.CANCELED, reason=reasons.ALTERED)
        # Held by the order itself only if somebody gave it a plan that it never had.
        reservations.release_order(c, self.order.id, self.now_ms)
        record(c, self.order.id, why=why, plan_id=plan_id, master=self.master, now_ms=self.now_ms)

    def _key_ended(self, c: Connection) -> str | None:
        """Why nothing more is tried under the order's key; None: it may still trade."""
        query = select(api_keys.c.revoked_ms, api_keys.c.can_trade).where(api_keys.c.id == self.order.key_id)
        key = c.execute(query).one_or_none()
        if key is None or key.revoked_ms is not None:
            return reasons.KEY_REVOKED
        return None if key.can_trade else reasons.PERMISSION_TAKEN

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

    def _revert_reason(self, c: Connection, plan_id: PlanId) -> str:
        tried = self._sound_try(c, plan_id)
        late = tried is not None and self.now_ms > tried.deadline_s * 1000
        return reasons.DEADLINE_PASSED if late else reasons.SWAP_REVERTED

    def _sound_try(self, c: Connection, plan_id: PlanId) -> OrderTry | None:
        """The try that the plan is; None: there is none, or it is not as the service wrote it."""
        try:
            tried = storage.try_by_plan(c, plan_id)
        except Tampered:
            return None
        return tried if tried is not None and sealing.is_try_intact(self.master, tried) else None

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
        # What a signed swap did is booked, also of an order that was altered since so that it cannot be shown.
        tell(c, self.order, now_ms=self.now_ms, extra=extra)
