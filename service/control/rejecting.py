"""Giving up plans that wait, from outside their lane: what an operator, or the end of a key, rejects.

Guarantees: one unit of work; what was reserved is released, the order or withdrawal tells why; a plan that a lane is
just placing is either rejected here or placed there, never both.
Not guaranteed: anything about steps that have a nonce; those are closed by self-sends.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field
from sqlalchemy import Connection

from chains.config import ChainConfig
from chains.tx.model import IntentState, Plan
from chains.tx.reasons import RejectCode, reason
from chains.tx.store import Clock, StaleState, TxObserver
from chains.types import ChainId
from contracts.assets import AssetList
from contracts.deployments import Deployments, load_deployments
from service.auth.secrets import MasterKey
from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed
from service.db import txstory
from service.db.txstore import SqlTxStore
from service.workers.observer import ChainObserver

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
