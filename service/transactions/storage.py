"""The queries of transactions, each inside the caller's unit of work.

Guarantees: `move` is guarded (it changes the transaction exactly when it is in one of the expected states, or raises).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Connection, func, insert, or_, select, update

from chains.tx.model import AttemptKind, PlanId, TxState
from chains.tx.store import StaleState
from chains.types import Address, ChainId
from contracts.assets import AssetId
from service.db.models import attempts, intents, transactions, txs
from service.transactions.model import UNSETTLED, Terms, Transaction, TransactionKind, TransactionState
from service.transactions.terms import amounts, columns

_TERMS: Final = frozenset(one.name for one in fields(Terms))


def insert_transaction(c: Connection, terms: Terms, *, asked_mac: bytes, usd: int | None, now_ms: int) -> Transaction:
    """Store a new transaction. Raises: IntegrityError: the account used the client id for this kind already."""
    values = {
        **columns(terms),
        "asked_mac": asked_mac,
        "state": TransactionState.PROCESSING,
        "usd": usd,
        "gas_wei": 0,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    row = c.execute(insert(transactions).values(values).returning(*transactions.c)).mappings().one()
    return _transaction(row)


def transaction_by_id(c: Connection, transaction_id: int, *, wallet_id: int) -> Transaction | None:
    """The wallet's transaction by its id."""
    return _first(c, transactions.c.id == transaction_id, transactions.c.wallet_id == wallet_id)


def transaction_by_client_id(
    c: Connection, client_id: str, *, account_id: int, kind: TransactionKind
) -> Transaction | None:
    """The account's transaction by the client's own id, which is unique for ever within its kind."""
    t = transactions
    return _first(c, t.c.account_id == account_id, t.c.kind == kind, t.c.client_id == client_id)


def transaction_by_plan(c: Connection, plan_id: PlanId) -> Transaction | None:
    """The transaction that a plan carries out."""
    return _first(c, transactions.c.plan_id == plan_id)


def transactions_by_plans(c: Connection, plan_ids: Collection[PlanId]) -> Sequence[Transaction]:
    """The transactions that these plans carry out; a plan of something else has none."""
    found = c.execute(select(transactions).where(transactions.c.plan_id.in_(plan_ids)))
    return [_transaction(row) for row in found.mappings()]


def list_transactions(
    c: Connection,
    wallet_id: int,
    *,
    chain_id: ChainId | None,
    kind: TransactionKind | None,
    state: TransactionState | None,
    client_id: str | None,
    before_id: int | None,
    limit: int,
) -> Sequence[Transaction]:
    """The wallet's transactions, newest first, below `before_id`."""
    t = transactions
    query = select(t).where(t.c.wallet_id == wallet_id).order_by(t.c.id.desc()).limit(limit)
    for column, wanted in ((t.c.chain_id, chain_id), (t.c.kind, kind), (t.c.state, state), (t.c.client_id, client_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    if before_id is not None:
        query = query.where(t.c.id < before_id)
    return [_transaction(row) for row in c.execute(query).mappings()]


def approved_spenders(c: Connection, wallet_id: int, *, chain_id: ChainId) -> Sequence[Address]:
    """The contracts that calls of the wallet were ever to approve."""
    t = transactions
    query = select(t.c.contract).where(t.c.wallet_id == wallet_id, t.c.chain_id == chain_id, t.c.approvals.is_not(None))
    return sorted({row.contract for row in c.execute(query)})


def is_revoking(c: Connection, wallet_id: int, *, asset_id: AssetId) -> bool:
    """Whether a revocation of an allowance of the asset is under way: what is read of it now may be zero soon."""
    t = transactions
    query = select(t.c.id).where(
        t.c.wallet_id == wallet_id,
        t.c.kind == TransactionKind.REVOKE,
        t.c.asset == asset_id,
        t.c.state.in_(sorted(UNSETTLED)),
    )
    return c.execute(query.limit(1)).first() is not None


def approves_already(c: Connection, wallet_id: int, *, asset_id: AssetId, spender: Address) -> bool:
    """Whether an open call of that contract has an allowance of the asset to count on."""
    t = transactions
    query = select(t.c.approvals).where(
        t.c.wallet_id == wallet_id,
        t.c.contract == spender,
        t.c.approvals.is_not(None),
        t.c.state.in_(sorted(UNSETTLED)),
    )
    return any(asset_id in (row.approvals or {}) for row in c.execute(query))


def move(
    c: Connection, transaction: Transaction, *, expected: Collection[TransactionState], now_ms: int, **values: Any
) -> Transaction:
    """Change a transaction that is in one of the expected states; the answer is the transaction afterwards.

    Raises:
        StaleState: it is in another state.
    """
    row = (
        c.execute(
            update(transactions)
            .where(transactions.c.id == transaction.id, transactions.c.state.in_(sorted(expected)))
            .values(updated_ms=now_ms, **values)
            .returning(*transactions.c)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise StaleState(f"transaction {transaction.id} is not {' or '.join(sorted(expected))}")
    return _transaction(row)


def move_to_sent(c: Connection, ids: Collection[int], *, now_ms: int) -> Sequence[Transaction]:
    """Those of them that are not settled become SENT with the newest payload of their last step; as they are then,
    those that this changes."""
    last = (
        select(func.max(intents.c.position)).where(intents.c.plan_id == transactions.c.plan_id).correlate(transactions)
    )
    newest = (
        select(attempts.c.hash)
        .select_from(attempts.join(txs).join(intents))
        .where(
            intents.c.plan_id == transactions.c.plan_id,
            intents.c.position == last.scalar_subquery(),
            txs.c.state != TxState.SUPERSEDED,
            attempts.c.kind == AttemptKind.REAL,
        )
        .order_by(attempts.c.created_ms.desc(), attempts.c.hash)
        .limit(1)
        .correlate(transactions)
        .scalar_subquery()
    )
    is_news = or_(transactions.c.state != TransactionState.SENT, transactions.c.tx_hash.is_distinct_from(newest))
    statement = (
        update(transactions)
        .where(transactions.c.id.in_(ids), transactions.c.state.in_(sorted(UNSETTLED)), is_news)
        .values(state=TransactionState.SENT, tx_hash=newest, updated_ms=now_ms)
        .returning(*transactions.c)
    )
    return [_transaction(row) for row in c.execute(statement).mappings()]


def _first(c: Connection, *where: Any) -> Transaction | None:
    row = c.execute(select(transactions).where(*where)).mappings().one_or_none()
    return None if row is None else _transaction(row)


def _transaction(row: Mapping[Any, Any]) -> Transaction:
    values = dict(row)
    given = {name: value for name, value in values.items() if name in _TERMS}
    given |= {
        "kind": TransactionKind(values["kind"]),
        "data": bytes(values["data"]),
        "approvals": amounts(values["approvals"]),
        "max_out": amounts(values["max_out"]),
    }
    rest = {name: value for name, value in values.items() if name not in _TERMS}
    moved = None if rest["moved"] is None else amounts(rest["moved"])
    known = {"state": TransactionState(rest["state"]), "asked_mac": bytes(rest["asked_mac"]), "moved": moved}
    return Transaction(terms=Terms(**given), **{**rest, **known})
