"""Open slots whose stored payload was changed by something else than the engine: their lanes are held for a person.

Nothing new is signed for a changed payload anyway: a queued plan is rejected, a nonce that was taken is closed by a
self-send. Bytes that were signed before are of the accepted payload, and go on.

Guarantees: the lane of a changed slot takes no new work while the slot is open, whoever releases it; other lanes go
on. Not guaranteed: that every edit is seen; one that also writes a fitting hash is for the pre-sign check.
"""

import logging
from collections.abc import Sequence
from typing import TypeVar

from chains.tx.context import EngineParts
from chains.tx.model import OpenTx
from chains.tx.reasons import HoldCode, reason

U = TypeVar("U")

log = logging.getLogger(__name__)


async def hold_altered(parts: EngineParts[U], slots: Sequence[OpenTx]) -> None:
    """Hold the lanes of changed slots, unless they are held: the first reason is the one to look into."""
    changed = [slot for slot in slots if slot.intent.altered]
    if not changed:
        return
    held: list[OpenTx] = []

    def work(u: U) -> None:
        held.clear()  # the work may be run again
        for slot in changed:
            state = parts.store.lane(u, slot.tx.lane)
            if state is not None and state.hold_reason is None:
                text = f"the stored payload of nonce {slot.tx.nonce} ({slot.intent.id}) was changed; find out by whom"
                parts.store.hold_lane(u, slot.tx.lane, reason(HoldCode.PAYLOAD_MISMATCH, text))
                held.append(slot)

    await parts.uow.run(work)
    for slot in held:
        log.critical(
            "%s nonce %d: the stored payload of %s was changed; the wallet takes no new work",
            slot.tx.lane.wallet,
            slot.tx.nonce,
            slot.intent.id,
        )
