"""Places plans of one lane: simulate -> reserve -> price -> check -> sign -> save -> send, in batches.

A batch is the oldest plans that may go together. The reads of the node (wallet, head, fee history) are made once for
all of them, they are simulated as one sequence, and their nonces, and then their signed bytes, are each one unit of
work. The first plan of which anything is to be said (refused, short of funds, no room) ends the batch before it, and
is the next batch's first: so its verdict never rests on plans that were not placed.

Guarantees:
- plans are placed in the order they were queued; a plan is refused with nothing taken, or all its steps get adjacent
  nonces (step by step only where the node cannot simulate a sequence); a refusal concerns one plan only;
- a nonce is durable before a signature exists, and a signature before a byte leaves;
- every nonce taken is filled: by its intent's payload, or, when the check refuses it by then, by an empty self-send.
  A slot without an attempt (a crash or a signer failure left it) is filled before new work is taken;
- a plan that the wallet can pay but for the fees waits, with nothing taken, and goes on by itself once there are funds;
- a counter that ran ahead of the lane's slots and of the chain takes nothing, and is put right (chains.tx.drift);
- a held lane takes no new work, and a lane holds itself when the chain's nonce shows transactions that are not ours, or
  when a row of its slots makes no sense; of its plans only the one is refused of which a row makes none.

Not guaranteed: that two workers of one lane exclude each other. There must be one; the reservation's guard on the
lane's next nonce turns a second one into `StaleState`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Final, Generic, TypeVar

from chains.client import AccountState
from chains.crashpoints import reach
from chains.errors import FeeCapExceeded
from chains.fees import HISTORY_BLOCKS, TIP_PERCENTILE, FeeHistory, suggest, within_cost_cap
from chains.tx.batch import (
    Candidate,
    Hold,
    Reject,
    Starved,
    Taken,
    View,
    Wait,
    candidate,
    placed,
    up_to_first_refused,
)
from chains.tx.context import EngineParts
from chains.tx.drift import Drift, drifted_to
from chains.tx.filling import Filler
from chains.tx.model import (
    UNMINED_TX_STATES,
    IntentState,
    Lane,
    LaneState,
    OpenTx,
    Outcome,
    Plan,
    PlanId,
    Tx,
    TxState,
    payload_hash,
)
from chains.tx.reasons import HoldCode, RejectCode, reason
from chains.tx.sending import Sender
from chains.tx.simulation import Feasible, NotYet, Simulator
from chains.tx.store import PreSignPaused, StaleState, UnusableRow
from chains.tx.unusable import give_up, unusable_text

U = TypeVar("U")

MAX_BATCH_PLANS: Final = 64
"""Plans placed together: one JSON-RPC batch of sends, with room for plans of several steps (nodes take 100 calls), and
a simulation of some 0.1 s. Larger ones gain little and lose more to an endpoint that fails."""

log = logging.getLogger(__name__)


class Placing(StrEnum):
    """What one look at the lane came to."""

    PLACED = "placed"
    REJECTED = "rejected"
    NOTHING = "nothing"
    """No plan waits."""
    WAITING = "waiting"
    """A plan waits for something that time brings: a block, the signer, another transaction of the lane."""
    HELD = "held"


@dataclass(slots=True, kw_only=True)
class LaneMemory:
    """What is remembered of a lane between two looks: what was told of it, and since when its counter drifts."""

    told: PlanId | None = None
    drift: Drift | None = None


class LaneWorker(Generic[U]):
    """The one worker of a lane. `place_next` may be called again and again, never twice at a time."""

    def __init__(
        self, parts: EngineParts[U], lane: Lane, *, sender: Sender[U], simulator: Simulator, memory: LaneMemory
    ) -> None:
        self._parts = parts
        self._lane = lane
        self._filler = Filler(parts, lane, sender)
        self._simulator = simulator
        self._memory = memory

    async def place_next(self) -> Placing:
        """Fill what was left unfilled, then place the oldest plans, or reject the oldest.

        Raises: RpcError, SignerUnavailable, StaleState: try again later; whatever was taken is filled then.
        """
        try:
            view = await self._parts.uow.read(self._read)
        except UnusableRow as exc:
            await self._filler.hold(reason(HoldCode.UNUSABLE_ROW, str(exc)))
            return Placing.HELD
        if view.unusable:
            await self._filler.hold(reason(HoldCode.UNUSABLE_ROW, unusable_text(view.unusable)))
            return Placing.HELD
        if view.unfilled:
            await self._filler.fill(view.unfilled)
            return Placing.WAITING if view.plans else Placing.NOTHING
        if not view.plans:
            return Placing.NOTHING
        try:
            self._check_usable(view.plans[0])
            self._check_expiry(view.plans[0])
            if view.state is not None and view.state.hold_reason is not None:
                return Placing.HELD
            await self._place(view)
        except Wait as waiting:
            self._tell(view.plans[0], waiting)
            return Placing.WAITING
        except Hold as hold:
            await self._filler.hold(hold.stored)
            return Placing.HELD
        except Reject as rejected:
            await self._reject(view.plans[0], rejected.stored, started=view.started)
            return Placing.REJECTED
        return Placing.PLACED

    # -- the steps ----------------------------------------------------------------------------------------

    async def _place(self, view: View) -> None:
        """Place the first plans of the view, as many as may go together. Raises: Leave: what is said of the first."""
        batch = self._with_room(view)
        reach("K3")
        if self._lane.wallet not in await self._parts.signer.addresses():
            raise Reject(RejectCode.NO_SIGNER, f"no key is unlocked for {self._lane.wallet}")
        batch = await self._checked_first(batch)
        account = await self._parts.client.account(self._lane.wallet)
        reach("K4")
        state = view.state or await self._open_lane(account)
        await self._check_drift(state, account, view)
        self._check_nonces(state, account, view)
        batch = self._affordable(batch, account, view)
        batch = await self._simulated(batch, view)
        batch = await self._priced(batch)
        batch = self._affordable(batch, account, view)
        batch = up_to_first_refused(batch, lambda one: self._check_expiry(one.plan))
        await self._filler.sign_and_send(await self._reserve(batch, first_nonce=state.next_nonce))

    def _with_room(self, view: View) -> list[Candidate]:
        """Pools keep so many of a sender's transactions and may drop the rest. A longer plan still goes alone."""
        self._check_earlier_steps(view)
        most, under_way = self._parts.config.sending.max_in_flight, view.load.unmined

        def check(one: Candidate) -> None:
            nonlocal under_way
            self._check_usable(one.plan)
            if under_way and under_way + len(one.intents) > most:
                raise Wait(f"{under_way} transactions of the lane are not mined yet, {most} may be")
            under_way += len(one.intents)

        return up_to_first_refused([candidate(plan) for plan in view.plans], check)

    async def _checked_first(self, batch: Sequence[Candidate]) -> list[Candidate]:
        refusals = iter(await self._parts.check.check_all([intent for one in batch for intent in one.intents]))

        def check(one: Candidate) -> None:
            of_plan = [(intent, next(refusals)) for intent in one.intents]
            for intent, refusal in of_plan:
                if payload_hash(intent.lane, intent.call) != intent.payload_hash:
                    text = f"step {intent.position + 1} is not what was accepted"
                    log.critical("%s: the stored payload of %s was changed", self._lane.wallet, intent.id)
                    raise Reject(RejectCode.PAYLOAD_MISMATCH, text)
                if (nonce := self._parts.signed.nonce_of(intent.id)) is not None:
                    text = f"step {intent.position + 1} was signed at nonce {nonce}: what is stored of that is gone"
                    log.critical("%s: %s was put back", self._lane.wallet, intent.id)
                    raise Reject(RejectCode.SIGNED_BEFORE, text)
                if isinstance(refusal, PreSignPaused):
                    raise Wait(str(refusal))
                if refusal is not None:
                    raise Reject(RejectCode.PRESIGN_REFUSED, str(refusal))

        return up_to_first_refused(batch, check)

    async def _simulated(self, batch: Sequence[Candidate], view: View) -> list[Candidate]:
        head = await self._parts.client.head()
        verdicts = await self._simulator.simulate(
            [one.intents for one in batch], head=head, lane_is_idle=not view.load.unmined
        )
        feasible: list[Candidate] = []
        for one, verdict in zip(batch, verdicts, strict=False):
            if isinstance(verdict, Feasible):
                now = one.intents[: len(verdict.gas_limits)]
                feasible.append(replace(one, intents=now, gas_limits=verdict.gas_limits))
                continue
            if feasible:
                break
            if isinstance(verdict, NotYet):
                raise Wait("it is simulated again once the lane's open transactions are mined")
            if verdict.code is RejectCode.INSUFFICIENT_FUNDS:
                # What is sent was found to be there: the node means the fees.
                raise Starved(verdict.text)
            raise Reject(verdict.code, verdict.text)
        return feasible

    async def _priced(self, batch: Sequence[Candidate]) -> list[Candidate]:
        history, policy = await self._history(), self._parts.config.fees
        base = history.next_base_fee_wei
        priced: list[Candidate] = []
        try:
            fees = suggest(history, policy)
            for one in batch:
                each = [
                    within_cost_cap(
                        fees, gas_limit=gas, base_fee_wei=base, policy=policy, max_cost_wei=intent.max_gas_cost_wei
                    )
                    for intent, gas in zip(one.intents, one.gas_limits, strict=True)
                ]
                priced.append(replace(one, fees=each))
        except FeeCapExceeded as exc:
            if not priced:
                raise Reject(RejectCode.FEE_CAP, str(exc)) from exc
        return priced

    async def _reserve(self, batch: Sequence[Candidate], *, first_nonce: int) -> list[Taken]:
        """The nonces of all plans in one unit of work."""
        parts = self._parts
        wanted = [(intent.id, gas) for one in batch for intent, gas in zip(one.intents, one.gas_limits, strict=True)]

        def work(u: U) -> Sequence[Tx]:
            state = parts.store.lane(u, self._lane)
            if state is None or state.hold_reason is not None:
                raise StaleState(f"{self._lane} was held meanwhile")
            txs = parts.store.reserve(u, self._lane, wanted, first_nonce=first_nonce, now_ms=parts.clock.now_ms())
            left = iter(txs)
            for one in batch:
                parts.observer.on_placed(u, placed(one), [next(left) for _ in one.intents])
            return txs

        txs = iter(await parts.uow.run(work))
        return [
            Taken(
                plan_id=one.plan.id,
                slots=[
                    OpenTx(
                        tx=next(txs),
                        intent=replace(intent, state=IntentState.PLACED),
                        attempts=(),
                        valid_until_ms=one.plan.valid_until_ms,
                    )
                    for intent in one.intents
                ],
                fees=one.fees,
            )
            for one in batch
        ]

    def _tell(self, plan: Plan, waiting: Wait) -> None:
        """A want of funds is said once a plan, as a warning: somebody has to bring them."""
        is_new = isinstance(waiting, Starved) and self._memory.told != plan.id
        level = logging.WARNING if is_new else logging.DEBUG
        log.log(level, "%s: %s waits: %s", self._lane.wallet, plan.id, waiting)
        if is_new:
            self._memory.told = plan.id

    # -- the checks, all before anything is taken ---------------------------------------------------------

    def _is_expired(self, plan: Plan) -> bool:
        return plan.valid_until_ms is not None and self._parts.clock.now_ms() >= plan.valid_until_ms

    def _check_usable(self, plan: Plan) -> None:
        if plan.unusable:
            raise Reject(RejectCode.UNUSABLE_ROW, "a row of it makes no sense: something else has written it")

    def _check_expiry(self, plan: Plan) -> None:
        if self._is_expired(plan):
            raise Reject(RejectCode.EXPIRED, "its time passed before it could be placed")

    def _check_earlier_steps(self, view: View) -> None:
        """Of a plan placed step by step: all steps before must have been mined, with success."""
        by_intent = {tx.intent_id: tx for tx in view.plan_txs}
        for intent in view.plans[0].intents:
            if intent.state is not IntentState.PLACED:
                continue
            tx = by_intent.get(intent.id)
            if tx is None or tx.state in UNMINED_TX_STATES:
                raise Wait("a step before is not mined yet")
            if tx.outcome is not Outcome.SUCCEEDED:
                text = f"step {intent.position + 1} ended as {tx.state}, {tx.outcome}"
                raise Reject(RejectCode.EARLIER_STEP_FAILED, text)

    async def _open_lane(self, account: AccountState) -> LaneState:
        """First use of the wallet here: start at the chain's nonce, once nothing else of it is pending."""
        if account.nonce_pending > account.nonce_latest:
            raise Wait("the wallet has pending transactions that are not ours")
        return await self._parts.uow.run(lambda u: self._parts.store.open_lane(u, self._lane, account.nonce_latest))

    async def _check_drift(self, state: LaneState, account: AccountState, view: View) -> None:
        """Put the counter right once it was seen ahead of all slots for long enough; nothing is placed before."""
        to = drifted_to(state, seen=max(account.nonce_latest, account.nonce_pending), last_nonce=view.load.last_nonce)
        if to is None:
            self._memory.drift = None
            return
        parts, text = self._parts, f"its counter is at {state.next_nonce}, its slots and the chain are at {to}"
        head = (await parts.client.head()).number
        now = Drift(counter=state.next_nonce, to=to, since_s=parts.clock.monotonic_s(), since_head=head)
        if self._memory.drift is None or (self._memory.drift.counter, self._memory.drift.to) != (now.counter, now.to):
            self._memory.drift = now
            log.error("%s waits: %s", self._lane.wallet, text)
        if not self._memory.drift.stands(now):
            raise Wait(text)
        await parts.uow.run(lambda u: parts.store.take_back_nonce(u, self._lane, state.next_nonce, to))
        self._memory.drift = None
        log.error("%s: %s; it was put right", self._lane.wallet, text)
        raise Wait("its counter was put right")

    def _check_nonces(self, state: LaneState, account: AccountState, view: View) -> None:
        seen = max(account.nonce_latest, account.nonce_pending)
        if seen > state.next_nonce:
            text = f"the chain is at nonce {seen}, this lane at {state.next_nonce}: another program uses this key"
            raise Hold(HoldCode.FOREIGN_NONCE, text)
        if seen < state.next_nonce and not view.load.open:
            text = f"the chain is at nonce {seen}, this lane at {state.next_nonce}, and nothing of ours is open"
            raise Hold(HoldCode.NONCE_AHEAD, text)

    def _affordable(self, batch: Sequence[Candidate], account: AccountState, view: View) -> list[Candidate]:
        """Pools take a transaction only if the balance covers the most that all of the sender's may cost. Before the
        plans are priced it is their value alone that counts."""
        free_wei = account.balance_wei - view.load.committed_wei

        def check(one: Candidate) -> None:
            nonlocal free_wei
            value, gas = one.value_wei, one.most_gas_wei
            if value + gas > free_wei:
                if view.load.unmined:
                    raise Wait("open transactions of the lane may use less than they might, or bring funds")
                if not one.fees:
                    text = f"{value} wei are sent, {account.balance_wei} are there"
                    raise Reject(RejectCode.INSUFFICIENT_FUNDS, text)
                text = f"up to {gas} wei of fees on top of {value} sent, {account.balance_wei} are there"
                raise Starved(text)
            free_wei -= value + gas

        return up_to_first_refused(batch, check)

    async def _history(self) -> FeeHistory:
        return await self._parts.client.fee_history(HISTORY_BLOCKS, [TIP_PERCENTILE])

    # -- the store ----------------------------------------------------------------------------------------

    def _read(self, uow: U) -> View:
        store = self._parts.store
        started = store.started_plan(uow, self._lane)
        plans = store.next_plans(uow, self._lane, MAX_BATCH_PLANS) if started is None else [started]
        chain_id, reserved = self._lane.chain_id, [TxState.RESERVED]
        unfilled = store.open_txs(uow, chain_id, lane=self._lane, states=reserved)
        return View(
            state=store.lane(uow, self._lane),
            plans=plans,
            started=started is not None,
            plan_txs=() if started is None or started.unusable else store.plan_txs(uow, started.id),
            load=store.lane_load(uow, self._lane),
            unfilled=unfilled,
            unusable=[one.tx_id for one in store.unusable(uow, chain_id, unfilled, states=reserved, lane=self._lane)],
        )

    async def _reject(self, plan: Plan, stored: str, *, started: bool) -> None:
        await self._parts.uow.run(partial(give_up, self._parts, plan, stored, started=started))
        level = logging.CRITICAL if plan.unusable else logging.INFO
        log.log(level, "%s: %s is rejected: %s", self._lane.wallet, plan.id, stored)
