"""How far a plan has come on the chain: its steps as a client may see them, and whether all of it is settled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, select

from chains.tx.model import AttemptKind, IntentId, IntentState, Outcome, PlanId, TxId, TxState
from chains.types import TxHash
from service.db.models import attempts, intents, txs

_SETTLED: Final = (TxState.CONFIRMED, TxState.FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One intent of a plan. `tx_hash` is that of the mined attempt, else of the newest one."""

    position: int
    state: str
    outcome: Outcome
    nonce: int | None
    tx_hash: TxHash | None
    block_number: int | None
    reject_reason: str | None


def steps(c: Connection, plan_id: PlanId) -> Sequence[Step]:
    """The plan's intents in order, each with the slot that stands for it."""
    slot = and_(txs.c.intent_id == intents.c.id, txs.c.state != TxState.SUPERSEDED)
    rows = c.execute(
        select(
            intents.c.position,
            intents.c.state.label("intent_state"),
            intents.c.reject_reason,
            txs.c.id.label("tx_id"),
            txs.c.state,
            txs.c.outcome,
            txs.c.nonce,
            txs.c.mined_hash,
            txs.c.block_number,
        )
        .select_from(intents.outerjoin(txs, slot))
        .where(intents.c.plan_id == plan_id)
        .order_by(intents.c.position)
    ).all()
    return [
        Step(
            position=row.position,
            state=row.state if row.intent_state == IntentState.PLACED and row.state else row.intent_state,
            outcome=Outcome(row.outcome or Outcome.NONE),
            nonce=row.nonce,
            tx_hash=row.mined_hash or (None if row.tx_id is None else newest_hash(c, TxId(row.tx_id))),
            block_number=row.block_number,
            reject_reason=row.reject_reason,
        )
        for row in rows
    ]


def newest_hash(c: Connection, tx_id: TxId) -> TxHash | None:
    """The hash of the slot's newest attempt that carries the intent's payload."""
    return c.execute(
        select(attempts.c.hash)
        .where(attempts.c.tx_id == tx_id, attempts.c.kind == AttemptKind.REAL)
        .order_by(attempts.c.created_ms.desc(), attempts.c.hash)
        .limit(1)
    ).scalar_one_or_none()


def is_last(c: Connection, plan_id: PlanId, *, position: int) -> bool:
    """Whether the plan has no intent after `position`: of an order that is the swap itself."""
    later = select(intents.c.id).where(intents.c.plan_id == plan_id, intents.c.position > position).limit(1)
    return c.execute(later).first() is None


def others_settled(c: Connection, plan_id: PlanId, *, besides: IntentId) -> bool:
    """Whether every other intent of the plan is confirmed or final."""
    slot = and_(txs.c.intent_id == intents.c.id, txs.c.state.in_(_SETTLED))
    waiting = (
        select(intents.c.id)
        .select_from(intents.outerjoin(txs, slot))
        .where(intents.c.plan_id == plan_id, intents.c.id != besides, txs.c.id.is_(None))
        .limit(1)
    )
    return c.execute(waiting).first() is None
