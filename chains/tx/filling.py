"""Fills nonces that were taken: check, sign, save, send.

Guarantees:
- a signature is durable before a byte leaves, and what is signed is asked about right before: a plan that is refused by
  then, that is late or to be cancelled gets empty self-sends at all its nonces;
- a plan whose own fee bound does not cover what nodes take now gets self-sends, too: an attempt is never above it;
- slots are filled in the order of nonces, a plan's together; when a signer fails, what was signed before it is saved
  and sent, and the rest stays reserved for the next time.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final, Generic, TypeVar

from chains.crashpoints import reach
from chains.errors import FeeCapExceeded, SignerUnavailable, SigningError
from chains.fees import HISTORY_BLOCKS, TIP_PERCENTILE, suggest, within_cost_cap
from chains.tx.altered import why_displaced
from chains.tx.batch import Taken
from chains.tx.context import EngineParts
from chains.tx.model import AttemptKind, Lane, OpenTx, PlanId, TxState, Wish, payload_hash
from chains.tx.reasons import HoldCode, reason
from chains.tx.sending import Sender
from chains.tx.signing import sign_attempt

U = TypeVar("U")

SIGN_SLICE_S: Final = 0.5
"""How long signing may go on before what is signed is saved and sent and the checks are asked again: half of the second
within which a pause has to hold. A key in this process signs a batch in a hundredth of it."""

log = logging.getLogger(__name__)


class Filler(Generic[U]):
    """Of one lane; used by its worker alone."""

    def __init__(self, parts: EngineParts[U], lane: Lane, sender: Sender[U]) -> None:
        self._parts = parts
        self._lane = lane
        self._sender = sender

    async def fill(self, slots: Sequence[OpenTx]) -> None:
        """Sign, save and send slots that have no attempt; all of a plan by self-sends if one is refused now.

        Raises: RpcError, SignerUnavailable: nothing new was signed or, if so, it is saved.
        """
        history = await self._parts.client.fee_history(HISTORY_BLOCKS, [TIP_PERCENTILE])
        policy = self._parts.config.fees
        base = history.next_base_fee_wei
        taken: list[Taken] = []
        for plan_id, group in groupby(slots, key=lambda slot: slot.intent.plan_id):
            of_plan = list(group)
            try:
                fees = suggest(history, policy)
                priced = [
                    within_cost_cap(fees, gas_limit=slot.tx.gas_limit, base_fee_wei=base, policy=policy)
                    for slot in of_plan
                ]
            except FeeCapExceeded as exc:
                log.warning("%s: a taken nonce stays open while fees are above the cap: %s", self._lane.wallet, exc)
                break
            refused = "its time has passed" if await self._is_expired(plan_id) else None
            try:
                of_slots = [
                    within_cost_cap(
                        fees,
                        gas_limit=slot.tx.gas_limit,
                        base_fee_wei=base,
                        policy=policy,
                        max_cost_wei=slot.intent.max_gas_cost_wei,
                    )
                    for slot in of_plan
                ]
            except FeeCapExceeded as exc:
                # Not a matter of waiting: the lane would stand still until the fees fall.
                of_slots, refused = priced, f"its fees are above what was set aside for them: {exc}"
            taken.append(Taken(plan_id=plan_id, slots=of_plan, fees=of_slots, refused=refused))
        await self.sign_and_send(taken)

    async def sign_and_send(self, taken: Sequence[Taken]) -> None:
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
                await self.hold(reason(HoldCode.SIGNING_FAILED, str(failure)))
                return
            taken = taken[done:]

    async def _kinds(self, taken: Sequence[Taken]) -> list[AttemptKind]:
        """The last look, after the nonces were taken: what to fill each plan's slots with. One refusal closes all of
        its plan."""
        refusals = iter(await self._parts.check.check_all([slot.intent for one in taken for slot in one.slots]))
        kinds: list[AttemptKind] = []
        for one in taken:
            why = next((str(told) for told in [next(refusals) for _ in one.slots] if told is not None), None)
            if one.refused is not None:
                why = one.refused
            elif any(self._is_late(slot) for slot in one.slots):
                why = "its time has passed"
            elif any(slot.tx.wish is Wish.CANCEL for slot in one.slots):
                why = "it is to be cancelled"
            elif any(payload_hash(s.intent.lane, s.intent.call) != s.intent.payload_hash for s in one.slots):
                why = "the payload is not the one that was accepted"
            elif (displaced := next(filter(None, map(why_displaced, one.slots)), None)) is not None:
                why = displaced
            if why is not None:
                log.warning("%s: %s is refused, its nonces are closed: %s", self._lane.wallet, one.plan_id, why)
            kinds.append(AttemptKind.REAL if why is None else AttemptKind.CANCEL)
        return kinds

    async def _signed(self, one: Taken, kind: AttemptKind) -> list[OpenTx]:
        """All slots of a plan, or none. Raises: SigningError."""
        parts, now_ms = self._parts, self._parts.clock.now_ms()
        made = [
            await sign_attempt(parts.signer, slot, fee, kind=kind, now_ms=now_ms, signed=parts.signed)
            for slot, fee in zip(one.slots, one.fees, strict=True)
        ]
        return [replace(slot, attempts=(attempt,)) for slot, attempt in zip(one.slots, made, strict=True)]

    async def _save_and_send(self, signed: Sequence[OpenTx]) -> None:
        parts, now_ms = self._parts, self._parts.clock.now_ms()
        attempts = [slot.attempts[-1] for slot in signed]
        reach("K5")
        self._sender.claim(attempts)
        await parts.uow.run(lambda u: parts.store.save_attempts(u, attempts, now_ms))
        reach("K6")
        await self._sender.send([replace(slot, tx=replace(slot.tx, state=TxState.SIGNED)) for slot in signed])

    async def hold(self, stored: str) -> None:
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

    def _is_late(self, slot: OpenTx) -> bool:
        return slot.valid_until_ms is not None and self._parts.clock.now_ms() >= slot.valid_until_ms

    async def _is_expired(self, plan_id: PlanId) -> bool:
        plan = await self._parts.uow.read(lambda u: self._parts.store.plan(u, plan_id))
        until_ms = None if plan is None else plan.valid_until_ms
        return plan is None or (until_ms is not None and self._parts.clock.now_ms() >= until_ms)
