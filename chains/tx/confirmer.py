"""Watches what was sent: mined, confirmed, final, reorged away, or overtaken by a foreign transaction.

Each round looks at one head and decides with `verdicts.decide`. If the head moved while reading, the round is given up.

Guarantees:
- nothing follows from a look-up that failed;
- all that follows for one slot commits together with the observer's part, and slots of a lane in the order of nonces;
- the cursor moves to the block at confirmed depth only when every own transaction up to it has been confirmed in an
  earlier unit of work, and no nonce up to it is used by something unexplained;
- a cursor whose block left the chain freezes the chain: nothing moves, lanes are held (`frozen`).

Not guaranteed: that the endpoint tells the truth; depth and the finalized tag are as good as it is. Where there are
several, what is for ever needs their common word (chains.tx.witness).
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Generic, TypeVar, assert_never

from chains.crashpoints import reach
from chains.errors import RpcRefused
from chains.tx import witness
from chains.tx.context import EngineParts
from chains.tx.model import UNMINED_TX_STATES, Intent, Lane, OpenTx, TxId
from chains.tx.reasons import HoldCode, reason
from chains.tx.sending import Sender
from chains.tx.store import StaleState
from chains.tx.verdicts import Change, Decision, Look, Step, decide, needs_receipt, superseded
from chains.types import BlockHash, BlockRef, Header, Receipt, TxHash

U = TypeVar("U")

log = logging.getLogger(__name__)


class Confirmer(Generic[U]):
    """Follows one chain's open slots. `round` is to be called by one task only."""

    def __init__(self, parts: EngineParts[U], sender: Sender[U]) -> None:
        self._parts = parts
        self._sender = sender
        self._done: BlockHash | None = None
        self._overtaken_at: dict[TxId, BlockHash] = {}
        self.frozen = False
        """The cursor's block is not canonical any more; no lane may take new work."""
        self.checked = False
        """The cursor was looked for on the chain at least once."""
        self.head: Header | None = None
        """The one that the last round looked at."""

    async def round(self) -> bool:
        """Look at the current head; True when everything up to it is worked off.

        Raises: RpcError: nothing is lost, call again.
        """
        parts = self._parts
        head = self.head = await parts.client.head()
        if head.hash == self._done:
            return True
        slots, cursor = await parts.uow.read(self._read)
        look = await self._look(head, slots, cursor)
        if look is None:
            return False
        if cursor is not None and cursor.number <= head.number and not look.is_canonical(cursor):
            await self._freeze(cursor, slots)
            self.checked = True
            return False
        self.frozen, self.checked = False, True
        await self._hold_refuted(slots, look)
        by_lane = [list(group) for _, group in groupby(slots, key=lambda slot: slot.tx.lane)]
        results = await asyncio.gather(*(self._follow(lane, look) for lane in by_lane))
        if not all(results):
            return False
        await self._move_cursor(cursor, look)
        self._done = head.hash
        return True

    # -- reading ------------------------------------------------------------------------------------------

    def _read(self, uow: U) -> tuple[Sequence[OpenTx], BlockRef | None]:
        chain_id = self._parts.config.chain_id
        return self._parts.store.open_txs(uow, chain_id), self._parts.store.cursor(uow, chain_id)

    def _target(self, head: Header) -> int:
        """The height at confirmed depth; genesis on a chain that is shorter."""
        return max(0, head.number - self._parts.config.finality.confirmed_depth + 1)

    async def _look(self, head: Header, slots: Sequence[OpenTx], cursor: BlockRef | None) -> Look | None:
        """Read everything about this head; None if the chain moved meanwhile."""
        client = self._parts.client
        final_height = await self._final_height(head)
        receipts = await self._receipts(slot for slot in slots if needs_receipt(slot.tx))
        heights = {head.number, self._target(head)} | {receipt.block.number for receipt in receipts.values()}
        heights |= {slot.tx.block.number for slot in slots if slot.tx.block is not None}
        if cursor is not None and cursor.number <= head.number:
            heights.add(cursor.number)
        canonical = await self._canonical(heights)

        # A confirmed transaction whose block left the chain may have been mined again elsewhere.
        moved = [s for s in slots if s.tx.block is not None and canonical.get(s.tx.block.number) != s.tx.block]
        if moved:
            receipts |= await self._receipts(moved)
            canonical |= await self._canonical({receipt.block.number for receipt in receipts.values()} - heights)
        used_at_target = await self._used(slots, self._target(head))
        suspects = [s for s in slots if s.tx.nonce < used_at_target.get(s.tx.lane, 0)]
        used_finally = await self._used_finally(suspects, final_height)
        doubts = await witness.doubts(self._parts.witness, witness.claims(slots, receipts, final_height))
        again = await client.header(head.number)
        if again is None or again.hash != head.hash or canonical.get(head.number) != head.ref:
            log.info("the head %d moved during a round; it is looked at again", head.number)
            return None
        return Look(
            head=head,
            confirmed_depth=self._parts.config.finality.confirmed_depth,
            final_height=final_height,
            receipts=receipts,
            canonical=canonical,
            used_at_target=used_at_target,
            used_finally=used_finally,
            doubts=doubts,
        )

    async def _final_height(self, head: Header) -> int | None:
        finality = self._parts.config.finality
        height = head.number - finality.min_final_depth + 1
        if finality.use_finalized_tag:
            tagged = await self._parts.client.header("finalized")
            if tagged is None:
                return None
            height = min(height, tagged.number)
        return height if height >= 0 else None

    async def _receipts(self, slots: Iterable[OpenTx]) -> dict[TxHash, Receipt]:
        """Receipts of all attempts of these slots, as far as there are any."""
        hashes = [attempt.hash for slot in slots for attempt in slot.attempts]
        return {found.tx_hash: found for found in await self._parts.client.receipts(hashes) if found is not None}

    async def _canonical(self, heights: set[int]) -> dict[int, BlockRef]:
        headers = await self._parts.client.headers(sorted(heights))
        return {header.number: header.ref for header in headers if header is not None}

    async def _used(self, slots: Sequence[OpenTx], height: int) -> dict[Lane, int]:
        """Nonces at a height of the lanes that have unmined slots among these."""
        lanes = sorted({slot.tx.lane for slot in slots if slot.tx.state in UNMINED_TX_STATES})
        nonces = await self._parts.client.nonces([(lane.wallet, height) for lane in lanes])
        return dict(zip(lanes, nonces, strict=True))

    async def _used_finally(self, suspects: Sequence[OpenTx], final_height: int | None) -> dict[Lane, int]:
        if final_height is None or not suspects:
            return {}
        try:
            return await self._used(suspects, final_height)
        except RpcRefused as exc:
            # The node has pruned that state: without it nothing is called overtaken.
            log.warning("the nonce at final block %d is not to be had: %s", final_height, exc)
            return {}

    # -- writing ------------------------------------------------------------------------------------------

    async def _follow(self, slots: Sequence[OpenTx], look: Look) -> bool:
        """Work off the slots of one lane; False if something has to be looked at again."""
        clear = True
        for slot in slots:
            now_ms = self._parts.clock.now_ms()
            decision = decide(slot, look, now_ms)
            steps = list(decision.steps)
            if await self._is_overtaken(slot, decision, look):
                steps.append(superseded(slot, now_ms))
            elif decision.unclear:
                clear = False
            if not steps:
                continue
            reach("K11")
            try:
                await self._parts.uow.run(lambda u, s=slot, todo=steps: self._write_all(u, s.intent, todo))  # type: ignore[misc]
            except StaleState as exc:
                log.info("slot %d moved meanwhile and is looked at again: %s", slot.tx.id, exc)
                clear = False
                continue
            reach("K17")
            if steps[-1].change is Change.REORGED:
                self._sender.forget(slot.attempts)
            for step in steps:
                log.info("%s nonce %d: %s", slot.tx.lane.wallet, slot.tx.nonce, step.change)
        return clear

    async def _is_overtaken(self, slot: OpenTx, decision: Decision, look: Look) -> bool:
        """Only when two heads in a row say so, and the witness: the state is for ever, and a receipt may come late."""
        if not decision.overtaken:
            self._overtaken_at.pop(slot.tx.id, None)
            return False
        if self._overtaken_at.setdefault(slot.tx.id, look.head.hash) == look.head.hash:
            return False
        return await witness.is_overtaken(self._parts.witness, slot, look.final_height)

    def _write_all(self, uow: U, intent: Intent, steps: Sequence[Step]) -> None:
        for step in steps:
            self._write(uow, intent, step)
            reach("K12")

    def _write(self, uow: U, intent: Intent, step: Step) -> None:
        store, observer = self._parts.store, self._parts.observer
        tx, now_ms = step.tx, self._parts.clock.now_ms()
        match step.change:
            case Change.REORGED:
                store.mark_reorged(uow, tx.id, now_ms)
                reach("K14")
                observer.on_reorged(uow, intent, tx)
            case Change.MINED:
                receipt = _required(step.receipt)
                store.mark_mined(uow, tx.id, receipt.tx_hash, block=receipt.block, outcome=tx.outcome, now_ms=now_ms)
                observer.on_mined(uow, intent, tx, receipt)
            case Change.CONFIRMED:
                store.mark_confirmed(uow, tx.id, now_ms)
                observer.on_confirmed(uow, intent, tx, _required(step.receipt))
            case Change.FINAL:
                store.mark_final(uow, tx.id, now_ms)
                observer.on_final(uow, intent, tx)
            case Change.SUPERSEDED:
                store.mark_superseded(uow, tx.id, now_ms)
                text = f"nonce {tx.nonce} was used by a transaction that is not ours"
                store.hold_lane(uow, tx.lane, reason(HoldCode.FOREIGN_NONCE, text))
                observer.on_superseded(uow, intent, tx)
            case _ as never:
                assert_never(never)

    async def _move_cursor(self, cursor: BlockRef | None, look: Look) -> None:
        target = look.canonical.get(self._target(look.head))
        if target is None or (cursor is not None and target.number <= cursor.number):
            return
        chain_id = self._parts.config.chain_id
        await self._parts.uow.run(lambda u: self._parts.store.set_cursor(u, chain_id, target))

    async def _hold_refuted(self, slots: Sequence[OpenTx], look: Look) -> None:
        """What was booked from a receipt that the endpoints together do not bear out is for a person to look at."""
        store = self._parts.store
        refuted = [slot.tx for slot in slots if slot.tx.id in look.doubts.refuted]
        if not refuted:
            return

        def work(u: U) -> None:
            for tx in refuted:
                state = store.lane(u, tx.lane)
                if state is not None and state.hold_reason is None:
                    text = f"the endpoints do not bear out how nonce {tx.nonce} ended; compare the books with the chain"
                    store.hold_lane(u, tx.lane, reason(HoldCode.CONTRADICTED, text))

        await self._parts.uow.run(work)

    async def _freeze(self, cursor: BlockRef, slots: Sequence[OpenTx]) -> None:
        """Nothing of this chain moves: what was booked rests on a block that is gone. A person has to look."""
        if self.frozen:
            return
        self.frozen = True
        parts = self._parts
        text = f"block {cursor.number} {cursor.hash}, up to which the books go, left the chain"
        log.critical("%s is frozen: %s", parts.config.key, text)

        def work(u: U) -> None:
            lanes = {slot.tx.lane for slot in slots} | set(parts.store.queued_lanes(u, parts.config.chain_id))
            for lane in sorted(lanes):
                state = parts.store.lane(u, lane)
                if state is not None and state.hold_reason is None:
                    parts.store.hold_lane(u, lane, reason(HoldCode.DEEP_REORG, text))

        await parts.uow.run(work)


def _required(receipt: Receipt | None) -> Receipt:
    if receipt is None:
        raise RuntimeError("a step that needs a receipt was decided without one")
    return receipt
