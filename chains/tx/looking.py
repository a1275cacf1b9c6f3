"""Everything one round of the confirmer reads about the chain, at one head.

Guarantees: what is canonical comes from the followed chain, older blocks from the node; a block that the node should
have and does not have, or a head that moved meanwhile, gives no look at all rather than a wrong one.
Not guaranteed: that receipts are of this head. They name their block, and `verdicts` believes canonical ones only.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from chains.errors import RpcRefused
from chains.headstate import HeadStep
from chains.tx import witness
from chains.tx.context import EngineParts
from chains.tx.model import UNMINED_TX_STATES, Lane, OpenTx
from chains.tx.verdicts import Look, needs_receipt, target_height
from chains.types import BlockRef, Receipt, TxHash

U = TypeVar("U")

log = logging.getLogger(__name__)


async def look_at(
    parts: EngineParts[U], step: HeadStep, slots: Sequence[OpenTx], cursor: BlockRef | None
) -> Look | None:
    """What there is to know about these slots at the step's head. Raises: RpcError."""
    head, finality = step.head, parts.config.finality
    final_height = _final_height(parts, step)
    target = target_height(head, finality.confirmed_depth)
    receipts = await _receipts(parts, (slot for slot in slots if needs_receipt(slot.tx)))
    heights = {target} | {slot.tx.block.number for slot in slots if slot.tx.block is not None}
    heights |= {receipt.block.number for receipt in receipts.values()}
    if cursor is not None:
        heights.add(cursor.number)
    canonical = await _canonical(parts, step, heights)

    # A transaction whose block left the chain may have been mined again elsewhere.
    moved = [s for s in slots if s.tx.block is not None and canonical.get(s.tx.block.number) != s.tx.block]
    if moved:
        receipts |= await _receipts(parts, moved)
        canonical |= await _canonical(parts, step, {receipt.block.number for receipt in receipts.values()} - heights)
    if None in canonical.values():
        log.info("the node lacks a block below its head %d; it is looked at again", head.number)
        return None
    used_at_target = await _used(parts, slots, target)
    suspects = [s for s in slots if s.tx.nonce < used_at_target.get(s.tx.lane, 0)]
    used_finally = await _used_finally(parts, suspects, final_height)
    doubts = await witness.doubts(parts.witness, witness.claims(slots, receipts, final_height))
    again = await parts.client.header(head.number)
    if again is None or again.hash != head.hash:
        log.info("the head %d moved during a round; it is looked at again", head.number)
        return None
    return Look(
        head=head,
        confirmed_depth=finality.confirmed_depth,
        final_height=final_height,
        receipts=receipts,
        canonical={number: block for number, block in canonical.items() if block is not None},
        used_at_target=used_at_target,
        used_finally=used_finally,
        doubts=doubts,
    )


def _final_height(parts: EngineParts[U], step: HeadStep) -> int | None:
    """Final is what the chain calls so, at the least depth or deeper."""
    if step.final is None:
        return None
    height = min(step.final.number, step.head.number - parts.config.finality.min_final_depth + 1)
    return height if height >= 0 else None


async def _receipts(parts: EngineParts[U], slots: Iterable[OpenTx]) -> dict[TxHash, Receipt]:
    """Receipts of all attempts of these slots, as far as there are any."""
    hashes = [attempt.hash for slot in slots for attempt in slot.attempts]
    return {found.tx_hash: found for found in await parts.client.receipts(hashes) if found is not None}


async def _canonical(parts: EngineParts[U], step: HeadStep, heights: set[int]) -> dict[int, BlockRef | None]:
    """The blocks at these heights, as far as they are not above the head."""
    there: dict[int, BlockRef | None] = {
        height: step.at(height) for height in sorted(heights) if height <= step.head.number
    }
    older = [height for height, block in there.items() if block is None]
    if older:
        headers = await parts.client.headers(older)
        there |= {n: None if header is None else header.ref for n, header in zip(older, headers, strict=True)}
    return there


async def _used(parts: EngineParts[U], slots: Sequence[OpenTx], height: int) -> Mapping[Lane, int]:
    """Nonces at a height of the lanes that have unmined slots among these."""
    lanes = sorted({slot.tx.lane for slot in slots if slot.tx.state in UNMINED_TX_STATES})
    nonces = await parts.client.nonces([(lane.wallet, height) for lane in lanes])
    return dict(zip(lanes, nonces, strict=True))


async def _used_finally(
    parts: EngineParts[U], suspects: Sequence[OpenTx], final_height: int | None
) -> Mapping[Lane, int]:
    if final_height is None or not suspects:
        return {}
    try:
        return await _used(parts, suspects, final_height)
    except RpcRefused as exc:
        # The node has pruned that state: without it nothing is called overtaken.
        log.warning("the nonce at final block %d is not to be had: %s", final_height, exc)
        return {}
