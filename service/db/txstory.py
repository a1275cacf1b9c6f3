"""What the database knows of transactions, for the operator: lists, and everything about one of them.

Guarantees: reads only; what was signed (a bearer cheque) is in no answer, nor is who a destination is beyond what the
calldata says. Not guaranteed: every state's moment; the rows keep the first and the last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, RowMapping, literal_column, select

from chains.tx.model import CLOSED_TX_STATES, Attempt, Plan, PlanId, Tx
from chains.types import Address, ChainId
from service.auth.authority import Sifted, sift
from service.db import models as m
from service.db import txrows
from service.db.txloading import oldest_first
from service.db.txstore import SqlTxStore

MAX_DIGITS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One plan, whole. `subject` is the row that asked for it, of `kind`."""

    plan: Plan
    txs: Sequence[Tx]
    attempts: Mapping[int, Sequence[Attempt]]
    kind: str | None
    subject: Mapping[str, Any]


def list_txs(
    c: Connection,
    *,
    chain_id: ChainId | None = None,
    wallet: Address | None = None,
    with_closed: bool = False,
    limit: int,
) -> Sifted[RowMapping]:
    """Slots with their plan, newest first, and the ids of those of which a row makes no sense."""
    statement = select(m.txs, m.intents.c.plan_id, m.intents.c.position).join(
        m.intents, m.intents.c.id == m.txs.c.intent_id
    )
    if chain_id is not None:
        statement = statement.where(m.txs.c.chain_id == chain_id)
    if wallet is not None:
        statement = statement.where(m.txs.c.wallet == wallet)
    if not with_closed:
        statement = statement.where(m.txs.c.state.not_in(CLOSED_TX_STATES))
    newest = statement.order_by(m.txs.c.id.desc()).limit(limit)
    return sift(c, newest, table=m.txs, id_=m.txs.c.id, make=lambda row: row)


def held_lanes(c: Connection) -> list[RowMapping]:
    """Lanes that wait for a person; those whose rows make no sense are told by the log of their engine."""
    held = select(m.lanes).where(m.lanes.c.hold_reason.is_not(None)).order_by(m.lanes.c.chain_id, m.lanes.c.wallet)
    # SQLite's own number of a row, PostgreSQL's place of it: what no column of it spoils.
    at: ColumnElement[Any] = literal_column("lanes.rowid" if c.dialect.name == "sqlite" else "lanes.ctid::text").label(
        "at"
    )
    return list(sift(c, held.add_columns(at), table=m.lanes, id_=at, make=lambda row: row).intact)


def frozen_chains(c: Connection) -> list[Row[Any]]:
    """Chains that wait for a person."""
    return list(c.execute(select(m.chain_freezes).order_by(m.chain_freezes.c.chain_id)))


def find_plan(c: Connection, named: str) -> PlanId | None:
    """The plan that a text names: a transaction's number, an attempt's hash, a plan's or an intent's id, or `order:12`,
    `withdrawal:12` and `transaction:12` by the number that the API shows."""
    if _is_number(named):
        return _plan_of_intents(c, m.intents.c.id.in_(select(m.txs.c.intent_id).where(m.txs.c.id == int(named))))
    if named.startswith("0x"):
        of = select(m.attempts.c.tx_id).where(m.attempts.c.hash == named.lower())
        return _plan_of_intents(c, m.intents.c.id.in_(select(m.txs.c.intent_id).where(m.txs.c.id.in_(of))))
    kind, _, number = named.partition(":")
    table = {"order": m.orders, "withdrawal": m.withdrawals, "transaction": m.transactions}.get(kind)
    if table is not None and _is_number(number):
        found = c.execute(select(table.c.plan_id).where(table.c.id == int(number))).scalar_one_or_none()
        return None if found is None else PlanId(found)
    return _plan_of_intents(c, (m.intents.c.plan_id == named) | (m.intents.c.id == named))


def story(c: Connection, plan_id: PlanId) -> Story | None:
    """Everything about one plan. Raises: UnusableRow: a row of it makes no sense."""
    with txrows.sense(f"plan {plan_id}"):
        return _story(c, plan_id)


def _story(c: Connection, plan_id: PlanId) -> Story | None:
    store = SqlTxStore()
    plan = store.plan(c, plan_id)
    if plan is None:
        return None
    txs = store.plan_txs(c, plan_id)
    unordered: dict[int, list[Attempt]] = {tx.id: [] for tx in txs}
    for row in c.execute(select(m.attempts).where(m.attempts.c.tx_id.in_(list(unordered)))):
        unordered[row.tx_id].append(txrows.attempt(row))
    attempts = {tx_id: oldest_first(made) for tx_id, made in unordered.items()}
    of_order = select(m.order_plans.c.order_id).where(m.order_plans.c.plan_id == plan_id).scalar_subquery()
    for kind, found in (
        ("order", select(m.orders).where(m.orders.c.id == of_order)),
        ("withdrawal", select(m.withdrawals).where(m.withdrawals.c.plan_id == plan_id)),
        ("transaction", select(m.transactions).where(m.transactions.c.plan_id == plan_id)),
    ):
        subject = c.execute(found).mappings().one_or_none()
        if subject is not None:
            return Story(plan=plan, txs=txs, attempts=attempts, kind=kind, subject=dict(subject))
    return Story(plan=plan, txs=txs, attempts=attempts, kind=None, subject={})


def _is_number(text: str) -> bool:
    """An id: what is longer is none, and no integer of a database."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _plan_of_intents(c: Connection, condition: Any) -> PlanId | None:
    found = c.execute(select(m.intents.c.plan_id).where(condition).limit(1)).scalar_one_or_none()
    return None if found is None else PlanId(found)
