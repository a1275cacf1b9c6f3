"""A call of a contract is simulated once more right before its nonce is taken, after the checks of `presign`.

Between acceptance and signature a contract may have changed, and a plan may have waited for minutes. Guarantees: a call
that would now take more of a listed asset than was declared, or leave a listed token approved for more, is not signed;
one that cannot be simulated now waits. Not guaranteed: what happens between here and the block; and a call that fails
now is the lane's to judge, which knows what is before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.tx.model import Intent
from chains.tx.store import PreSignCheck, PreSignPaused, PreSignRefused
from chains.types import CallRequest
from contracts.assets import AssetList
from contracts.deployments import Deployments
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.transactions.model import Terms, TransactionKind, TransactionState
from service.transactions.simulating import Allowed, refusal, simulate
from service.transactions.storage import transactions_by_plans


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedCheck:
    """`PreSignCheck` of one chain, around the one that decodes; it is itself the `ChainParts` of its simulations."""

    inner: PreSignCheck
    db: Database
    config: ChainConfig
    client: EvmClient
    assets: AssetList
    deployments: Deployments

    async def check(self, intent: Intent) -> None:
        """Raises: PreSignRefused."""
        [refused] = await self.check_all([intent])
        if refused is not None:
            raise refused

    async def check_all(self, intents: Sequence[Intent]) -> Sequence[PreSignRefused | None]:
        """`check` of each: what it would have raised, in its place. Raises: ChainError: the node does not answer."""
        found = list(await self.inner.check_all(intents))
        asked = [intent for intent, refused in zip(intents, found, strict=True) if refused is None]
        calls = await self.db.read(lambda c: _unsent_calls(c, asked)) if asked else {}
        for place, intent in enumerate(intents):
            if intent.id in calls and found[place] is None:
                found[place] = await self._look(intent, *calls[intent.id])
        return found

    async def _look(self, intent: Intent, terms: Terms, calls: Sequence[CallRequest]) -> PreSignRefused | None:
        allowed = Allowed(contract=terms.contract, most=terms.max_out, approvals=terms.approvals)
        try:
            head = await self.client.head()
            outcome = await simulate(self, intent.lane.wallet, calls, allowed=allowed, head=head)
        except ApiError as exc:
            return None if exc.code == "would_revert" else PreSignPaused(exc.message)
        refused = refusal(outcome, allowed=allowed, assets=self.assets)
        return None if refused is None else PreSignRefused(refused.message)


def _unsent_calls(c: Connection, intents: Sequence[Intent]) -> dict[str, tuple[Terms, Sequence[CallRequest]]]:
    """Terms and the plan's calls of those intents that are a contract's call not sent yet, by the intent's id."""
    found: dict[str, tuple[Terms, Sequence[CallRequest]]] = {}
    by_plan = {one.terms.plan_id: one for one in transactions_by_plans(c, {intent.plan_id for intent in intents})}
    for intent in intents:
        transaction = by_plan.get(intent.plan_id)
        if transaction is None or transaction.terms.kind is not TransactionKind.CONTRACT:
            continue
        # A replacement is of a call that others have seen already.
        if transaction.state is TransactionState.PROCESSING and intent.call == transaction.terms.call:
            plan = SqlTxStore().plan(c, intent.plan_id)
            if plan is not None:
                found[intent.id] = (transaction.terms, [step.call for step in plan.intents])
    return found
