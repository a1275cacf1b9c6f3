"""Cancelling a withdrawal: at once while nothing of it is sent, else, where it is asked for, by closing its nonce.

    awaiting_approval, processing     cancelled at once, its funds released
    sent, or just being signed        refused; with `self_send` an empty transaction is asked for at its nonce, and what
                                      is mined decides: it ends as cancelled, or as confirmed after all

Guarantees: one outcome, whoever comes first, the lane or the client: both write guarded updates in units of work;
cancelling again what is cancelled answers with it.
"""

from sqlalchemy import Connection

from chains.tx.model import UNMINED_TX_STATES, IntentState, Wish
from chains.tx.store import StaleState
from service.build import Services
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.withdrawals import storage
from service.withdrawals.ending import cancel_waiting
from service.withdrawals.model import Withdrawal, WithdrawalState

ASKED: str = "cancelled by its client"
_ENDED = frozenset(
    {
        WithdrawalState.CONFIRMED,
        WithdrawalState.FINAL,
        WithdrawalState.REJECTED,
        WithdrawalState.FAILED,
        WithdrawalState.UNKNOWN,
    }
)


def cancel(c: Connection, services: Services, withdrawal: Withdrawal, *, self_send: bool, now_ms: int) -> Withdrawal:
    """In the unit of work that answers; the withdrawal as it is then.

    Raises:
        ApiError: already_sent, already_ended, try_again.
    """
    if withdrawal.state is WithdrawalState.CANCELLED:
        return withdrawal
    if withdrawal.state in _ENDED:
        raise ApiError("already_ended", f"withdrawal {withdrawal.id} is {withdrawal.state}")
    plan = SqlTxStore().plan(c, withdrawal.plan_id)
    if plan is None:
        raise ApiError("already_ended", f"withdrawal {withdrawal.id} has nothing that could be cancelled")
    if all(intent.state is not IntentState.PLACED for intent in plan.intents):
        try:
            return cancel_waiting(c, services, withdrawal, now_ms=now_ms)
        except StaleState as exc:
            raise ApiError("try_again", "the withdrawal is being sent at this moment") from exc
    if not self_send:
        raise ApiError("already_sent", f"withdrawal {withdrawal.id} has its nonce, and may be on its way")
    _close_nonce(c, withdrawal, now_ms=now_ms)
    found = storage.withdrawal_by_plan(c, withdrawal.plan_id)
    assert found is not None  # it was given
    return found


def _close_nonce(c: Connection, withdrawal: Withdrawal, *, now_ms: int) -> None:
    store = SqlTxStore()
    open_txs = [tx for tx in store.plan_txs(c, withdrawal.plan_id) if tx.state in UNMINED_TX_STATES]
    if not open_txs:
        raise ApiError("already_ended", f"withdrawal {withdrawal.id} is mined")
    try:
        for tx in open_txs:
            store.wish(c, tx.id, Wish.CANCEL, reason=ASKED, now_ms=now_ms)
    except StaleState as exc:
        raise ApiError("already_ended", f"withdrawal {withdrawal.id} is mined") from exc
