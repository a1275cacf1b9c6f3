"""What a revoked key leaves behind is ended at once: queued plans are rejected, open slots are to be closed.

Guarantees: in the unit of work that revokes, so that nothing queued under the key is placed after it; what was reserved
for a rejected plan is released, and its order or withdrawal tells why. Not guaranteed: that bytes sent before lose
against their self-send; what is mined decides. Plans of chains that are not described any more stay queued, and the
check before signing refuses them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select, union

from chains.config import ChainConfig
from chains.tx.model import IntentState, Plan, PlanId
from chains.tx.reasons import RejectCode, reason
from chains.tx.store import Clock, TxObserver
from chains.types import ChainId
from contracts.assets import AssetList
from contracts.deployments import Deployments
from service.db import models as m
from service.db.txstore import SqlTxStore
from service.pauses import Scope, Target, close_slots
from service.workers.observer import ChainObserver

WHY: Final = "its key was revoked"
_WAITING: Final = (IntentState.ACCEPTED, IntentState.QUEUED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How many slots are to be closed, and how many plans were rejected."""

    closing: int
    rejected: int


def end_what_is_open(
    c: Connection,
    key_id: str,
    *,
    configs: Mapping[str, ChainConfig],
    assets: Mapping[ChainId, AssetList],
    deployments: Deployments,
    clock: Clock,
) -> Ended:
    """Reject the key's queued plans and ask for a self-send at each of its unmined slots."""
    store = SqlTxStore()
    observers: dict[ChainId, TxObserver[Connection]] = {
        config.chain_id: ChainObserver(
            config, assets[config.chain_id], deployments=deployments, store=store, clock=clock
        )
        for config in configs.values()
        if config.chain_id in assets
    }
    rejected = 0
    for plan in _waiting(c, store, key_id):
        if plan.lane.chain_id in observers:
            _reject(c, store, plan, observer=observers[plan.lane.chain_id])
            rejected += 1
    target = Target(scope=Scope.KEY, subject=key_id)
    return Ended(closing=close_slots(c, target, reason=WHY, now_ms=clock.now_ms()), rejected=rejected)


def _waiting(c: Connection, store: SqlTxStore, key_id: str) -> list[Plan]:
    """The key's plans with a step that was not placed, oldest first."""
    asked = union(*(select(table.c.plan_id).where(table.c.key_id == key_id) for table in (m.orders, m.withdrawals)))
    waiting = select(m.intents.c.plan_id).where(m.intents.c.state.in_(_WAITING))
    ids = select(m.plans.c.id).where(m.plans.c.id.in_(asked), m.plans.c.id.in_(waiting)).order_by(m.plans.c.sequence)
    plans = [store.plan(c, PlanId(plan_id)) for plan_id in c.execute(ids).scalars().all()]
    return [plan for plan in plans if plan is not None]


def _reject(c: Connection, store: SqlTxStore, plan: Plan, *, observer: TxObserver[Connection]) -> None:
    """As a lane does it. Of a plan placed step by step only what was not placed."""
    stored = reason(RejectCode.PRESIGN_REFUSED, WHY)
    if any(intent.state is IntentState.PLACED for intent in plan.intents):
        store.reject_rest(c, plan.id, stored)
    else:
        store.reject_plan(c, plan.id, stored)
    observer.on_rejected(c, store.plan(c, plan.id) or plan, stored)
