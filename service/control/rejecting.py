"""Giving up plans that wait, from outside their lane: what an operator, or the end of a key, rejects.

Guarantees: one unit of work; what was reserved is released, the order or withdrawal tells why; a plan that a lane is
just placing is either rejected here or placed there, never both.
Not guaranteed: anything about steps that have a nonce; those are closed by self-sends.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection, update

from chains.config import ChainConfig
from chains.tx.model import IntentState, Plan, PlanId
from chains.tx.reasons import RejectCode, reason
from chains.tx.store import Clock, StaleState, TxObserver
from chains.types import ChainId
from contracts.assets import AssetList
from contracts.deployments import Deployments, load_deployments
from service.auth.authority import UNREADABLE, Tampered
from service.auth.secrets import MasterKey
from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.db import txstory
from service.db.models import intents
from service.db.txstore import SqlTxStore
from service.journal import reservations
from service.workers.observer import ChainObserver
from service.workers.unread import end_unread, record_unread

WAITING: Final = (IntentState.ACCEPTED, IntentState.QUEUED)


class RejectPlan(Params):
    named: str = Field(min_length=1, max_length=128)
    reason: str = Field(default="asked by the operator", min_length=1, max_length=200)


class Rejecter:
    """Rejects plans of all described chains; needs no node."""

    def __init__(
        self,
        *,
        configs: Mapping[str, ChainConfig],
        assets: Mapping[ChainId, AssetList],
        deployments: Deployments,
        master: MasterKey,
        clock: Clock,
    ) -> None:
        self._store = SqlTxStore()
        self.master: Final = master
        self._observers: dict[ChainId, TxObserver[Connection]] = {
            config.chain_id: ChainObserver(
                config,
                assets[config.chain_id],
                deployments=deployments,
                store=self._store,
                master=master,
                clock=clock,
            )
            for config in configs.values()
            if config.chain_id in assets
        }

    def reject_waiting(self, c: Connection, plan_ids: Sequence[PlanId], stored: str, *, now_ms: int) -> int:
        """`reject` of those of the plans that wait; no row of one keeps the others, or the unit of work, from it.

        One whose rows make no sense is given up by its id, with what it is of, and there is an entry of it.
        """
        rejected = 0
        for plan_id in plan_ids:
            try:
                # What was written of it, up to where it made no sense, is taken back.
                with c.begin_nested():
                    plan = self._store.plan(c, plan_id)
                    rejected += 0 if plan is None else self.reject(c, [plan], stored)
            except (Tampered, StaleState, *UNREADABLE):
                # Stale in one unit of work: its steps are in states that no plan of the service's has.
                values = {"state": IntentState.REJECTED, "reject_reason": stored}
                waits = (intents.c.plan_id == plan_id) & intents.c.state.in_(WAITING)
                c.execute(update(intents).where(waits).values(values))
                end_unread(c, plan_id, master=self.master, now_ms=now_ms)
                record_unread(c, plan_id, master=self.master, now_ms=now_ms)
                reservations.release(c, plan_id, now_ms)
                rejected += 1
        return rejected

    def reject(self, c: Connection, plans: Sequence[Plan], stored: str) -> int:
        """Reject what waits of each; how many plans that were. Those of chains that are not described stay."""
        rejected = 0
        for plan in plans:
            observer = self._observers.get(plan.lane.chain_id)
            if observer is None or not any(intent.state in WAITING for intent in plan.intents):
                continue
            if any(intent.state is IntentState.PLACED for intent in plan.intents):
                self._store.reject_rest(c, plan.id, stored)
            else:
                self._store.reject_plan(c, plan.id, stored)
            observer.on_rejected(c, self._store.plan(c, plan.id) or plan, stored)
            rejected += 1
        return rejected


async def reject(services: Services, params: RejectPlan) -> dict[str, Any]:
    """The owner's act: give up an order or withdrawal that waits in its wallet's queue."""
    rejecter = Rejecter(
        configs=services.configs,
        assets=services.assets,
        deployments=load_deployments(),
        master=services.master,
        clock=services.clock,
    )

    def run(c: Connection) -> dict[str, Any]:
        plan_id = txstory.find_plan(c, params.named)
        plan = None if plan_id is None else SqlTxStore().plan(c, plan_id)
        if plan is None:
            raise ActFailed("no_such_transaction", f"nothing here is called {params.named!r}", hint="cambist tx list")
        if rejecter.reject(c, [plan], reason(RejectCode.GIVEN_UP, params.reason)) == 0:
            raise ActFailed(
                "nothing_queued",
                f"no step of {params.named} waits without a nonce",
                hint=f"cambist tx show {params.named}; what has a nonce is closed by cambist tx cancel",
            )
        return {"plan": plan.id, "named": params.named, "reason": params.reason}

    try:
        return await services.db.run(run)
    except StaleState as exc:
        raise ActFailed(
            "nothing_queued", f"{params.named} was placed at this moment", hint="cambist tx cancel"
        ) from exc
