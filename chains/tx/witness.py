"""What is for ever is not taken from one endpoint: receipts behind final states, asked where several must say the same.

Guarantees: with a witness, a slot becomes final only after the endpoints together gave the receipt that its state came
from; what they say otherwise is told apart from what they do not agree on. With one or without, a slot is superseded
only after the block that used its nonce was found to hold none of its attempts (as far as old states are to be had).
Not guaranteed: that they answer soon. A slot waits as confirmed, booked and shown, until they do.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chains.client import EvmClient
from chains.errors import RpcError, RpcRefused
from chains.tx.model import OpenTx, Outcome, TxId, TxState
from chains.types import Address, BlockRef, Receipt, TxHash

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
    unclear: set[TxId] = set()
    refuted: set[TxId] = set()
    for claim, receipt in zip(made, receipts, strict=True):
        if claim.is_borne_out(receipt):
            continue
        if receipt is None and await _may_hold(witness, claim):
            log.warning("%s waits as confirmed: its receipt is not told", claim.hash)
            unclear.add(claim.tx_id)
            continue
        log.critical("the endpoints do not bear out that %s is in block %d", claim.hash, claim.block.number)
        refuted.add(claim.tx_id)
    return Doubts(open=frozenset(unclear), refuted=frozenset(refuted))


async def _may_hold(witness: EvmClient, claim: Claim) -> bool:
    """Whether the block may hold the transaction although no receipt is told: nodes index late, or not for ever."""
    try:
        there = await witness.tx_hashes(claim.block.number)
    except RpcError:
        return True
    return there is None or claim.hash in there


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


async def is_overtaken(client: EvmClient, witness: EvmClient | None, slot: OpenTx, *, final_height: int | None) -> bool:
    """Whether a foreign transaction has the slot's nonce for ever, by the word of all: the block that used it is there
    and holds none of the slot's attempts. Never raises RpcError: what cannot be shown is not so.

    That no receipt was found is not enough: a node that indexes late, or has dropped its index, has none for what it
    mined. What a block holds it can tell nonetheless.
    """
    if final_height is None:
        return False
    source, wallet, own = witness or client, slot.tx.lane.wallet, {attempt.hash for attempt in slot.attempts}
    try:
        if await source.nonce(wallet, block=final_height) <= slot.tx.nonce or any(await source.receipts(sorted(own))):
            return False
        try:
            used_in = await _used_in(source, wallet, slot.tx.nonce, final_height=final_height)
        except RpcRefused as exc:
            # States that old are pruned: what the receipts say has to do.
            log.warning("which block used nonce %d of %s is not to be had: %s", slot.tx.nonce, wallet, exc)
            return True
        there = None if used_in is None else await source.tx_hashes(used_in)
    except RpcError as exc:
        log.warning("nonce %d of %s stays open: %s", slot.tx.nonce, wallet, exc)
        return False
    return there is not None and own.isdisjoint(there)


async def _used_in(source: EvmClient, wallet: Address, nonce: int, *, final_height: int) -> int | None:
    """Height of the block that used the nonce, looked for from the final one down; None if that is not to be seen."""
    used_at, below, stride = final_height, final_height, 1
    while await source.nonce(wallet, block=below) > nonce:
        if below == 0:
            return None
        used_at, below, stride = below, max(0, below - stride), 2 * stride
    if below == final_height:
        return None
    while used_at - below > 1:
        middle = (used_at + below) >> 1
        if await source.nonce(wallet, block=middle) > nonce:
            used_at = middle
        else:
            below = middle
    return used_at
