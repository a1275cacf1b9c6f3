"""Places plans of one lane: simulate -> reserve -> price -> check -> sign -> save -> send, one plan at a time.

Guarantees:
- a plan is refused with nothing taken, or all its steps get adjacent nonces (step by step only where the node cannot
  simulate a sequence);
- a nonce is durable before a signature exists, and a signature before a byte leaves;
- every nonce taken is filled: by its intent's payload, or, when the check refuses it by then, by an empty self-send.
  A slot without an attempt (a crash or a signer failure left it) is filled before new work is taken;
- a held lane takes no new work, and a lane holds itself when the chain's nonce shows transactions that are not ours.

Not guaranteed: that two workers of one lane exclude each other. There must be one; the reservation's guard on the
lane's next nonce turns a second one into `StaleState`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby
from typing import Generic, TypeVar

from chains.client import AccountState
from chains.crashpoints import reach
from chains.errors import FeeCapExceeded, SignerUnavailable, SigningError
from chains.fees import HISTORY_BLOCKS, TIP_PERCENTILE, FeeHistory, suggest, within_cost_cap
from chains.tx.context import EngineParts
from chains.tx.model import (
    UNMINED_TX_STATES,
    AttemptKind,
    Intent,
    IntentState,
    Lane,
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
from chains.tx.simulation import Failing, NotYet, Simulator
from chains.tx.store import PreSignPaused, PreSignRefused, StaleState
from chains.types import Fees

U = TypeVar("U")

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


class _Reject(Exception):
    """Leaves the placing of a plan, with nothing taken."""

    def __init__(self, code: RejectCode, text: str) -> None:
        super().__init__(text)
        self.stored = reason(code, text)


class _Hold(Exception):
    """Leaves the placing of a plan and holds the lane."""

    def __init__(self, code: HoldCode, text: str) -> None:
        super().__init__(text)
        self.stored = reason(code, text)


class _Wait(Exception):
    """Leaves the placing of a plan until later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _View(Generic[U]):
    """The lane as stored, read at once."""

    state: LaneState | None
    plan: Plan | None
    plan_txs: Sequence[Tx]
    open: Sequence[OpenTx]

    @property
    def unmined(self) -> Sequence[OpenTx]:
        return [slot for slot in self.open if slot.tx.state in UNMINED_TX_STATES]

    @property
    def unfilled(self) -> Sequence[OpenTx]:
        return [slot for slot in self.open if slot.tx.state is TxState.RESERVED]


class LaneWorker(Generic[U]):
    """The one worker of a lane. `place_next` may be called again and again, never twice at a time."""

    def __init__(self, parts: EngineParts[U], lane: Lane, *, sender: Sender[U], simulator: Simulator) -> None:
        self._parts = parts
        self._lane = lane
        self._sender = sender
        self._simulator = simulator

    async def place_next(self) -> Placing:
        """Fill what was left unfilled, then place or reject the oldest plan.

        Raises: RpcError, SignerUnavailable, StaleState: try again later; whatever was taken is filled then.
        """
        view = await self._parts.uow.read(self._read)
        if view.unfilled:
            await self.fill(view.unfilled)
            return Placing.WAITING if view.plan is not None else Placing.NOTHING
        plan = view.plan
        if plan is None:
            return Placing.NOTHING
        try:
            self._check_expiry(plan)
            if view.state is not None and view.state.hold_reason is not None:
                return Placing.HELD
            await self._place(view, plan)
        except _Wait as waiting:
            log.debug("%s: %s waits: %s", self._lane.wallet, plan.id, waiting)
            return Placing.WAITING
        except _Hold as hold:
            await self._hold(hold.stored)
            return Placing.HELD
        except _Reject as rejected:
            await self._reject(plan, rejected.stored)
            return Placing.REJECTED
        return Placing.PLACED

    async def fill(self, slots: Sequence[OpenTx]) -> None:
        """Sign, save and send slots that have no attempt; all of a plan by self-sends if one is refused now.

        Raises: RpcError, SignerUnavailable: nothing new was signed or, if so, it is saved.
        """
        history, policy = await self._history(), self._parts.config.fees
        base = history.next_base_fee_wei
        for plan_id, group in groupby(slots, key=lambda slot: slot.intent.plan_id):
            of_plan = list(group)
            limits = [slot.tx.gas_limit for slot in of_plan]
            try:
                fees = suggest(history, policy)
                priced = [within_cost_cap(fees, gas_limit=gas, base_fee_wei=base, policy=policy) for gas in limits]
            except FeeCapExceeded as exc:
                log.warning("%s: a taken nonce stays open while fees are above the cap: %s", self._lane.wallet, exc)
                return
            plan = await self._plan(plan_id)
            expired = plan is None or self._is_expired(plan)
            await self._sign_and_send(of_plan, priced, kind=await self._kind(of_plan, expired=expired))

    # -- the steps ----------------------------------------------------------------------------------------

    async def _place(self, view: _View[U], plan: Plan) -> None:
        intents = [intent for intent in plan.intents if intent.state is IntentState.QUEUED]
        self._check_earlier_steps(view, plan)
        self._check_room(view, len(intents))
        reach("K3")
        if self._lane.wallet not in await self._parts.signer.addresses():
            raise _Reject(RejectCode.NO_SIGNER, f"no key is unlocked for {self._lane.wallet}")
        for intent in intents:
            await self._check_first(intent)
        account = await self._parts.client.account(self._lane.wallet)
        reach("K4")
        state = view.state or await self._open_lane(account)
        self._check_nonces(state, account, view)
        self._check_value(intents, account, view)

        head = await self._parts.client.head()
        verdict = await self._simulator.simulate(intents, head=head, lane_is_idle=not view.unmined)
        if isinstance(verdict, NotYet):
            raise _Wait("it is simulated again once the lane's open transactions are mined")
        if isinstance(verdict, Failing):
            raise _Reject(verdict.code, verdict.text)
        now = intents[: len(verdict.gas_limits)]
        fees = await self._price(verdict.gas_limits)
        self._check_funds(now, verdict.gas_limits, fees=fees, account=account, view=view)
        self._check_expiry(plan)

        placed = await self._reserve(plan, now, verdict.gas_limits, first_nonce=state.next_nonce)
        await self._sign_and_send(placed, fees, kind=await self._kind(placed, expired=False))

    async def _check_first(self, intent: Intent) -> None:
        if payload_hash(intent.lane, intent.call) != intent.payload_hash:
            raise _Reject(RejectCode.PAYLOAD_MISMATCH, f"step {intent.position + 1} is not what was accepted")
        try:
            await self._parts.check.check(intent)
        except PreSignPaused as exc:
            raise _Wait(str(exc)) from exc
        except PreSignRefused as exc:
            raise _Reject(RejectCode.PRESIGN_REFUSED, str(exc)) from exc

    async def _kind(self, slots: Sequence[OpenTx], *, expired: bool) -> AttemptKind:
        """The last look, after the nonces were taken: what to fill the slots with. One refusal closes them all."""
        if expired:
            log.warning(
                "%s: the time of %s has passed; its nonces are closed", self._lane.wallet, slots[0].intent.plan_id
            )
            return AttemptKind.CANCEL
        for slot in slots:
            if slot.tx.wish is Wish.CANCEL:
                log.warning("%s: %s is to be cancelled: its nonces are closed", self._lane.wallet, slot.intent.plan_id)
                return AttemptKind.CANCEL
            try:
                if payload_hash(slot.intent.lane, slot.intent.call) != slot.intent.payload_hash:
                    raise PreSignRefused("the payload is not the one that was accepted")
                await self._parts.check.check(slot.intent)
            except PreSignRefused as exc:
                log.warning("%s: %s is refused, its nonces are closed: %s", self._lane.wallet, slot.intent.plan_id, exc)
                return AttemptKind.CANCEL
        return AttemptKind.REAL

    async def _reserve(
        self, plan: Plan, intents: Sequence[Intent], gas_limits: Sequence[int], *, first_nonce: int
    ) -> list[OpenTx]:
        parts = self._parts
        wanted = [(intent.id, gas) for intent, gas in zip(intents, gas_limits, strict=True)]

        def work(u: U) -> Sequence[Tx]:
            state = parts.store.lane(u, self._lane)
            if state is None or state.hold_reason is not None:
                raise StaleState(f"{self._lane} was held meanwhile")
            txs = parts.store.reserve(u, self._lane, wanted, first_nonce=first_nonce, now_ms=parts.clock.now_ms())
            parts.observer.on_placed(u, parts.store.plan(u, plan.id) or plan, txs)
            return txs

        txs = await parts.uow.run(work)
        by_id = {intent.id: replace(intent, state=IntentState.PLACED) for intent in intents}
        return [OpenTx(tx=tx, intent=by_id[tx.intent_id], attempts=()) for tx in txs]

    async def _sign_and_send(self, slots: Sequence[OpenTx], fees: Sequence[Fees], *, kind: AttemptKind) -> None:
        parts = self._parts
        signed: list[OpenTx] = []
        now_ms = parts.clock.now_ms()
        try:
            for slot, fee in zip(slots, fees, strict=True):
                attempt = await sign_attempt(parts.signer, slot, fee, kind=kind, now_ms=now_ms)
                signed.append(replace(slot, attempts=(attempt,)))
        except SignerUnavailable:
            raise
        except SigningError as exc:
            await self._hold(reason(HoldCode.SIGNING_FAILED, str(exc)))
            return
        attempts = [slot.attempts[-1] for slot in signed]
        reach("K5")
        self._sender.claim(attempts)
        await parts.uow.run(lambda u: parts.store.save_attempts(u, attempts, now_ms))
        reach("K6")
        await self._sender.send([replace(slot, tx=replace(slot.tx, state=TxState.SIGNED)) for slot in signed])

    # -- the checks, all before anything is taken ---------------------------------------------------------

    def _is_expired(self, plan: Plan) -> bool:
        return plan.valid_until_ms is not None and self._parts.clock.now_ms() >= plan.valid_until_ms

    def _check_expiry(self, plan: Plan) -> None:
        if self._is_expired(plan):
            raise _Reject(RejectCode.EXPIRED, "its time passed before it could be placed")

    def _check_earlier_steps(self, view: _View[U], plan: Plan) -> None:
        """Of a plan placed step by step: all steps before must have been mined, with success."""
        by_intent = {tx.intent_id: tx for tx in view.plan_txs}
        for intent in plan.intents:
            if intent.state is not IntentState.PLACED:
                continue
            tx = by_intent.get(intent.id)
            if tx is None or tx.state in UNMINED_TX_STATES:
                raise _Wait("a step before is not mined yet")
            if tx.outcome is not Outcome.SUCCEEDED:
                text = f"step {intent.position + 1} ended as {tx.state}, {tx.outcome}"
                raise _Reject(RejectCode.EARLIER_STEP_FAILED, text)

    def _check_room(self, view: _View[U], wanted: int) -> None:
        """Pools keep so many of a sender's transactions and may drop the rest. A longer plan still goes alone."""
        most = self._parts.config.sending.max_in_flight
        if view.unmined and len(view.unmined) + wanted > most:
            raise _Wait(f"{len(view.unmined)} transactions of the lane are not mined yet, {most} may be")

    async def _open_lane(self, account: AccountState) -> LaneState:
        """First use of the wallet here: start at the chain's nonce, once nothing else of it is pending."""
        if account.nonce_pending > account.nonce_latest:
            raise _Wait("the wallet has pending transactions that are not ours")
        return await self._parts.uow.run(lambda u: self._parts.store.open_lane(u, self._lane, account.nonce_latest))

    def _check_nonces(self, state: LaneState, account: AccountState, view: _View[U]) -> None:
        seen = max(account.nonce_latest, account.nonce_pending)
        if seen > state.next_nonce:
            text = f"the chain is at nonce {seen}, this lane at {state.next_nonce}: another program uses this key"
            raise _Hold(HoldCode.FOREIGN_NONCE, text)
        if seen < state.next_nonce and not view.open:
            text = f"the chain is at nonce {seen}, this lane at {state.next_nonce}, and nothing of ours is open"
            raise _Hold(HoldCode.NONCE_AHEAD, text)

    def _check_value(self, intents: Sequence[Intent], account: AccountState, view: _View[U]) -> None:
        value = sum(intent.call.value_wei for intent in intents)
        if value > account.balance_wei - _committed(view.unmined):
            self._short(RejectCode.INSUFFICIENT_FUNDS, view, f"{value} wei are sent, {account.balance_wei} are there")

    def _check_funds(
        self,
        intents: Sequence[Intent],
        gas_limits: Sequence[int],
        *,
        fees: Sequence[Fees],
        account: AccountState,
        view: _View[U],
    ) -> None:
        """Pools take a transaction only if the balance covers the most that all of the sender's may cost."""
        value = sum(intent.call.value_wei for intent in intents)
        gas = sum(limit * fee.max_fee_wei for limit, fee in zip(gas_limits, fees, strict=True))
        if value + gas > account.balance_wei - _committed(view.unmined):
            text = f"up to {gas} wei of fees on top of {value} sent, {account.balance_wei} are there"
            self._short(RejectCode.INSUFFICIENT_GAS_FUNDS, view, text)

    def _short(self, code: RejectCode, view: _View[U], text: str) -> None:
        if view.unmined:
            raise _Wait("open transactions of the lane may use less than they might, or bring funds")
        raise _Reject(code, text)

    async def _history(self) -> FeeHistory:
        return await self._parts.client.fee_history(HISTORY_BLOCKS, [TIP_PERCENTILE])

    async def _price(self, gas_limits: Sequence[int]) -> list[Fees]:
        history, policy = await self._history(), self._parts.config.fees
        try:
            fees = suggest(history, policy)
            base = history.next_base_fee_wei
            return [within_cost_cap(fees, gas_limit=gas, base_fee_wei=base, policy=policy) for gas in gas_limits]
        except FeeCapExceeded as exc:
            raise _Reject(RejectCode.FEE_CAP, str(exc)) from exc

    # -- the store ----------------------------------------------------------------------------------------

    def _read(self, uow: U) -> _View[U]:
        store = self._parts.store
        plan = store.started_plan(uow, self._lane) or store.next_plan(uow, self._lane)
        return _View(
            state=store.lane(uow, self._lane),
            plan=plan,
            plan_txs=store.plan_txs(uow, plan.id) if plan is not None else (),
            open=store.open_txs(uow, self._lane.chain_id, lane=self._lane),
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


def _committed(unmined: Sequence[OpenTx]) -> int:
    """The most that the lane's unmined slots may still take from the native balance, wei."""
    total = 0
    for slot in unmined:
        fees = max((attempt.fees.max_fee_wei * attempt.gas_limit for attempt in slot.attempts), default=0)
        total += slot.intent.call.value_wei + fees
    return total
