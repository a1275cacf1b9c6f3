"""What the engine tells, turned into orders, withdrawals, transactions, fills, entries and events.

Guarantees: everything here happens in the unit of work that makes the engine's state change, so that an order, its
fill, the books and the events commit with the transaction they come from, or not at all. What the last look before a
signature refused is in the audit log. A plan that nothing here asked for changes nothing but that, and ends no worker;
nor does a row that makes no sense: what it is of ends, and what moved is booked.
A fill is what the receipt's logs show, at the chain's confirmed depth. FILLED is not taken back: should a deeper reorg
undo a fill, its reversal is appended to the fills and the journal, and the lane is held for a person.
Not guaranteed: that a reservation returns after a reorg (the lane is held, so nothing new is signed).
"""

from collections.abc import Callable, Sequence
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
from service.auth.authority import UNREADABLE, Tampered
from service.auth.secrets import MasterKey
from service.journal import reservations
from service.orders.lifecycle import OrderLifecycle
from service.orders.reasons import NOT_SIGNED
from service.orders.storage import is_try
from service.plans.booking import ChainBooks
from service.plans.progress import others_settled
from service.transactions import lifecycle as transactions
from service.transactions.lifecycle import TransactionLifecycle
from service.withdrawals.lifecycle import WithdrawalLifecycle, show_sent
from service.workers.unread import end_unread, subject_of

HELD_AFTER_REORG: Final = reason_of(
    HoldCode.DEEP_REORG, "a confirmed transaction left the chain; compare the books with the chain, then release"
)
HELD_AFTER_FOREIGN: Final = reason_of(
    HoldCode.FOREIGN_NONCE, "a foreign transaction used a nonce of this wallet; find who signed it, then release"
)
SENSELESS: Final = "a row of what the plan is of makes no sense: something else wrote it"

Lifecycle = OrderLifecycle | WithdrawalLifecycle | TransactionLifecycle

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

        def reject(subject: Lifecycle) -> None:
            if isinstance(subject, OrderLifecycle):
                subject.rejected(uow, plan.id, reason=reason, expired=expired)
            else:
                subject.rejected(uow, reason=reason, expired=expired)

        told = self._told(uow, plan.id, reject)
        if not told:
            end_unread(uow, plan.id, master=self._master, now_ms=now_ms)
        # What makes no sense is an alarm whatever it was rejected for.
        if not told or reason.partition(":")[0] in NOT_SIGNED:
            self._record(uow, plan, reason, now_ms=now_ms)
        # An order that rests again has its hold by now.
        reservations.release(uow, plan.id, now_ms)

    def on_placed(self, uow: Connection, plan: Plan, txs: Sequence[Tx]) -> None:
        """The nonces are taken; clients see nothing of it."""

    def on_sent(self, uow: Connection, sent: Sequence[tuple[Intent, Tx]]) -> None:
        """Of withdrawals and transactions, which show it; to a client an order that was sent is NEW as before."""
        plans = list(dict.fromkeys(intent.plan_id for intent, _ in sent))
        if self._shows_sent(uow, plans):
            return
        # Each for itself: one whose row makes no sense keeps no other from being shown.
        for plan_id in plans:
            if not self._shows_sent(uow, [plan_id]):
                _log.critical(SENSELESS, plan=plan_id)

    def _shows_sent(self, uow: Connection, plans: Sequence[PlanId]) -> bool:
        """Show it. False, and nothing was shown: a row of one of them makes no sense."""
        try:
            with uow.begin_nested():
                self._show_sent(uow, plans)
        except (Tampered, *UNREADABLE):
            return False
        return True

    def _show_sent(self, uow: Connection, plans: Sequence[PlanId]) -> None:
        now_ms = self._clock.now_ms()
        known = show_sent(uow, plans, books=self._books, now_ms=now_ms)
        if left := [plan_id for plan_id in plans if plan_id not in known]:
            known |= transactions.show_sent(uow, left, books=self._books, now_ms=now_ms)
        for plan_id in set(plans) - known:
            if not is_try(uow, plan_id):
                _tell_stray(plan_id)

    def on_mined(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        self._told(uow, intent.plan_id, lambda subject: subject.mined(uow, intent, tx))

    def on_confirmed(self, uow: Connection, intent: Intent, tx: Tx, receipt: Receipt) -> None:
        now_ms = self._clock.now_ms()
        if not self._told(uow, intent.plan_id, lambda subject: subject.confirmed(uow, intent, tx, receipt=receipt)):
            owner = subject_of(uow, intent, master=self._master)
            if owner is not None:
                self._books.book(uow, intent, tx=tx, receipt=receipt, subject=owner, now_ms=now_ms)
            end_unread(uow, intent.plan_id, master=self._master, now_ms=now_ms)
        if others_settled(uow, intent.plan_id, besides=intent.id):
            reservations.release(uow, intent.plan_id, now_ms)

    def on_final(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        if not self._told(uow, intent.plan_id, lambda subject: subject.final(uow, intent, tx)):
            end_unread(uow, intent.plan_id, master=self._master, now_ms=self._clock.now_ms())

    def on_reorged(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        if tx.state is not TxState.CONFIRMED:
            # Nothing was booked or shown yet; the engine sends it again.
            return
        if not self._told(uow, intent.plan_id, lambda subject: subject.reorged(uow, intent, tx)):
            owner = subject_of(uow, intent, master=self._master)
            if owner is not None:
                self._books.unbook(uow, intent, tx=tx, subject=owner, now_ms=self._clock.now_ms())
        self._store.hold_lane(uow, intent.lane, HELD_AFTER_REORG)

    def on_superseded(self, uow: Connection, intent: Intent, tx: Tx) -> None:
        if not self._told(uow, intent.plan_id, lambda subject: subject.superseded(uow, intent)):
            end_unread(uow, intent.plan_id, master=self._master, now_ms=self._clock.now_ms())
        self._store.hold_lane(uow, intent.lane, HELD_AFTER_FOREIGN)

    def _told(self, c: Connection, plan_id: PlanId, tell: Callable[[Lifecycle], None]) -> bool:
        """`tell` what the plan is of. False, and nothing was written: a row of it makes no sense."""
        try:
            with c.begin_nested():
                subject = self._subject(c, plan_id, self._clock.now_ms())
                if subject is not None:
                    tell(subject)
        except (Tampered, *UNREADABLE):
            _log.critical(SENSELESS, plan=plan_id, exc_info=True)
            return False
        return True

    def _subject(self, c: Connection, plan_id: PlanId, now_ms: int) -> Lifecycle | None:
        """What the plan is of; None: of nothing, since plans and what they are of are stored in one unit of work by the
        service, and by something else as it likes."""
        order = OrderLifecycle.of_plan(c, plan_id, books=self._books, master=self._master, now_ms=now_ms)
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
