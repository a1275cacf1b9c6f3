"""What the engine tells, turned into orders, withdrawals, transactions, fills, entries and events.

Guarantees: everything here happens in the unit of work that makes the engine's state change, so that an order, its
fill, the books and the events commit with the transaction they come from, or not at all. A fill is what the
receipt's logs show, at the chain's confirmed depth. FILLED is not taken back: should a deeper reorg undo a fill, its
reversal is appended to the fills and the journal, and the lane is held for a person.
Not guaranteed: that a reservation returns after a reorg (the lane is held, so nothing new is signed).
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.tx.model import Intent, Plan, Tx, TxState
from chains.tx.reasons import HoldCode, RejectCode
from chains.tx.reasons import reason as reason_of
from chains.tx.store import Clock, TxStore
from chains.types import Receipt
from contracts.assets import AssetList
from contracts.deployments import Deployments
from service.journal import reservations
from service.orders.lifecycle import OrderLifecycle
from service.orders.storage import order_by_plan
from service.plans.booking import ChainBooks
from service.plans.progress import others_settled
from service.transactions import lifecycle as transactions
from service.transactions.lifecycle import TransactionLifecycle
from service.withdrawals.lifecycle import WithdrawalLifecycle, show_sent

HELD_AFTER_REORG: Final = reason_of(
    HoldCode.DEEP_REORG, "a confirmed transaction left the chain; compare the books with the chain, then release"
)
HELD_AFTER_FOREIGN: Final = reason_of(
    HoldCode.FOREIGN_NONCE, "a foreign transaction used a nonce of this wallet; find who signed it, then release"
)


class PlanWithoutSubject(LookupError):
    """A plan that no order, withdrawal or transaction points to: a bug, since both are stored in one unit of work."""


class ChainObserver:
    """`TxObserver[Connection]` of one chain."""

    def __init__(
        self,
        config: ChainConfig,
        assets: AssetList,
        *,
        deployments: Deployments,
        store: TxStore[Connection],
        clock: Clock,
    ) -> None:
        self._books = ChainBooks(config=config, assets=assets, deployments=deployments)
        self._store = store
        self._clock = clock

    def on_rejected(self, uow: Connection, plan: Plan, reason: str) -> None:
        now_ms = self._clock.now_ms()
        late = plan.valid_until_ms is not None and now_ms >= plan.valid_until_ms
        expired = late or reason.partition(":")[0] == RejectCode.EXPIRED
        subject = self._subject(uow, plan.intents[0], now_ms)
        if isinstance(subject, OrderLifecycle):
            subject.rejected(uow, plan.id, reason=reason, expired=expired)
        else:
            subject.rejected(uow, reason=reason, expired=expired)
        # An order that rests again has its hold by now.
        reservations.release(uow, plan.id, now_ms)

    def on_placed(self, uow: Connection, plan: Plan, txs: Sequence[Tx]) -> None:
        """The nonces are taken; clients see nothing of it."""

    def on_sent(self, uow: Connection, sent: Sequence[tuple[Intent, Tx]]) -> None:
        """Of withdrawals and transactions, which show it; to a client an order that was sent is NEW as before."""
        plans, now_ms = [intent.plan_id for intent, _ in sent], self._clock.now_ms()
        known = show_sent(uow, plans, books=self._books, now_ms=now_ms)
        if left := [plan_id for plan_id in dict.fromkeys(plans) if plan_id not in known]:
            known |= transactions.show_sent(uow, left, books=self._books, now_ms=now_ms)
        for plan_id in set(plans) - known:
            if order_by_plan(uow, plan_id) is None:
                raise PlanWithoutSubject(plan_id)

    def on_mined(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        self._subject(uow, intent, self._clock.now_ms()).mined(uow, intent, tx)

    def on_confirmed(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        now_ms = self._clock.now_ms()
        self._subject(uow, intent, now_ms).confirmed(uow, intent, tx, receipt=receipt)
        if others_settled(uow, intent.plan_id, besides=intent.id):
            reservations.release(uow, intent.plan_id, now_ms)

    def on_final(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        self._subject(uow, intent, self._clock.now_ms()).final(uow, intent, tx)

    def on_reorged(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        if tx.state is not TxState.CONFIRMED:
            # Nothing was booked or shown yet; the engine sends it again.
            return
        self._subject(uow, intent, self._clock.now_ms()).reorged(uow, intent, tx)
        self._store.hold_lane(uow, intent.lane, HELD_AFTER_REORG)

    def on_superseded(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        self._subject(uow, intent, self._clock.now_ms()).superseded(uow, intent)
        self._store.hold_lane(uow, intent.lane, HELD_AFTER_FOREIGN)

    def _subject(
        self, c: Connection, intent: Intent, now_ms: int
    ) -> OrderLifecycle | WithdrawalLifecycle | TransactionLifecycle:
        found = OrderLifecycle.of_plan(c, intent.plan_id, books=self._books, now_ms=now_ms)
        if found is not None:
            return found
        withdrawal = WithdrawalLifecycle.of_plan(c, intent.plan_id, books=self._books, now_ms=now_ms)
        if withdrawal is not None:
            return withdrawal
        transaction = TransactionLifecycle.of_plan(c, intent.plan_id, books=self._books, now_ms=now_ms)
        if transaction is None:
            raise PlanWithoutSubject(intent.plan_id)
        return transaction
