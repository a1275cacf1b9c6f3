"""What is for ever is not taken from one endpoint: receipts behind final states, asked where several must say the same.

Guarantees: with a witness, a slot becomes final only after the endpoints together gave the receipt that its state came
from, and superseded only after they gave none for any of its attempts while its nonce is used; what they say otherwise
is told apart from what they do not agree on. Without one (a single endpoint) nothing is asked.
Not guaranteed: that they answer soon. A slot waits as confirmed, booked and shown, until they do.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chains.client import EvmClient
from chains.errors import RpcError
from chains.tx.model import OpenTx, Outcome, TxId, TxState
from chains.types import BlockRef, Receipt, TxHash

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one endpoint said of a slot: mined by this attempt, in this block, with this outcome."""

    tx_id: TxId
    hash: TxHash
    block: BlockRef
    succeeded: bool

    def is_borne_out(self, receipt: Receipt | None) -> bool:
        return receipt is not None and receipt.block == self.block and receipt.succeeded == self.succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """`open`: not agreed on now. `refuted`: the endpoints agree on something else."""

    open: frozenset[TxId] = frozenset()
    refuted: frozenset[TxId] = frozenset()

    def __contains__(self, tx_id: TxId) -> bool:
        return tx_id in self.open or tx_id in self.refuted


NO_DOUBTS = Doubts()


def claims(slots: Sequence[OpenTx], receipts: Mapping[TxHash, Receipt], final_height: int | None) -> list[Claim]:
    """Of the slots that may become final at this height."""
    if final_height is None:
        return []
    made: list[Claim] = []
    for slot in slots:
        tx = slot.tx
        if tx.state is TxState.CONFIRMED and tx.block is not None and tx.mined_hash is not None:
            succeeded = tx.outcome is not Outcome.REVERTED
            made.append(Claim(tx_id=tx.id, hash=tx.mined_hash, block=tx.block, succeeded=succeeded))
            continue
        found = (receipts[attempt.hash] for attempt in slot.attempts if attempt.hash in receipts)
        made += [Claim(tx_id=tx.id, hash=r.tx_hash, block=r.block, succeeded=r.succeeded) for r in found]
    return [claim for claim in made if claim.block.number <= final_height]


async def doubts(witness: EvmClient | None, made: Sequence[Claim]) -> Doubts:
    """Which of the claims the witness does not bear out now. Never raises RpcError."""
    if witness is None or not made:
        return NO_DOUBTS
    try:
        receipts = await witness.receipts([claim.hash for claim in made])
    except RpcError as exc:
        log.warning("%d transactions wait as confirmed: %s", len(made), exc)
        return Doubts(open=frozenset(claim.tx_id for claim in made))
    refuted = [claim for claim, receipt in zip(made, receipts, strict=True) if not claim.is_borne_out(receipt)]
    for claim in refuted:
        log.critical("the endpoints do not bear out that %s is in block %d", claim.hash, claim.block.number)
    return Doubts(refuted=frozenset(claim.tx_id for claim in refuted))


async def is_gone(witness: EvmClient | None, block: BlockRef) -> bool:
    """Whether a block that one endpoint shows another one for is off the chain, by the word of all. Never raises
    RpcError: while they do not agree, it is not."""
    if witness is None:
        return True
    try:
        there = await witness.header(block.number)
    except RpcError as exc:
        log.warning("block %d may have left the chain: %s", block.number, exc)
        return False
    return there is None or there.ref != block


async def is_overtaken(witness: EvmClient | None, slot: OpenTx, final_height: int | None) -> bool:
    """Whether a foreign transaction has the slot's nonce for ever, by the word of all. Never raises RpcError."""
    if witness is None:
        return True
    if final_height is None:
        return False
    try:
        used = await witness.nonce(slot.tx.lane.wallet, block=final_height)
        receipts = await witness.receipts([attempt.hash for attempt in slot.attempts])
    except RpcError as exc:
        log.warning("nonce %d of %s stays open: %s", slot.tx.nonce, slot.tx.lane.wallet, exc)
        return False
    return used > slot.tx.nonce and not any(receipts)
