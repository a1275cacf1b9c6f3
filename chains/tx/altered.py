"""Open slots that were changed by something else than the engine: their lanes are held for a person.

    payload    nothing new is signed for it anyway: a queued plan is rejected, a nonce that was taken is closed by a
               self-send. Bytes that were signed before are of the accepted payload, and go on
    place      a slot whose attempts were signed for another nonce, chain or wallet than it has now: nothing is signed
               for it at all, since a payload signed at a second nonce would be carried out twice

Guarantees: the lane of a changed slot takes no new work while the slot is open, whoever releases it; other lanes go
on. What was signed, not what a row says, tells where a slot belongs. Not guaranteed: that every edit is seen; one that
also writes a fitting hash is for the pre-sign check, and where attempts were removed nothing tells of them.
"""

import logging
from collections.abc import Sequence
from typing import TypeVar

from chains.errors import SigningError
from chains.signing import eip1559
from chains.tx.context import EngineParts
from chains.tx.model import OpenTx
from chains.tx.reasons import HoldCode, reason

U = TypeVar("U")

log = logging.getLogger(__name__)


def why_displaced(slot: OpenTx) -> str | None:
    """Why the slot is not where its intent and the signatures of its attempts say; None: it is."""
    tx = slot.tx
    if tx.lane != slot.intent.lane:
        return f"the slot of {slot.intent.id} was given to another wallet or chain"
    for attempt in slot.attempts:
        try:
            signed, sender = eip1559.decode(attempt.raw)
        except SigningError:
            return f"bytes that were stored for nonce {tx.nonce} ({slot.intent.id}) were changed"
        if (signed.chain_id, sender) != (tx.lane.chain_id, tx.lane.wallet) or signed.nonce != tx.nonce:
            return f"{slot.intent.id} was signed at nonce {signed.nonce}, its slot was changed to {tx.nonce}"
    return None


async def hold_altered(parts: EngineParts[U], slots: Sequence[OpenTx]) -> None:
    """Hold the lanes of slots with changed payloads, unless they are held."""
    changed = [slot for slot in slots if slot.intent.altered]
    if changed:
        named = [f"the stored payload of nonce {slot.tx.nonce} ({slot.intent.id}) was changed" for slot in changed]
        await hold(parts, list(zip(changed, named, strict=True)))


async def hold(parts: EngineParts[U], changed: Sequence[tuple[OpenTx, str]]) -> None:
    """Hold the lanes of changed slots, each with what is wrong, unless they are held: the first reason is the one to
    look into."""
    held: list[tuple[OpenTx, str]] = []

    def work(u: U) -> None:
        held.clear()  # the work may be run again
        for slot, why in changed:
            state = parts.store.lane(u, slot.tx.lane)
            if state is not None and state.hold_reason is None:
                text = f"{why}; find out by whom"
                parts.store.hold_lane(u, slot.tx.lane, reason(HoldCode.PAYLOAD_MISMATCH, text))
                held.append((slot, why))

    await parts.uow.run(work)
    for slot, why in held:
        log.critical("%s nonce %d: %s; the wallet takes no new work", slot.tx.lane.wallet, slot.tx.nonce, why)
