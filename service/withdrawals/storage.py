"""The queries of withdrawals, each inside the caller's unit of work.

Guarantees: `move` is guarded (it changes the withdrawal exactly when it is in one of the expected states, or raises).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from chains.tx.model import AttemptKind, PlanId, TxState
from chains.tx.store import StaleState
from chains.types import Address, ChainId
from service.db.models import attempts, intents, txs, withdrawals
from service.withdrawals.model import AmountIs, Withdrawal, WithdrawalDraft, WithdrawalState

_UNSETTLED: Final = (WithdrawalState.PROCESSING, WithdrawalState.SENT)


def insert_withdrawal(
    c: Connection,
    draft: WithdrawalDraft,
    *,
    state: WithdrawalState = WithdrawalState.PROCESSING,
    now_ms: int,
) -> Withdrawal:
    """Store a new withdrawal. Raises: IntegrityError: the account used the client id already."""
    values = {
        **asdict(draft),
        "state": state,
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


def withdrawal_of_account(c: Connection, withdrawal_id: int, *, account_id: int) -> Withdrawal | None:
    """The account's withdrawal by its id."""
    return _first(c, withdrawals.c.id == withdrawal_id, withdrawals.c.account_id == account_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """None: all. `since_ms` is inside, `until_ms` outside; `assets` are ids."""

    chain_id: ChainId | None = None
    client_id: str | None = None
    state: WithdrawalState | None = None
    assets: Collection[str] | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    before_id: int | None = None


def list_withdrawals(c: Connection, wallet_id: int, *, filters: Filters, limit: int) -> Sequence[Withdrawal]:
    """The wallet's withdrawals, newest first."""
    w = withdrawals.c
    wanted: Sequence[tuple[object, Callable[[Any], ColumnElement[bool]]]] = (
        (filters.chain_id, lambda value: w.chain_id == value),
        (filters.client_id, lambda value: w.client_id == value),
        (filters.state, lambda value: w.state == value),
        (filters.assets, lambda value: w.asset.in_(value)),
        (filters.since_ms, lambda value: w.created_ms >= value),
        (filters.until_ms, lambda value: w.created_ms < value),
        (filters.before_id, lambda value: w.id < value),
    )
    conditions = [condition(value) for value, condition in wanted if value is not None]
    query = select(withdrawals).where(w.wallet_id == wallet_id, *conditions).order_by(w.id.desc()).limit(limit)
    return [_withdrawal(row) for row in c.execute(query).mappings()]


def was_paid(c: Connection, account_id: int, *, chain_id: ChainId, destination: Address) -> bool:
    """Whether something of the account arrived at the address before."""
    arrived = (WithdrawalState.CONFIRMED, WithdrawalState.FINAL)
    query = (
        select(withdrawals.c.id)
        .where(
            withdrawals.c.account_id == account_id,
            withdrawals.c.chain_id == chain_id,
            withdrawals.c.destination == destination,
            withdrawals.c.state.in_(arrived),
        )
        .limit(1)
    )
    return c.execute(query).first() is not None


def mined_at(c: Connection, plan_ids: Collection[PlanId]) -> Mapping[PlanId, int]:
    """The heights of the blocks that mined these plans' transactions, of those that are mined."""
    rows = c.execute(
        select(intents.c.plan_id, txs.c.block_number)
        .join(txs, txs.c.intent_id == intents.c.id)
        .where(intents.c.plan_id.in_(plan_ids), txs.c.block_number.is_not(None))
    )
    return {PlanId(plan_id): height for plan_id, height in rows}


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
