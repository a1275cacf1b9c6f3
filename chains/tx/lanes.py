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
- a held lane takes no new work, and a lane holds itself when the chain's nonce shows transactions that are not ours.

Not guaranteed: that two workers of one lane exclude each other. There must be one; the reservation's guard on the
lane's next nonce turns a second one into `StaleState`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import Final, Generic, TypeVar

from chains.client import AccountState
from chains.crashpoints import reach
from chains.errors import FeeCapExceeded, SignerUnavailable, SigningError
from chains.fees import HISTORY_BLOCKS, TIP_PERCENTILE, FeeHistory, suggest, within_cost_cap
from chains.tx.context import EngineParts
from chains.tx.drift import Drift, drifted_to
from chains.tx.model import (
    UNMINED_TX_STATES,
    AttemptKind,
    Intent,
    IntentState,
    Lane,
    LaneLoad,
    LaneState,
    OpenTx,
    Outcome,
    Plan,
    PlanId,
    Tx,
    TxState,
    Wish,
    payload_hash,
)
from chains.tx.reasons import HoldCode, RejectCode, reason
from chains.tx.sending import Sender
from chains.tx.signing import sign_attempt
from chains.tx.simulation import Feasible, NotYet, Simulator
from chains.tx.store import PreSignPaused, StaleState
from chains.types import Fees

U = TypeVar("U")

MAX_BATCH_PLANS: Final = 64
"""Plans placed together: one JSON-RPC batch of sends, with room for plans of several steps (nodes take 100 calls), and
a simulation of some 0.1 s. Larger ones gain little and lose more to an endpoint that fails."""
SIGN_SLICE_S: Final = 0.5
"""How long signing may go on before what is signed is saved and sent and the checks are asked again: half of the second
within which a pause has to hold. A key in this process signs a batch in a hundredth of it."""

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


class _Leave(Exception):
    """What is to be said of a plan: the batch ends before it, with nothing taken for it."""


class _Reject(_Leave):
    def __init__(self, code: RejectCode, text: str) -> None:
        super().__init__(text)
        self.stored = reason(code, text)


class _Hold(_Leave):
    """Holds the lane."""

    def __init__(self, code: HoldCode, text: str) -> None:
        super().__init__(text)
        self.stored = reason(code, text)


class _Wait(_Leave):
    """Until later."""


class _Starved(_Wait):
    """Until there are funds for the fees; a person has to bring them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The lane as stored, read at once. `plans`: the started one alone, else the oldest that wait."""

    state: LaneState | None
    plans: Sequence[Plan]
    plan_txs: Sequence[Tx]
    """Of the first plan."""
    load: LaneLoad
    unfilled: Sequence[OpenTx]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
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
class _Taken:
    """The reserved slots of one plan, and what to offer for each."""

    plan_id: PlanId
    slots: Sequence[OpenTx]
    fees: Sequence[Fees]
    expired: bool = False


class LaneWorker(Generic[U]):
    """The one worker of a lane. `place_next` may be called again and again, never twice at a time."""

    def __init__(self, parts: EngineParts[U], lane: Lane, *, sender: Sender[U], simulator: Simulator) -> None:
        self._parts = parts
        self._lane = lane
        self._sender = sender
        self._simulator = simulator
        self._told: PlanId | None = None
        self._drift: Drift | None = None

    async def place_next(self) -> Placing:
        """Fill what was left unfilled, then place the oldest plans, or reject the oldest.

        Raises: RpcError, SignerUnavailable, StaleState: try again later; whatever was taken is filled then.
        """
        view = await self._parts.uow.read(self._read)
        if view.unfilled:
            await self.fill(view.unfilled)
            return Placing.WAITING if view.plans else Placing.NOTHING
        if not view.plans:
            return Placing.NOTHING
        try:
            self._check_expiry(view.plans[0])
            if view.state is not None and view.state.hold_reason is not None:
                return Placing.HELD
            await self._place(view)
        except _Wait as waiting:
            self._tell(view.plans[0], waiting)
            return Placing.WAITING
        except _Hold as hold:
            await self._hold(hold.stored)
            return Placing.HELD
        except _Reject as rejected:
            await self._reject(view.plans[0], rejected.stored)
            return Placing.REJECTED
        return Placing.PLACED

    async def fill(self, slots: Sequence[OpenTx]) -> None:
        """Sign, save and send slots that have no attempt; all of a plan by self-sends if one is refused now.

        Raises: RpcError, SignerUnavailable: nothing new was signed or, if so, it is saved.
        """
        history, policy = await self._history(), self._parts.config.fees
        base = history.next_base_fee_wei
        taken: list[_Taken] = []
        for plan_id, group in groupby(slots, key=lambda slot: slot.intent.plan_id):
            of_plan = list(group)
            limits = [slot.tx.gas_limit for slot in of_plan]
            try:
                fees = suggest(history, policy)
                priced = [within_cost_cap(fees, gas_limit=gas, base_fee_wei=base, policy=policy) for gas in limits]
            except FeeCapExceeded as exc:
                log.warning("%s: a taken nonce stays open while fees are above the cap: %s", self._lane.wallet, exc)
                break
            plan = await self._plan(plan_id)
            expired = plan is None or self._is_expired(plan)
            taken.append(_Taken(plan_id=plan_id, slots=of_plan, fees=priced, expired=expired))
        await self._sign_and_send(taken)

    # -- the steps ----------------------------------------------------------------------------------------

    async def _place(self, view: _View) -> None:
        """Place the first plans of the view, as many as may go together. Raises: _Leave: what is said of the first."""
        batch = self._with_room(view)
        reach("K3")
        if self._lane.wallet not in await self._parts.signer.addresses():
            raise _Reject(RejectCode.NO_SIGNER, f"no key is unlocked for {self._lane.wallet}")
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
        batch = _up_to_first_refused(batch, lambda one: self._check_expiry(one.plan))
        await self._sign_and_send(await self._reserve(batch, first_nonce=state.next_nonce))

    def _with_room(self, view: _View) -> list[_Candidate]:
        """Pools keep so many of a sender's transactions and may drop the rest. A longer plan still goes alone."""
        self._check_earlier_steps(view)
        most, under_way = self._parts.config.sending.max_in_flight, view.load.unmined

        def check(one: _Candidate) -> None:
            nonlocal under_way
            if under_way and under_way + len(one.intents) > most:
                raise _Wait(f"{under_way} transactions of the lane are not mined yet, {most} may be")
            under_way += len(one.intents)

        return _up_to_first_refused([_candidate(plan) for plan in view.plans], check)

    async def _checked_first(self, batch: Sequence[_Candidate]) -> list[_Candidate]:
        refusals = iter(await self._parts.check.check_all([intent for one in batch for intent in one.intents]))

        def check(one: _Candidate) -> None:
            of_plan = [(intent, next(refusals)) for intent in one.intents]
            for intent, refusal in of_plan:
                if payload_hash(intent.lane, intent.call) != intent.payload_hash:
                    text = f"step {intent.position + 1} is not what was accepted"
                    log.critical("%s: the stored payload of %s was changed", self._lane.wallet, intent.id)
                    raise _Reject(RejectCode.PAYLOAD_MISMATCH, text)
                if isinstance(refusal, PreSignPaused):
                    raise _Wait(str(refusal))
                if refusal is not None:
                    raise _Reject(RejectCode.PRESIGN_REFUSED, str(refusal))

        return _up_to_first_refused(batch, check)

    async def _simulated(self, batch: Sequence[_Candidate], view: _View) -> list[_Candidate]:
        head = await self._parts.client.head()
        verdicts = await self._simulator.simulate(
            [one.intents for one in batch], head=head, lane_is_idle=not view.load.unmined
        )
        feasible: list[_Candidate] = []
        for one, verdict in zip(batch, verdicts, strict=False):
            if isinstance(verdict, Feasible):
                now = one.intents[: len(verdict.gas_limits)]
                feasible.append(replace(one, intents=now, gas_limits=verdict.gas_limits))
                continue
            if feasible:
                break
            if isinstance(verdict, NotYet):
                raise _Wait("it is simulated again once the lane's open transactions are mined")
            if verdict.code is RejectCode.INSUFFICIENT_FUNDS:
                # What is sent was found to be there: the node means the fees.
                raise _Starved(verdict.text)
            raise _Reject(verdict.code, verdict.text)
        return feasible

    async def _priced(self, batch: Sequence[_Candidate]) -> list[_Candidate]:
        history, policy = await self._history(), self._parts.config.fees
        base = history.next_base_fee_wei
        priced: list[_Candidate] = []
        try:
            fees = suggest(history, policy)
            for one in batch:
                each = [
                    within_cost_cap(fees, gas_limit=gas, base_fee_wei=base, policy=policy) for gas in one.gas_limits
                ]
                priced.append(replace(one, fees=each))
        except FeeCapExceeded as exc:
            if not priced:
                raise _Reject(RejectCode.FEE_CAP, str(exc)) from exc
        return priced

    async def _reserve(self, batch: Sequence[_Candidate], *, first_nonce: int) -> list[_Taken]:
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
                parts.observer.on_placed(u, _placed(one), [next(left) for _ in one.intents])
            return txs

        txs = iter(await parts.uow.run(work))
        return [
            _Taken(
                plan_id=one.plan.id,
                slots=[
                    OpenTx(tx=next(txs), intent=replace(intent, state=IntentState.PLACED), attempts=())
                    for intent in one.intents
                ],
                fees=one.fees,
            )
            for one in batch
        ]

    async def _sign_and_send(self, taken: Sequence[_Taken]) -> None:
        """Fill the slots, in the order of nonces: check, sign, save, send, in slices of `SIGN_SLICE_S`."""
        while taken:
            kinds = await self._kinds(taken)
            signed: list[OpenTx] = []
            failure: SigningError | None = None
            done, until_s = 0, self._parts.clock.monotonic_s() + SIGN_SLICE_S
            for one, kind in zip(taken, kinds, strict=True):
                try:
                    signed += await self._signed(one, kind)
                except SigningError as exc:
                    failure = exc
                    break
                done += 1
                if self._parts.clock.monotonic_s() >= until_s:
                    break
            if signed:
                await self._save_and_send(signed)
            if isinstance(failure, SignerUnavailable):
                raise failure
            if failure is not None:
                await self._hold(reason(HoldCode.SIGNING_FAILED, str(failure)))
                return
            taken = taken[done:]

    async def _kinds(self, taken: Sequence[_Taken]) -> list[AttemptKind]:
        """The last look, after the nonces were taken: what to fill each plan's slots with. One refusal closes all of
        its plan."""
        refusals = iter(await self._parts.check.check_all([slot.intent for one in taken for slot in one.slots]))
        kinds: list[AttemptKind] = []
        for one in taken:
            why = next((str(told) for told in [next(refusals) for _ in one.slots] if told is not None), None)
            if one.expired:
                why = "its time has passed"
            elif any(slot.tx.wish is Wish.CANCEL for slot in one.slots):
                why = "it is to be cancelled"
            elif any(payload_hash(s.intent.lane, s.intent.call) != s.intent.payload_hash for s in one.slots):
                why = "the payload is not the one that was accepted"
            if why is not None:
                log.warning("%s: %s is refused, its nonces are closed: %s", self._lane.wallet, one.plan_id, why)
            kinds.append(AttemptKind.REAL if why is None else AttemptKind.CANCEL)
        return kinds

    async def _signed(self, one: _Taken, kind: AttemptKind) -> list[OpenTx]:
        """All slots of a plan, or none. Raises: SigningError."""
        now_ms = self._parts.clock.now_ms()
        return [
            replace(slot, attempts=(await sign_attempt(self._parts.signer, slot, fee, kind=kind, now_ms=now_ms),))
            for slot, fee in zip(one.slots, one.fees, strict=True)
        ]

    async def _save_and_send(self, signed: Sequence[OpenTx]) -> None:
        parts, now_ms = self._parts, self._parts.clock.now_ms()
        attempts = [slot.attempts[-1] for slot in signed]
        reach("K5")
        self._sender.claim(attempts)
        await parts.uow.run(lambda u: parts.store.save_attempts(u, attempts, now_ms))
        reach("K6")
        await self._sender.send([replace(slot, tx=replace(slot.tx, state=TxState.SIGNED)) for slot in signed])

    def _tell(self, plan: Plan, waiting: _Wait) -> None:
        """A want of funds is said once a plan, as a warning: somebody has to bring them."""
        is_new = isinstance(waiting, _Starved) and self._told != plan.id
        level = logging.WARNING if is_new else logging.DEBUG
        log.log(level, "%s: %s waits: %s", self._lane.wallet, plan.id, waiting)
        if is_new:
            self._told = plan.id

    # -- the checks, all before anything is taken ---------------------------------------------------------

    def _is_expired(self, plan: Plan) -> bool:
        return plan.valid_until_ms is not None and self._parts.clock.now_ms() >= plan.valid_until_ms

    def _check_expiry(self, plan: Plan) -> None:
        if self._is_expired(plan):
            raise _Reject(RejectCode.EXPIRED, "its time passed before it could be placed")

    def _check_earlier_steps(self, view: _View) -> None:
        """Of a plan placed step by step: all steps before must have been mined, with success."""
        by_intent = {tx.intent_id: tx for tx in view.plan_txs}
        for intent in view.plans[0].intents:
            if intent.state is not IntentState.PLACED:
                continue
            tx = by_intent.get(intent.id)
            if tx is None or tx.state in UNMINED_TX_STATES:
                raise _Wait("a step before is not mined yet")
            if tx.outcome is not Outcome.SUCCEEDED:
                text = f"step {intent.position + 1} ended as {tx.state}, {tx.outcome}"
                raise _Reject(RejectCode.EARLIER_STEP_FAILED, text)

    async def _open_lane(self, account: AccountState) -> LaneState:
        """First use of the wallet here: start at the chain's nonce, once nothing else of it is pending."""
        if account.nonce_pending > account.nonce_latest:
            raise _Wait("the wallet has pending transactions that are not ours")
        return await self._parts.uow.run(lambda u: self._parts.store.open_lane(u, self._lane, account.nonce_latest))

    async def _check_drift(self, state: LaneState, account: AccountState, view: _View) -> None:
        """Put the counter right once it was seen ahead of all slots for long enough; nothing is placed before."""
        to = drifted_to(state, seen=max(account.nonce_latest, account.nonce_pending), last_nonce=view.load.last_nonce)
        if to is None:
            self._drift = None
            return
        parts, text = self._parts, f"its counter is at {state.next_nonce}, its slots and the chain are at {to}"
        head = (await parts.client.head()).number
        now = Drift(counter=state.next_nonce, to=to, since_s=parts.clock.monotonic_s(), since_head=head)
        if self._drift is None or (self._drift.counter, self._drift.to) != (now.counter, now.to):
            self._drift = now
            log.error("%s waits: %s", self._lane.wallet, text)
        if not self._drift.stands(now):
            raise _Wait(text)
        await parts.uow.run(lambda u: parts.store.take_back_nonce(u, self._lane, state.next_nonce, to))
        self._drift = None
        log.error("%s: %s; it was put right", self._lane.wallet, text)
        raise _Wait("its counter was put right")

    def _check_nonces(self, state: LaneState, account: AccountState, view: _View) -> None:
        seen = max(account.nonce_latest, account.nonce_pending)
        if seen > state.next_nonce:
            text = f"the chain is at nonce {seen}, this lane at {state.next_nonce}: another program uses this key"
            raise _Hold(HoldCode.FOREIGN_NONCE, text)
        if seen < state.next_nonce and not view.load.open:
            text = f"the chain is at nonce {seen}, this lane at {state.next_nonce}, and nothing of ours is open"
            raise _Hold(HoldCode.NONCE_AHEAD, text)

    def _affordable(self, batch: Sequence[_Candidate], account: AccountState, view: _View) -> list[_Candidate]:
        """Pools take a transaction only if the balance covers the most that all of the sender's may cost. Before the
        plans are priced it is their value alone that counts."""
        free_wei = account.balance_wei - view.load.committed_wei

        def check(one: _Candidate) -> None:
            nonlocal free_wei
            value, gas = one.value_wei, one.most_gas_wei
            if value + gas > free_wei:
                if view.load.unmined:
                    raise _Wait("open transactions of the lane may use less than they might, or bring funds")
                if not one.fees:
                    text = f"{value} wei are sent, {account.balance_wei} are there"
                    raise _Reject(RejectCode.INSUFFICIENT_FUNDS, text)
                text = f"up to {gas} wei of fees on top of {value} sent, {account.balance_wei} are there"
                raise _Starved(text)
            free_wei -= value + gas

        return _up_to_first_refused(batch, check)

    async def _history(self) -> FeeHistory:
        return await self._parts.client.fee_history(HISTORY_BLOCKS, [TIP_PERCENTILE])

    # -- the store ----------------------------------------------------------------------------------------

    def _read(self, uow: U) -> _View:
        store = self._parts.store
        started = store.started_plan(uow, self._lane)
        plans = store.next_plans(uow, self._lane, MAX_BATCH_PLANS) if started is None else [started]
        chain_id, reserved = self._lane.chain_id, [TxState.RESERVED]
        return _View(
            state=store.lane(uow, self._lane),
            plans=plans,
            plan_txs=() if started is None else store.plan_txs(uow, started.id),
            load=store.lane_load(uow, self._lane),
            unfilled=store.open_txs(uow, chain_id, lane=self._lane, states=reserved),
        )

    async def _plan(self, plan_id: PlanId) -> Plan | None:
        return await self._parts.uow.read(lambda u: self._parts.store.plan(u, plan_id))

    async def _hold(self, stored: str) -> None:
        """Hold the lane, unless it is held: the first reason is the one to look into."""
        store = self._parts.store

        def work(u: U) -> bool:
            state = store.lane(u, self._lane)
            if state is None or state.hold_reason is not None:
                return False
            store.hold_lane(u, self._lane, stored)
            return True

        if await self._parts.uow.run(work):
            log.error("%s takes no new work: %s", self._lane.wallet, stored)

    async def _reject(self, plan: Plan, stored: str) -> None:
        parts = self._parts
        started = any(intent.state is IntentState.PLACED for intent in plan.intents)

        def work(u: U) -> None:
            if started:
                parts.store.reject_rest(u, plan.id, stored)
            else:
                parts.store.reject_plan(u, plan.id, stored)
            parts.observer.on_rejected(u, parts.store.plan(u, plan.id) or plan, stored)

        await parts.uow.run(work)
        log.info("%s: %s is rejected: %s", self._lane.wallet, plan.id, stored)


def _candidate(plan: Plan) -> _Candidate:
    return _Candidate(plan=plan, intents=[i for i in plan.intents if i.state is IntentState.QUEUED])


def _placed(one: _Candidate) -> Plan:
    """The plan as it is stored once its intents have their nonces."""
    now = {intent.id for intent in one.intents}
    intents = (replace(i, state=IntentState.PLACED) if i.id in now else i for i in one.plan.intents)
    return replace(one.plan, intents=tuple(intents))


def _up_to_first_refused(batch: Sequence[_Candidate], check: Callable[[_Candidate], None]) -> list[_Candidate]:
    """Those before the first of which `check` raises `_Leave`. Raises: _Leave: that is the first of all."""
    passed: list[_Candidate] = []
    for one in batch:
        try:
            check(one)
        except _Leave:
            if not passed:
                raise
            break
        passed.append(one)
    return passed
