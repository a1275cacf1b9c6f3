"""What a lane's batch is made of: the view it starts from, plans on their way to nonces, and the words for those that
do not go on.

Plain values and functions: nothing here asks a node or writes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chains.tx.model import Intent, IntentState, LaneLoad, LaneState, OpenTx, Plan, PlanId, Tx, TxId
from chains.tx.reasons import HoldCode, RejectCode, reason
from chains.types import Fees


class Leave(Exception):
    """What is to be said of a plan: the batch ends before it, with nothing taken for it."""


class Reject(Leave):
    def __init__(self, code: RejectCode, text: str) -> None:
        super().__init__(text)
        self.stored = reason(code, text)


class Hold(Leave):
    """Holds the lane."""

    def __init__(self, code: HoldCode, text: str) -> None:
        super().__init__(text)
        self.stored = reason(code, text)


class Wait(Leave):
    """Until later."""


class Starved(Wait):
    """Until there are funds for the fees; a person has to bring them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The lane as stored, read at once. `plans`: the started one alone, else the oldest that wait."""

    state: LaneState | None
    plans: Sequence[Plan]
    started: bool
    """Of the first plan some steps were placed."""
    plan_txs: Sequence[Tx]
    """Of the first plan, where it is started."""
    load: LaneLoad
    unfilled: Sequence[OpenTx]
    unusable: Sequence[TxId]
    """Nonces that were taken, and what of them is stored makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plan on its way to nonces: the intents that go now, with what each may use and offer."""

    plan: Plan
    intents: Sequence[Intent]
    gas_limits: Sequence[int] = ()
    fees: Sequence[Fees] = ()

    @property
    def value_wei(self) -> int:
        return sum(intent.call.value_wei for intent in self.intents)

    @property
    def most_gas_wei(self) -> int:
        return sum(limit * fee.max_fee_wei for limit, fee in zip(self.gas_limits, self.fees, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The reserved slots of one plan, and what to offer for each."""

    plan_id: PlanId
    slots: Sequence[OpenTx]
    fees: Sequence[Fees]
    refused: str | None = None
    """Why its nonces are closed instead, where that is known before the check is asked."""


def candidate(plan: Plan) -> Candidate:
    """The plan with its queued intents."""
    return Candidate(plan=plan, intents=[i for i in plan.intents if i.state is IntentState.QUEUED])


def placed(one: Candidate) -> Plan:
    """The plan as it is stored once its intents have their nonces."""
    now = {intent.id for intent in one.intents}
    intents = (replace(i, state=IntentState.PLACED) if i.id in now else i for i in one.plan.intents)
    return replace(one.plan, intents=tuple(intents))


def up_to_first_refused(batch: Sequence[Candidate], check: Callable[[Candidate], None]) -> list[Candidate]:
    """Those before the first of which `check` raises `Leave`. Raises: Leave: that is the first of all."""
    passed: list[Candidate] = []
    for one in batch:
        try:
            check(one)
        except Leave:
            if not passed:
                raise
            break
        passed.append(one)
    return passed
