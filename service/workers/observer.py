"""What the engine tells, turned into orders, withdrawals, transactions, fills, entries and events.

Guarantees: everything here happens in the unit of work that makes the engine's state change, so that an order, its
fill, the books and the events commit with the transaction they come from, or not at all. What the last look before a
signature refused is in the audit log. A plan that nothing here asked for changes nothing but that, and ends no worker.
A fill is what the receipt's logs show, at the chain's confirmed depth. FILLED is not taken back: should a deeper reorg
undo a fill, its reversal is appended to the fills and the journal, and the lane is held for a person.
Not guaranteed: that a reservation returns after a reorg (the lane is held, so nothing new is signed).
"""

from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.tx.model import Intent, Plan, PlanId, Tx, TxState
from chains.tx.reasons import HoldCode, RejectCode
from chains.tx.reasons import reason as reason_of
from chains.tx.store import Clock, TxStore
from chains.types import Receipt
from contracts.assets import AssetList
from contracts.deployments import Deployments
from service.audit.acts import SIGNING_REFUSED
from service.audit.appending import append
from service.audit.model import SYSTEM, NewEntry, Outcome, Subject
from service.auth.authority import Tampered
from service.auth.secrets import MasterKey
from service.journal import reservations
from service.orders.altered import end_unread
from service.orders.lifecycle import OrderLifecycle
from service.orders.reasons import ALTERED, NOT_SIGNED
from service.orders.storage import is_try
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


_log: Final = structlog.get_logger("cambist.integrity")


class ChainObserver:
    """`TxObserver[Connection]` of one chain."""

    def __init__(
        self,
        config: ChainConfig,
        assets: AssetList,
        *,
        deployments: Deployments,
        store: TxStore[Connection],
        master: MasterKey,
        clock: Clock,
    ) -> None:
        self._master = master
        self._books = ChainBooks(config=config, assets=assets, deployments=deployments)
        self._store = store
        self._clock = clock

    def on_rejected(self, uow: Connection, plan: Plan, reason: str) -> None:
        now_ms = self._clock.now_ms()
        late = plan.valid_until_ms is not None and now_ms >= plan.valid_until_ms
        expired = late or reason.partition(":")[0] == RejectCode.EXPIRED
        if reason.partition(":")[0] in NOT_SIGNED:
            self._record(uow, plan, reason, now_ms=now_ms)
        subject = self._subject(uow, plan.id, now_ms)
        if subject is None:
            # Of an order that makes no sense, as far as there is one: it ends, and the lane goes on.
            end_unread(uow, plan.id, reason=ALTERED, now_ms=now_ms)
        if isinstance(subject, OrderLifecycle):
            subject.rejected(uow, plan.id, reason=reason, expired=expired)
        elif subject is not None:
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
            if not is_try(uow, plan_id):
                _tell_stray(plan_id)

    def on_mined(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        subject = self._subject(uow, intent.plan_id, self._clock.now_ms())
        if subject is not None:
            subject.mined(uow, intent, tx)

    def on_confirmed(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        now_ms = self._clock.now_ms()
        subject = self._subject(uow, intent.plan_id, now_ms)
        if subject is not None:
            subject.confirmed(uow, intent, tx, receipt=receipt)
        if others_settled(uow, intent.plan_id, besides=intent.id):
            reservations.release(uow, intent.plan_id, now_ms)

    def on_final(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        subject = self._subject(uow, intent.plan_id, self._clock.now_ms())
        if subject is not None:
            subject.final(uow, intent, tx)

    def on_reorged(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        if tx.state is not TxState.CONFIRMED:
            # Nothing was booked or shown yet; the engine sends it again.
            return
        subject = self._subject(uow, intent.plan_id, self._clock.now_ms())
        if subject is not None:
            subject.reorged(uow, intent, tx)
        self._store.hold_lane(uow, intent.lane, HELD_AFTER_REORG)

    def on_superseded(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        subject = self._subject(uow, intent.plan_id, self._clock.now_ms())
        if subject is not None:
            subject.superseded(uow, intent)
        self._store.hold_lane(uow, intent.lane, HELD_AFTER_FOREIGN)

    def _subject(
        self, c: Connection, plan_id: PlanId, now_ms: int
    ) -> OrderLifecycle | WithdrawalLifecycle | TransactionLifecycle | None:
        """What the plan is of; None: of nothing, or of an order whose row makes no sense. The service stores plans and
        what they are of in one unit of work; something else wrote these."""
        try:
            order = OrderLifecycle.of_plan(c, plan_id, books=self._books, master=self._master, now_ms=now_ms)
        except Tampered:
            _log.critical("an order's row makes no sense: something else wrote it", plan=plan_id)
            return None
        if order is not None:
            return order
        withdrawal = WithdrawalLifecycle.of_plan(c, plan_id, books=self._books, master=self._master, now_ms=now_ms)
        if withdrawal is not None:
            return withdrawal
        transaction = TransactionLifecycle.of_plan(c, plan_id, books=self._books, now_ms=now_ms)
        if transaction is None:
            _tell_stray(plan_id)
        return transaction

    def _record(self, c: Connection, plan: Plan, reason: str, *, now_ms: int) -> None:
        entry = NewEntry(
            act=SIGNING_REFUSED,
            actor=SYSTEM,
            outcome=Outcome.REFUSED,
            subject=Subject(kind="plan", id=plan.id),
            details={
                "why": reason,
                "plan": plan.id,
                "chain": self._books.config.key,
                "wallet": plan.lane.wallet,
            },
        )
        append(c, [entry], master=self._master, now_ms=now_ms)
        _log.error("signing was refused", plan=plan.id, wallet=plan.lane.wallet, reason=reason)


def _tell_stray(plan_id: PlanId) -> None:
    # Nothing of it was signed but what closes its nonce, whose gas shows as unexplained in the reconciliation.
    _log.critical("a plan belongs to no order, withdrawal or transaction: something else wrote it", plan=plan_id)
