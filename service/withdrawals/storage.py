"""The queries of withdrawals, each inside the caller's unit of work.

Guarantees: `move` is guarded (it changes the withdrawal exactly when it is in one of the expected states, or raises).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from chains.tx.model import PlanId
from chains.tx.store import StaleState
from chains.types import ChainId
from service.db.models import withdrawals
from service.withdrawals.model import Withdrawal, WithdrawalDraft, WithdrawalState


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


def _first(c: Connection, *where: Any) -> Withdrawal | None:
    row = c.execute(select(withdrawals).where(*where)).mappings().one_or_none()
    return None if row is None else _withdrawal(row)


def _withdrawal(row: Mapping[Any, Any]) -> Withdrawal:
    values = dict(row)
    return Withdrawal(**{**values, "state": WithdrawalState(values["state"])})
