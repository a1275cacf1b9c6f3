"""The queries of withdrawals, each inside the caller's unit of work.

Guarantees: `move` is guarded (it changes the withdrawal exactly when it is in one of the expected states, or raises).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, insert, or_, select, update

from chains.tx.model import AttemptKind, PlanId, TxState
from chains.tx.store import StaleState
from chains.types import ChainId
from service.db.models import attempts, intents, txs, withdrawals
from service.withdrawals.model import AmountIs, Withdrawal, WithdrawalDraft, WithdrawalState

_UNSETTLED: Final = (WithdrawalState.PROCESSING, WithdrawalState.SENT)


def insert_withdrawal(c: Connection, draft: WithdrawalDraft, *, now_ms: int) -> Withdrawal:
    """Store a new withdrawal. Raises: IntegrityError: the account used the client id already."""
    values = {
        **asdict(draft),
        "state": WithdrawalState.PROCESSING,
        "gas_wei": 0,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    row = c.execute(insert(withdrawals).values(values).returning(*withdrawals.c)).mappings().one()
    return _withdrawal(row)


def withdrawal_by_id(c: Connection, withdrawal_id: int, *, wallet_id: int) -> Withdrawal | None:
    """The wallet's withdrawal by its id."""
    return _first(c, withdrawals.c.id == withdrawal_id, withdrawals.c.wallet_id == wallet_id)


def withdrawal_by_client_id(c: Connection, client_id: str, *, account_id: int) -> Withdrawal | None:
    """The account's withdrawal by the client's own id, which is unique for ever."""
    return _first(c, withdrawals.c.account_id == account_id, withdrawals.c.client_id == client_id)


def withdrawal_by_plan(c: Connection, plan_id: PlanId) -> Withdrawal | None:
    """The withdrawal that a plan carries out."""
    return _first(c, withdrawals.c.plan_id == plan_id)


def withdrawals_by_plans(c: Connection, plan_ids: Collection[PlanId]) -> Sequence[Withdrawal]:
    """The withdrawals that these plans carry out; a plan of something else has none."""
    return [
        _withdrawal(row) for row in c.execute(select(withdrawals).where(withdrawals.c.plan_id.in_(plan_ids))).mappings()
    ]


def list_withdrawals(
    c: Connection,
    wallet_id: int,
    *,
    chain_id: ChainId | None,
    client_id: str | None,
    state: WithdrawalState | None,
    before_id: int | None,
    limit: int,
) -> Sequence[Withdrawal]:
    """The wallet's withdrawals, newest first, below `before_id`."""
    query = (
        select(withdrawals).where(withdrawals.c.wallet_id == wallet_id).order_by(withdrawals.c.id.desc()).limit(limit)
    )
    if chain_id is not None:
        query = query.where(withdrawals.c.chain_id == chain_id)
    if client_id is not None:
        query = query.where(withdrawals.c.client_id == client_id)
    if state is not None:
        query = query.where(withdrawals.c.state == state)
    if before_id is not None:
        query = query.where(withdrawals.c.id < before_id)
    return [_withdrawal(row) for row in c.execute(query).mappings()]


def move(
    c: Connection, withdrawal: Withdrawal, *, expected: Collection[WithdrawalState], now_ms: int, **values: Any
) -> Withdrawal:
    """Change a withdrawal that is in one of the expected states; the answer is the withdrawal afterwards.

    Raises:
        StaleState: it is in another state.
    """
    row = (
        c.execute(
            update(withdrawals)
            .where(withdrawals.c.id == withdrawal.id, withdrawals.c.state.in_(sorted(expected)))
            .values(updated_ms=now_ms, **values)
            .returning(*withdrawals.c)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise StaleState(f"withdrawal {withdrawal.id} is not {' or '.join(sorted(expected))}")
    return _withdrawal(row)


def move_to_sent(c: Connection, ids: Collection[int], *, now_ms: int) -> Sequence[Withdrawal]:
    """Those of them that are not settled become SENT with the newest payload of their slot; as they are then, those
    that this changes."""
    newest = (
        select(attempts.c.hash)
        .select_from(attempts.join(txs).join(intents))
        .where(
            intents.c.plan_id == withdrawals.c.plan_id,
            txs.c.state != TxState.SUPERSEDED,
            attempts.c.kind == AttemptKind.REAL,
        )
        .order_by(attempts.c.created_ms.desc(), attempts.c.hash)
        .limit(1)
        .scalar_subquery()
    )
    is_news = or_(withdrawals.c.state != WithdrawalState.SENT, withdrawals.c.tx_hash.is_distinct_from(newest))
    statement = (
        update(withdrawals)
        .where(withdrawals.c.id.in_(ids), withdrawals.c.state.in_(_UNSETTLED), is_news)
        .values(state=WithdrawalState.SENT, tx_hash=newest, updated_ms=now_ms)
        .returning(*withdrawals.c)
    )
    return [_withdrawal(row) for row in c.execute(statement).mappings()]


def _first(c: Connection, *where: Any) -> Withdrawal | None:
    row = c.execute(select(withdrawals).where(*where)).mappings().one_or_none()
    return None if row is None else _withdrawal(row)


def _withdrawal(row: Mapping[Any, Any]) -> Withdrawal:
    values = dict(row)
    kinds = {"state": WithdrawalState(values["state"]), "amount_is": AmountIs(values["amount_is"])}
    return Withdrawal(**(values | kinds))
