"""A withdrawal's way through its states, step by step as its transaction is observed (the diagram is in `model`).

Guarantees: gas is booked whatever the outcome; every visible change emits one `withdrawal` event with the whole
withdrawal; CONFIRMED means that the receipt shows the amount leaving the wallet, not only that it succeeded; its
clearance ends with it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from chains.tx.model import Intent, Outcome, PlanId, Tx
from chains.types import Receipt
from service.approvals import clearances
from service.auth.secrets import MasterKey
from service.journal import books
from service.journal.books import emit_all
from service.plans.booking import ChainBooks, Subject
from service.withdrawals import storage
from service.withdrawals.model import Withdrawal, WithdrawalState
from service.withdrawals.view import withdrawal_document

EVENT: Final = "withdrawal"
TRANSFER_REVERTED: Final = "transfer_reverted"
NOTHING_MOVED: Final = "nothing_moved"
"""The transaction succeeded but the token moved nothing: some tokens answer false instead of reverting."""
OTHER_AMOUNT_MOVED: Final = "other_amount_moved"
CANCELLED: Final = "cancelled"
REORGED: Final = "reorged"
NONCE_TAKEN: Final = "nonce_taken"

_ANY: Final = frozenset(WithdrawalState)
_UNSETTLED: Final = frozenset({WithdrawalState.PROCESSING, WithdrawalState.SENT})
_WAITING: Final = frozenset({WithdrawalState.AWAITING_APPROVAL, WithdrawalState.PROCESSING})


@dataclass(slots=True, kw_only=True)
class WithdrawalLifecycle:
    """One withdrawal during one unit of work; `withdrawal` is always as stored."""

    withdrawal: Withdrawal
    books: ChainBooks
    master: MasterKey
    now_ms: int

    @classmethod
    def of_plan(
        cls, c: Connection, plan_id: PlanId, *, books: ChainBooks, master: MasterKey, now_ms: int
    ) -> "WithdrawalLifecycle | None":
        withdrawal = storage.withdrawal_by_plan(c, plan_id)
        return None if withdrawal is None else cls(withdrawal=withdrawal, books=books, master=master, now_ms=now_ms)

    def rejected(self, c: Connection, *, reason: str, expired: bool) -> None:
        self._move(c, expected=_WAITING, state=WithdrawalState.REJECTED, reason=reason)
        self._end(c)
        self._emit(c)

    def approved(self, c: Connection) -> None:
        """Its plan is queued, in the same unit of work."""
        waits = frozenset({WithdrawalState.AWAITING_APPROVAL})
        self._move(c, expected=waits, state=WithdrawalState.PROCESSING, reason=None)
        self._emit(c)

    def cancelled(self, c: Connection) -> None:
        """Its plan was rejected before anything was sent, in the same unit of work."""
        self._move(c, expected=_WAITING, state=WithdrawalState.CANCELLED, reason=CANCELLED)
        self._end(c)
        self._emit(c)

    def mined(self, c: Connection, intent: Intent, tx: Tx) -> None:
        if self.withdrawal.state in _UNSETTLED:
            self._show(c, state=WithdrawalState.SENT, tx_hash=tx.mined_hash)

    def confirmed(self, c: Connection, intent: Intent, tx: Tx, *, receipt: Receipt) -> None:
        deltas = self.books.book(c, intent, tx=tx, receipt=receipt, subject=self._subject(), now_ms=self.now_ms)
        moved = -sum(delta.raw for delta in deltas if delta.asset.id == self.withdrawal.asset)
        state, reason = self._verdict(tx, receipt, moved=moved)
        self._move(
            c,
            expected=_ANY,
            state=state,
            reason=reason,
            tx_hash=receipt.tx_hash,
            gas_wei=self.withdrawal.gas_wei + receipt.fee_wei,
        )
        self._emit(c)

    def final(self, c: Connection, intent: Intent, tx: Tx) -> None:
        if self.withdrawal.state is WithdrawalState.CONFIRMED:
            self._show(c, state=WithdrawalState.FINAL, tx_hash=self.withdrawal.tx_hash)
        # No reorg brings its transaction back to be signed at a higher price.
        self._end(c)

    def reorged(self, c: Connection, intent: Intent, tx: Tx) -> None:
        gas_wei = self.books.unbook(c, intent, tx=tx, subject=self._subject(), now_ms=self.now_ms)
        self._move(
            c,
            expected=_ANY,
            state=WithdrawalState.SENT,
            reason=REORGED,
            gas_wei=max(0, self.withdrawal.gas_wei - gas_wei),
        )
        self._emit(c)

    def superseded(self, c: Connection, intent: Intent) -> None:
        self._move(c, expected=_ANY, state=WithdrawalState.UNKNOWN, reason=NONCE_TAKEN)
        self._end(c)
        self._emit(c)

    def _verdict(self, tx: Tx, receipt: Receipt, *, moved: int) -> tuple[WithdrawalState, str | None]:
        if tx.outcome is Outcome.CANCELLED:
            return WithdrawalState.CANCELLED, CANCELLED
        if not receipt.succeeded:
            return WithdrawalState.FAILED, TRANSFER_REVERTED
        if moved == 0:
            return WithdrawalState.FAILED, NOTHING_MOVED
        return WithdrawalState.CONFIRMED, None if moved == self.withdrawal.amount else OTHER_AMOUNT_MOVED

    def _subject(self) -> Subject:
        return Subject(
            id=f"withdrawal:{self.withdrawal.id}",
            cause="withdrawal",
            account_id=self.withdrawal.account_id,
            wallet_id=self.withdrawal.wallet_id,
        )

    def _show(self, c: Connection, **values: Any) -> None:
        """Move and emit, unless nothing would change: a repeated send is no news."""
        if any(getattr(self.withdrawal, name) != value for name, value in values.items()):
            self._move(c, expected=frozenset({self.withdrawal.state}), **values)
            self._emit(c)

    def _move(self, c: Connection, *, expected: frozenset[WithdrawalState], **values: Any) -> None:
        self.withdrawal = storage.move(c, self.withdrawal, expected=expected, now_ms=self.now_ms, **values)

    def _end(self, c: Connection) -> None:
        clearances.end(c, self.withdrawal.id, master=self.master, now_ms=self.now_ms)

    def _emit(self, c: Connection) -> None:
        document = _document(self.withdrawal, self.books)
        books.emit(c, account_id=self.withdrawal.account_id, kind=EVENT, payload=document, now_ms=self.now_ms)


def show_sent(c: Connection, plan_ids: Sequence[PlanId], *, books: ChainBooks, now_ms: int) -> set[PlanId]:
    """The withdrawals of these plans were handed to nodes: written and told as a set, in the order given, those of
    which it is news. The answer is which of the plans are withdrawals'."""
    known = storage.withdrawals_by_plans(c, plan_ids)
    news = storage.move_to_sent(c, [withdrawal.id for withdrawal in known], now_ms=now_ms)
    place = {plan_id: index for index, plan_id in enumerate(plan_ids)}
    told: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for withdrawal in sorted(news, key=lambda one: place[one.plan_id]):
        told[withdrawal.account_id].append(_document(withdrawal, books))
    for account_id, documents in sorted(told.items()):
        emit_all(c, account_id=account_id, kind=EVENT, payloads=documents, now_ms=now_ms)
    return {withdrawal.plan_id for withdrawal in known}


def _document(withdrawal: Withdrawal, books: ChainBooks) -> dict[str, Any]:
    return withdrawal_document(withdrawal, chain=books.config, asset=books.assets.by_id(withdrawal.asset))
