"""New attempts at nonces that are taken: dearer ones for what waits too long, self-sends for what is to be closed.

    sent, unmined for N blocks, or a node says underpriced  ->  the same payload, at least 10 % dearer
    a cancel was wished, or the plan's deadline has passed   ->  an empty self-send, at least 10 % dearer
    no node takes the payload, for N blocks                  ->  the same, so that what is queued behind it can be mined

Guarantees:
- always the same nonce, and for a payload the same gas limit; both fees at least ceil(110 %) of all earlier attempts';
  a slot whose nonce is not the one that its attempts were signed for gets no more of them, and holds its lane;
- never above the fee caps or the cost cap, a payload never above its intent's own: then the slot stays as it is, with a
  note that says why;
- the check is asked before a payload is signed again, and a refusal closes the slot; no payload is signed, saved or
  sent again once a cancel is wished;
- an attempt is durable before it is sent, and a slot has one unsent attempt at most; after a crash it is sent as it is;
- age is counted in blocks that this process saw, and a deadline is held against the time of the head's block: a clock
  that jumps neither bumps nor closes anything.

Not guaranteed: that a closing self-send wins; what is mined decides, and a payload that was sent may be it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Generic, TypeVar

from chains.config import SendingPolicy
from chains.crashpoints import reach
from chains.errors import FeeCapExceeded, SignerUnavailable, SigningError
from chains.fees import HISTORY_BLOCKS, TIP_PERCENTILE, replace_within, suggest
from chains.tx.altered import hold, why_displaced
from chains.tx.context import EngineParts
from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    OpenTx,
    TxId,
    TxState,
    Wish,
    payload_hash,
)
from chains.tx.reasons import NoteCode, reason
from chains.tx.sending import Sender, is_refused_for_good, is_underpriced, is_unfunded
from chains.tx.signing import cancel_gas, sign_attempt
from chains.tx.store import PreSignRefused, StaleState
from chains.types import BlockHash, Fees, Header, TxHash

U = TypeVar("U")

MAX_REPRICES: Final = 2
"""Further tries after a node called an attempt underpriced, bumps not counted."""
_REPLACEABLE: Final = frozenset({TxState.SIGNED, TxState.BROADCAST})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A slot and the kind of its next attempt. `why` is for the operator; `asked`: not for its age."""

    slot: OpenTx
    kind: AttemptKind
    why: str
    asked: bool = False


def reprices(slot: OpenTx) -> int:
    """How many attempts of the slot a node called underpriced, and were replaced for it."""
    return sum(is_underpriced(attempt) for attempt in slot.attempts[:-1])


def bumps(slot: OpenTx) -> int:
    """How often its payload was made dearer for its age."""
    real = [a for a in slot.attempts if a.kind is AttemptKind.REAL]
    return max(0, len(real) - 1 - min(reprices(slot), MAX_REPRICES))


def highest_fees(slot: OpenTx) -> Fees:
    """Field by field, over all attempts: any of them may be the one that a pool holds."""
    return Fees(
        max_fee_wei=max(a.fees.max_fee_wei for a in slot.attempts),
        priority_fee_wei=max(a.fees.priority_fee_wei for a in slot.attempts),
    )


def need_of(slot: OpenTx, *, head: Header, blocks_old: int, policy: SendingPolicy) -> Need | None:
    """What the slot needs at this head. `blocks_old`: heads since its newest attempt was first seen."""
    if slot.tx.state not in _REPLACEABLE or not slot.attempts:
        return None
    newest = slot.attempts[-1]
    cheap = is_underpriced(newest) and reprices(slot) < MAX_REPRICES
    settled = (newest.state is AttemptState.SENT and not is_unfunded(newest)) or is_underpriced(newest)
    old = settled and blocks_old >= policy.bump_after_blocks
    if slot.tx.wish is Wish.CANCEL and newest.kind is not AttemptKind.CANCEL:
        return Need(slot=slot, kind=AttemptKind.CANCEL, why=slot.tx.wish_reason or "asked", asked=True)
    if newest.kind is AttemptKind.CANCEL:
        if not (old or cheap):
            return None
        return Need(slot=slot, kind=AttemptKind.CANCEL, why="its self-send waits", asked=cheap)
    if slot.valid_until_ms is not None and head.timestamp_s * 1000 >= slot.valid_until_ms:
        return Need(slot=slot, kind=AttemptKind.CANCEL, why="its time has passed", asked=True)
    if is_refused_for_good(newest) and blocks_old >= policy.bump_after_blocks:
        why = f"no node took its payload in {blocks_old} blocks: {newest.node_answer}"
        return Need(slot=slot, kind=AttemptKind.CANCEL, why=why, asked=True)
    if slot.tx.wish is Wish.BUMP:
        return Need(slot=slot, kind=AttemptKind.REAL, why=slot.tx.wish_reason or "asked", asked=True)
    if cheap:
        return Need(slot=slot, kind=AttemptKind.REAL, why="a node calls it underpriced", asked=True)
    if old:
        return Need(slot=slot, kind=AttemptKind.REAL, why=f"it waits for {blocks_old} blocks")
    return None


def is_priced_in(slot: OpenTx, fresh: Fees, base_fee_wei: int) -> bool:
    """Its newest attempt offers what a new transaction would: it waits for others, not for its price."""
    fees = slot.attempts[-1].fees
    return fees.priority_fee_wei >= fresh.priority_fee_wei and fees.max_fee_wei >= base_fee_wei + fresh.priority_fee_wei


class Replacer(Generic[U]):
    """Makes the new attempts of one chain. `round` is to be called by one task only."""

    def __init__(self, parts: EngineParts[U], sender: Sender[U]) -> None:
        self._parts = parts
        self._sender = sender
        self._seen_at: dict[TxHash, int] = {}
        self._done: tuple[BlockHash, tuple[TxHash, ...]] | None = None

    async def round(self, head: Header, slots: Sequence[OpenTx]) -> bool:
        """Replace what needs it, slots of a lane in the order of nonces; False if the slots are as they were.

        Raises: RpcError, SignerUnavailable, StaleState: nothing is lost, call again.
        """
        needs = [need for slot in slots if (need := self._need(slot, head)) is not None]
        hashes = {attempt.hash for slot in slots for attempt in slot.attempts}
        self._seen_at = {known: at for known, at in self._seen_at.items() if known in hashes}
        this = head.hash, tuple(need.slot.attempts[-1].hash for need in needs)
        if not needs or this == self._done:
            return False
        lanes = sorted({need.slot.tx.lane for need in needs})
        nonces = await self._parts.client.nonces([(lane.wallet, "latest") for lane in lanes])
        used = dict(zip(lanes, nonces, strict=True))
        history = await self._parts.client.fee_history(HISTORY_BLOCKS, [TIP_PERCENTILE])
        unlocked = frozenset(await self._parts.signer.addresses())
        try:
            fresh = suggest(history, self._parts.config.fees)
        except FeeCapExceeded as exc:
            for need in needs:
                await self._stay(need, NoteCode.FEE_CAP, str(exc))
            self._done = this
            return True
        for lane, group in groupby(needs, key=lambda need: need.slot.tx.lane):
            # Below the chain's nonce a receipt is on its way, or a foreign transaction took it: not a matter of price.
            for need in (need for need in group if need.slot.tx.nonce >= used[lane]):
                waits_for_others = need.slot.tx.nonce > used[lane]
                if not need.asked and waits_for_others and is_priced_in(need.slot, fresh, history.next_base_fee_wei):
                    continue
                if lane.wallet not in unlocked:
                    await self._stay(need, NoteCode.NO_SIGNER, f"no key is unlocked for {lane.wallet}")
                    continue
                await self._replace(need, fresh)
        self._done = this
        return True

    # -- private ------------------------------------------------------------------------------------------

    def _need(self, slot: OpenTx, head: Header) -> Need | None:
        if not slot.attempts:
            return None
        seen_at = self._seen_at.setdefault(slot.attempts[-1].hash, head.number)
        return need_of(slot, head=head, blocks_old=head.number - seen_at, policy=self._parts.config.sending)

    async def _replace(self, need: Need, fresh: Fees) -> None:
        slot = need.slot
        if (displaced := why_displaced(slot)) is not None:
            await hold(self._parts, [(slot, displaced)])
            await self._stay(need, NoteCode.DISPLACED, displaced)
            return
        if need.kind is AttemptKind.REAL:
            refusal = await self._refusal(slot)
            if refusal is not None:
                need = replace(need, kind=AttemptKind.CANCEL, why=f"it is refused now: {refusal}", asked=True)
        is_cancel = need.kind is AttemptKind.CANCEL
        most = self._parts.config.sending.max_bumps
        if is_cancel and slot.tx.wish is not Wish.CANCEL:
            # Durable before a signature: from here on no payload is signed for the slot, whatever happens.
            await self._wish_cancel(slot.tx.id, need.why)
        if not need.asked and _made(slot, need.kind) > most:
            await self._stay(need, NoteCode.BUMPS_USED, f"it was made dearer {most} times")
            return
        gas_limit = cancel_gas(slot.tx) if is_cancel else slot.tx.gas_limit
        # What was set aside for the payload is not what closing its nonce may cost.
        most_wei = None if is_cancel else slot.intent.max_gas_cost_wei
        policy = self._parts.config.fees
        try:
            fees = replace_within(highest_fees(slot), fresh, gas_limit=gas_limit, policy=policy, max_cost_wei=most_wei)
        except FeeCapExceeded as exc:
            await self._stay(need, NoteCode.FEE_CAP, str(exc))
            return
        await self._sign_and_send(need, fees)

    async def _refusal(self, slot: OpenTx) -> str | None:
        if payload_hash(slot.intent.lane, slot.intent.call) != slot.intent.payload_hash:
            return "the payload is not the one that was accepted"
        try:
            await self._parts.check.check(slot.intent)
        except PreSignRefused as exc:
            return str(exc)
        return None

    async def _sign_and_send(self, need: Need, fees: Fees) -> None:
        parts, slot = self._parts, need.slot
        now_ms = parts.clock.now_ms()
        try:
            attempt = await sign_attempt(parts.signer, slot, fees, kind=need.kind, now_ms=now_ms, signed=parts.signed)
        except SignerUnavailable:
            raise
        except SigningError as exc:
            await self._stay(need, NoteCode.SIGNING_FAILED, str(exc))
            return
        reach("K9")
        self._sender.claim([attempt])
        try:
            await parts.uow.run(lambda u: self._save(u, slot, attempt))
        except StaleState as exc:
            log.info("slot %d moved meanwhile: %s", slot.tx.id, exc)
            return
        reach("K10")
        log.warning(
            "%s nonce %d: %s attempt %d, %s: max fee %d wei, tip %d wei",
            slot.tx.lane.wallet,
            slot.tx.nonce,
            need.kind,
            len(slot.attempts) + 1,
            need.why,
            fees.max_fee_wei,
            fees.priority_fee_wei,
        )
        await self._sender.send([replace(slot, attempts=(*slot.attempts, attempt))])

    def _save(self, uow: U, slot: OpenTx, attempt: Attempt) -> None:
        store, newest = self._parts.store, slot.attempts[-1]
        if newest.state is AttemptState.SIGNED:
            store.set_aside(uow, newest.hash)
        # One that another process made meanwhile stands: this one was priced without it.
        store.save_attempts(uow, [attempt], attempt.created_ms, after=[known.hash for known in slot.attempts])
        store.wish_granted(uow, slot.tx.id)
        if slot.tx.note is not None:
            store.note_tx(uow, slot.tx.id, None)

    async def _wish_cancel(self, tx_id: TxId, why: str) -> None:
        parts = self._parts
        now_ms = parts.clock.now_ms()
        await parts.uow.run(lambda u: parts.store.wish(u, tx_id, Wish.CANCEL, reason=why[:400], now_ms=now_ms))

    async def _stay(self, need: Need, code: NoteCode, text: str) -> None:
        """The slot keeps what it has. Said once, as long as the reason is the same; a bump is not wished any more."""
        store, tx = self._parts.store, need.slot.tx
        note = reason(code, text)
        if tx.wish is Wish.BUMP:
            await self._parts.uow.run(lambda u: store.wish_granted(u, tx.id))
        if (tx.note or "").partition(":")[0] == code:
            return
        log.error("%s nonce %d is not replaced (%s): %s", tx.lane.wallet, tx.nonce, need.why, note)
        await self._parts.uow.run(lambda u: store.note_tx(u, tx.id, note))


def _made(slot: OpenTx, kind: AttemptKind) -> int:
    """How many bumps of that kind there would be with one more."""
    if kind is AttemptKind.REAL:
        return bumps(slot) + 1
    return sum(a.kind is AttemptKind.CANCEL for a in slot.attempts)
