"""A transaction's way through its states, step by step as its plan is observed (the diagram is in `model`).

Guarantees: gas is booked for every step, whatever its outcome; every visible change emits one `transaction` event with
the whole transaction; CONFIRMED of a wrap or unwrap means that the receipt shows both amounts, one for one. That a
call took more of a listed asset than its terms allow is said in its reason, and in the log as critical.
Not guaranteed: native coins that a contract pays the wallet; they leave no log, and the reconciliation shows them.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from chains.tx.model import Intent, Outcome, PlanId, Tx
from chains.types import Receipt
from contracts.assets import AssetId
from service.journal import books
from service.journal.books import emit_all
from service.plans.booking import ChainBooks, Subject
from service.plans.progress import is_last
from service.transactions import storage
from service.transactions.limits import beyond
from service.transactions.model import UNSETTLED, Transaction, TransactionKind, TransactionState
from service.transactions.terms import texts
from service.transactions.view import transaction_document

EVENT: Final = "transaction"
REVERTED: Final = "reverted"
NOTHING_MOVED: Final = "nothing_moved"
OTHER_AMOUNT_MOVED: Final = "other_amount_moved"
MORE_LEFT: Final = "more_left_than_declared"
"""The contract did something else than in the simulation: revoke what it may still take, and look at it."""
CANCELLED: Final = "cancelled"
REORGED: Final = "reorged"
NONCE_TAKEN: Final = "nonce_taken"

ENDED: Final = bytes(32)
"""In place of the MAC of what has ended for good: nothing is signed for it any more, whatever its row says then."""
_ANY: Final = frozenset(TransactionState)

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class TransactionLifecycle:
    """One transaction during one unit of work; `transaction` is always as stored."""

    transaction: Transaction
    books: ChainBooks
    now_ms: int

    @classmethod
    def of_plan(
        cls, c: Connection, plan_id: PlanId, *, books: ChainBooks, now_ms: int
    ) -> "TransactionLifecycle | None":
        transaction = storage.transaction_by_plan(c, plan_id)
        return None if transaction is None else cls(transaction=transaction, books=books, now_ms=now_ms)

    def rejected(self, c: Connection, *, reason: str, expired: bool) -> None:
        # An approval before the call may have been sent already.
        self._move(c, expected=UNSETTLED, state=TransactionState.REJECTED, reason=reason, asked_mac=ENDED)
        self._emit(c)

    def mined(self, c: Connection, intent: Intent, tx: Tx) -> None:
        if self.transaction.state in UNSETTLED and is_last(c, intent.plan_id, position=intent.position):
            self._show(c, state=TransactionState.SENT, tx_hash=tx.mined_hash)

    def confirmed(self, c: Connection, intent: Intent, tx: Tx, *, receipt: Receipt) -> None:
        deltas = self.books.book(c, intent, tx=tx, receipt=receipt, subject=self._subject(), now_ms=self.now_ms)
        changes: dict[str, Any] = {"gas_wei": self.transaction.gas_wei + receipt.fee_wei}
        if is_last(c, intent.plan_id, position=intent.position):
            moved = {delta.asset.id: delta.raw for delta in deltas}
            state, reason = self._verdict(tx, receipt, moved=moved)
            settled = {"state": state, "reason": reason, "tx_hash": receipt.tx_hash}
            changes |= settled | {"moved": texts(moved) or {}}
        self._move(c, expected=_ANY, **changes)
        self._emit(c)

    def final(self, c: Connection, intent: Intent, tx: Tx) -> None:
        if not is_last(c, intent.plan_id, position=intent.position):
            return
        # No reorg brings it back to be signed at a higher price.
        self._move(c, expected=_ANY, asked_mac=ENDED)
        if self.transaction.state is TransactionState.CONFIRMED:
            self._show(c, state=TransactionState.FINAL, tx_hash=self.transaction.tx_hash)

    def reorged(self, c: Connection, intent: Intent, tx: Tx) -> None:
        gas_wei = self.books.unbook(c, intent, tx=tx, subject=self._subject(), now_ms=self.now_ms)
        changes: dict[str, Any] = {"gas_wei": max(0, self.transaction.gas_wei - gas_wei)}
        if is_last(c, intent.plan_id, position=intent.position):
            changes |= {"state": TransactionState.SENT, "reason": REORGED, "moved": None}
        self._move(c, expected=_ANY, **changes)
        self._emit(c)

    def superseded(self, c: Connection, intent: Intent) -> None:
        self._move(c, expected=_ANY, state=TransactionState.UNKNOWN, reason=NONCE_TAKEN, asked_mac=ENDED)
        self._emit(c)

    def _verdict(
        self, tx: Tx, receipt: Receipt, *, moved: Mapping[AssetId, int]
    ) -> tuple[TransactionState, str | None]:
        terms, assets = self.transaction.terms, self.books.assets
        if tx.outcome is Outcome.CANCELLED:
            return TransactionState.CANCELLED, CANCELLED
        if not receipt.succeeded:
            return TransactionState.FAILED, REVERTED
        if terms.kind in (TransactionKind.WRAP, TransactionKind.UNWRAP):
            amount = terms.amount or 0
            got = assets.wrapped if terms.kind is TransactionKind.WRAP else assets.native
            gave = assets.native if got == assets.wrapped else assets.wrapped
            if not moved.get(got.id):
                return TransactionState.FAILED, NOTHING_MOVED
            right = moved == {got.id: amount, gave.id: -amount}
            return TransactionState.CONFIRMED, None if right else OTHER_AMOUNT_MOVED
        if over := beyond(terms, moved):
            log.critical("transaction %d: more left than declared of %s", self.transaction.id, ", ".join(over))
            return TransactionState.CONFIRMED, MORE_LEFT
        return TransactionState.CONFIRMED, None

    def _subject(self) -> Subject:
        terms = self.transaction.terms
        return Subject(
            id=f"transaction:{self.transaction.id}",
            cause="transaction",
            account_id=terms.account_id,
            wallet_id=terms.wallet_id,
        )

    def _show(self, c: Connection, **values: Any) -> None:
        """Move and emit, unless nothing would change: a repeated send is no news."""
        if any(getattr(self.transaction, name) != value for name, value in values.items()):
            self._move(c, expected=frozenset({self.transaction.state}), **values)
            self._emit(c)

    def _move(self, c: Connection, *, expected: frozenset[TransactionState], **values: Any) -> None:
        self.transaction = storage.move(c, self.transaction, expected=expected, now_ms=self.now_ms, **values)

    def _emit(self, c: Connection) -> None:
        account_id = self.transaction.terms.account_id
        document = _document(self.transaction, self.books)
        books.emit(c, account_id=account_id, kind=EVENT, payload=document, now_ms=self.now_ms)


def show_sent(c: Connection, plan_ids: Sequence[PlanId], *, books: ChainBooks, now_ms: int) -> set[PlanId]:
    """The transactions of these plans were handed to nodes: written and told as a set, in the order given, those of
    which it is news. The answer is which of the plans are theirs."""
    known = storage.transactions_by_plans(c, plan_ids)
    news = storage.move_to_sent(c, [transaction.id for transaction in known], now_ms=now_ms) if known else []
    place = {plan_id: index for index, plan_id in enumerate(plan_ids)}
    told: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for transaction in sorted(news, key=lambda one: place[one.terms.plan_id]):
        told[transaction.terms.account_id].append(_document(transaction, books))
    for account_id, documents in sorted(told.items()):
        emit_all(c, account_id=account_id, kind=EVENT, payloads=documents, now_ms=now_ms)
    return {transaction.terms.plan_id for transaction in known}


def _document(transaction: Transaction, books: ChainBooks) -> dict[str, Any]:
    return transaction_document(transaction, chain=books.config, assets=books.assets)
