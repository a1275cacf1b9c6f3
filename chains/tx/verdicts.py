"""What one look at the chain says about one slot: pure, so that every case can be tested without a chain.

Guarantees: a state follows only from a receipt in a canonical block or from a canonical header; depth counts the mined
block itself; what cannot be told yet is `unclear`, and the cursor then stays where it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from chains.tx.model import (
    UNMINED_TX_STATES,
    Attempt,
    AttemptKind,
    Lane,
    OpenTx,
    Outcome,
    Tx,
    TxState,
)
from chains.tx.witness import NO_DOUBTS, Doubts
from chains.types import BlockRef, Header, Receipt, TxHash


class Change(StrEnum):
    REORGED = "reorged"
    MINED = "mined"
    CONFIRMED = "confirmed"
    FINAL = "final"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One guarded state change. `tx` is the slot after it, except for REORGED: there it is as it was before."""

    change: Change
    tx: Tx
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Steps in order, all to be committed together."""

    steps: tuple[Step, ...] = ()
    unclear: bool = False
    """Something at or below the cursor's target is not explained yet: look again, leave the cursor."""
    overtaken: bool = False
    """The nonce is used in a final block, and none of our attempts has a receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was read about one head."""

    head: Header
    confirmed_depth: int
    final_height: int | None
    """Blocks up to here are final: the finalized tag has passed them, and they are deep enough. None: none yet."""
    receipts: Mapping[TxHash, Receipt]
    canonical: Mapping[int, BlockRef]
    used_at_target: Mapping[Lane, int]
    """Nonce of a lane at the cursor's target block."""
    used_finally: Mapping[Lane, int]
    """Nonce of a lane at the final height; only where `used_at_target` asked for it."""
    doubts: Doubts = NO_DOUBTS
    """Slots that are not final yet, deep as they are."""

    @property
    def target(self) -> BlockRef | None:
        """The block at confirmed depth, where the cursor may go."""
        return self.canonical.get(target_height(self.head, self.confirmed_depth))

    def is_canonical(self, block: BlockRef) -> bool:
        return self.canonical.get(block.number) == block

    def is_confirmed(self, block: BlockRef) -> bool:
        return self.head.number - block.number + 1 >= self.confirmed_depth

    def is_final(self, block: BlockRef) -> bool:
        return self.final_height is not None and block.number <= self.final_height


def target_height(head: Header, confirmed_depth: int) -> int:
    """Where the cursor may go; genesis on a chain that is shorter."""
    return max(0, head.number - confirmed_depth + 1)


def needs_receipt(tx: Tx) -> bool:
    """Unmined slots wait for one; mined ones are confirmed with one."""
    return tx.state in UNMINED_TX_STATES or tx.state is TxState.MINED


def decide(slot: OpenTx, look: Look, now_ms: int) -> Decision:
    """The steps that the look at the chain justifies for this slot."""
    tx = slot.tx
    steps: list[Step] = []
    if tx.block is not None and tx.block.number > look.head.number:
        return Decision(unclear=True)  # this node is behind the one that told us
    if tx.block is not None and not look.is_canonical(tx.block):
        steps.append(Step(change=Change.REORGED, tx=tx))
        tx = replace(tx, state=TxState.BROADCAST, outcome=Outcome.NONE, block=None, mined_hash=None, updated_ms=now_ms)
    receipt = _receipt_of(slot, look)
    if tx.state in UNMINED_TX_STATES:
        if receipt is None or receipt.block.number > look.head.number:
            return _without_receipt(slot, look, steps, told=receipt is not None)
        if not look.is_canonical(receipt.block):
            return Decision(steps=tuple(steps), unclear=True)
        tx = replace(
            tx,
            state=TxState.MINED,
            outcome=_outcome(slot, receipt),
            block=receipt.block,
            mined_hash=receipt.tx_hash,
            updated_ms=now_ms,
        )
        steps.append(Step(change=Change.MINED, tx=tx, receipt=receipt))
    if tx.state is TxState.MINED and tx.block is not None and look.is_confirmed(tx.block):
        if receipt is None or receipt.block != tx.block:
            return Decision(steps=tuple(steps), unclear=True)  # its block stands, its receipt was not told
        tx = replace(tx, state=TxState.CONFIRMED, updated_ms=now_ms)
        steps.append(Step(change=Change.CONFIRMED, tx=tx, receipt=receipt))
    if tx.state is TxState.CONFIRMED and tx.block is not None and look.is_final(tx.block) and tx.id not in look.doubts:
        tx = replace(tx, state=TxState.FINAL, updated_ms=now_ms)
        steps.append(Step(change=Change.FINAL, tx=tx))
    return Decision(steps=tuple(steps))


def superseded(slot: OpenTx, now_ms: int) -> Step:
    """The step for a slot whose nonce a foreign transaction used in a final block."""
    return Step(change=Change.SUPERSEDED, tx=replace(slot.tx, state=TxState.SUPERSEDED, updated_ms=now_ms))


def _without_receipt(slot: OpenTx, look: Look, steps: list[Step], *, told: bool) -> Decision:
    """An unmined slot. `told`: there is a receipt, in a block after the head that is looked at."""
    used = look.used_at_target.get(slot.tx.lane, 0) > slot.tx.nonce
    overtaken = used and not told and not steps and look.used_finally.get(slot.tx.lane, 0) > slot.tx.nonce
    return Decision(steps=tuple(steps), unclear=used, overtaken=overtaken)


def _receipt_of(slot: OpenTx, look: Look) -> Receipt | None:
    """The receipt of whichever attempt has one; a canonical one first, should a reorg show two."""
    found = [look.receipts[attempt.hash] for attempt in slot.attempts if attempt.hash in look.receipts]
    return min(found, key=lambda receipt: not look.is_canonical(receipt.block), default=None)


def _outcome(slot: OpenTx, receipt: Receipt) -> Outcome:
    mined: Attempt = next(attempt for attempt in slot.attempts if attempt.hash == receipt.tx_hash)
    if mined.kind is AttemptKind.CANCEL:
        return Outcome.CANCELLED
    return Outcome.SUCCEEDED if receipt.succeeded else Outcome.REVERTED
