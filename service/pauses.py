"""Pauses: the operator's panic switch for everything, a chain, a wallet or a key.

Guarantees: a pause is a row, so that it holds for every process on the database and over restarts. From its commit on
nothing new is accepted in its scope, queued plans wait (those behind them in the same wallet's queue too), no payload
is signed, and every unmined slot is asked to be closed by a self-send. Ending a pause brings back nothing of these.
Not guaranteed: that bytes sent before lose against their self-send; what is mined decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, or_, select, true, update

from chains.tx.model import UNMINED_TX_STATES, TxId, Wish
from chains.types import Address, ChainId
from service.db import models as m
from service.db.txstore import SqlTxStore
from service.errors import ApiError


class Scope(StrEnum):
    ALL = "all"
    CHAIN = "chain"
    WALLET = "wallet"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is paused. `subject`: chain id in decimal, wallet address, or key; empty for all."""

    scope: Scope
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    target: Target
    reason: str
    since_ms: int


EVERYTHING: Final = Target(scope=Scope.ALL)


def pause(c: Connection, target: Target, *, reason: str, now_ms: int) -> int:
    """Pause, and ask for the closing of what is open; how many slots are newly asked. Repeated, the first row stays."""
    if _find(c, target) is None:
        values = {"scope": target.scope, "subject": target.subject, "reason": reason, "since_ms": now_ms}
        c.execute(m.pauses.insert().values(**values))
    return close_slots(c, target, reason=f"paused: {reason}", now_ms=now_ms)


def resume(c: Connection, target: Target) -> bool:
    """End a pause; False if there is none of exactly that scope."""
    return c.execute(delete(m.pauses).where(_is(target))).rowcount == 1


def list_pauses(c: Connection) -> Sequence[Pause]:
    """All in force, oldest first."""
    rows = c.execute(select(m.pauses).order_by(m.pauses.c.since_ms, m.pauses.c.scope, m.pauses.c.subject))
    return [_pause(row) for row in rows]


def in_force(c: Connection, *, chain_id: ChainId, wallet: Address, key_id: str) -> Pause | None:
    """A pause that covers this; the widest, if there are several."""
    targets = (
        EVERYTHING,
        Target(scope=Scope.CHAIN, subject=str(chain_id)),
        Target(scope=Scope.WALLET, subject=wallet),
        Target(scope=Scope.KEY, subject=key_id),
    )
    found = [_pause(row) for row in c.execute(select(m.pauses).where(or_(*(_is(target) for target in targets))))]
    return min(found, key=lambda one: targets.index(one.target), default=None)


def refuse_if_paused(c: Connection, *, chain_id: ChainId, wallet: Address, key_id: str) -> None:
    """To be called in the unit of work that accepts. Raises: ApiError: paused."""
    found = in_force(c, chain_id=chain_id, wallet=wallet, key_id=key_id)
    if found is not None:
        what = "everything" if found.target.scope is Scope.ALL else f"this {found.target.scope}"
        raise ApiError("paused", f"the operator paused {what}; nothing was accepted")


def close_slots(c: Connection, target: Target, *, reason: str, now_ms: int) -> int:
    """Ask for a self-send at every unmined slot of the scope; how many were not asked before."""
    store, asked = SqlTxStore(), 0
    rows = c.execute(
        select(m.txs.c.id)
        .join(m.intents, m.intents.c.id == m.txs.c.intent_id)
        .where(m.txs.c.state.in_(UNMINED_TX_STATES), _covers(target))
        .order_by(m.txs.c.id)
    )
    for (tx_id,) in rows.all():
        # Locked in one statement with the look at its state: a slot that was mined meanwhile is left alone.
        lock = update(m.txs).where(m.txs.c.id == tx_id, m.txs.c.state.in_(UNMINED_TX_STATES)).values(updated_ms=now_ms)
        if c.execute(lock).rowcount == 1:
            asked += store.wish(c, TxId(tx_id), Wish.CANCEL, reason=reason, now_ms=now_ms)
    return asked


# -- private ----------------------------------------------------------------------------------------------


def _is(target: Target) -> ColumnElement[bool]:
    return and_(m.pauses.c.scope == target.scope, m.pauses.c.subject == target.subject)


def _find(c: Connection, target: Target) -> Pause | None:
    row = c.execute(select(m.pauses).where(_is(target))).one_or_none()
    return None if row is None else _pause(row)


def _pause(row: Row[Any]) -> Pause:
    target = Target(scope=Scope(row.scope), subject=row.subject)
    return Pause(target=target, reason=row.reason, since_ms=row.since_ms)


def _covers(target: Target) -> ColumnElement[bool]:
    match target.scope:
        case Scope.ALL:
            return true()
        case Scope.CHAIN:
            return m.txs.c.chain_id == int(target.subject)
        case Scope.WALLET:
            return m.txs.c.wallet == target.subject
        case Scope.KEY:
            plan_id = m.intents.c.plan_id
            orders = m.order_plans.join(m.orders, m.orders.c.id == m.order_plans.c.order_id)
            of_orders = select(m.order_plans.c.plan_id).select_from(orders).where(m.orders.c.key_id == target.subject)
            of_withdrawals = select(m.withdrawals.c.plan_id).where(m.withdrawals.c.key_id == target.subject)
            of_transactions = select(m.transactions.c.plan_id).where(m.transactions.c.key_id == target.subject)
            return or_(plan_id.in_(of_orders), plan_id.in_(of_withdrawals), plan_id.in_(of_transactions))
