"""Watches what was sent: mined, confirmed, final, reorged away, or overtaken by a foreign transaction.

    poll -> step (blocks that came and went) -> look at the open slots -> decide -> write, by lane -> commit the step

Each round follows the chain to one head (chains.heads), reads what there is to know about the open slots at that head
(chains.tx.looking) and decides with `verdicts.decide`. If the head moved while reading, the round is given up.

Guarantees:
- nothing follows from a look-up that failed, or from a node that is behind;
- all that follows for one slot commits together with the observer's part, and slots of a lane in the order of nonces;
- a step of the chain commits after its consequences: a crash between repeats it and never skips it;
- the cursor moves, with the step, to the block at confirmed depth only when every own transaction up to it has been
  confirmed in an earlier unit of work, and no nonce up to it is used by something unexplained;
- a final block that is another one now, a cursor whose block left the chain, and a reorg deeper than all that is kept
  freeze the chain, over restarts, until a person thaws it: nothing moves, its lanes are held. Where several endpoints
  must say the same, one that lies freezes nothing;
- a row that makes no sense stops its own slot, and its lane's new work (chains.tx.unusable); all else is followed;
- however long nobody looked, what is read is bounded by the follower's window and by the open slots.

Not guaranteed: that the endpoint tells the truth; depth and the finalized tag are as good as it is. Where there are
several, what is for ever needs their common word (chains.tx.witness).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final, Generic, TypeVar, assert_never

from chains.config import FinalityPolicy
from chains.crashpoints import reach
from chains.heads import HeadFollower, HeadPolicy, ReorgTooDeep
from chains.headstate import HeadStep, KnownHead
from chains.tx import witness
from chains.tx.context import EngineParts
from chains.tx.looking import look_at
from chains.tx.model import OPEN_TX_STATES, Intent, OpenTx, Plan, TxId, Unusable
from chains.tx.reasons import HoldCode, reason
from chains.tx.sending import Sender
from chains.tx.store import StaleState, UnusableRow
from chains.tx.unusable import give_up_astray, hold_lane, hold_unusable
from chains.tx.verdicts import Change, Decision, Look, Step, decide, superseded
from chains.types import BlockHash, BlockRef, Header, Receipt

U = TypeVar("U")

LEAST_WINDOW: Final = 64
LEAST_KEEP: Final = 512
"""Blocks, see `HeadPolicy`. Twice the window, so that a skip never keeps less than what was kept before."""

log = logging.getLogger(__name__)


class _Told(StrEnum):
    """How far the slots of a lane are worked off at a head."""

    CLEAR = "clear"
    UNCLEAR = "unclear"
    """Something is not explained yet. The cursor stays where it is."""
    STALE = "stale"
    """A slot moved meanwhile, so that what follows for it was not written. The step comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What is stored, read at once."""

    slots: Sequence[OpenTx]
    unusable: Sequence[Unusable]
    astray: Sequence[Plan]
    cursor: BlockRef | None


class _Broken(Exception):
    """The chain did what it must not. Leaves the round and freezes the chain, if `block` is really gone."""

    def __init__(self, code: HoldCode, text: str, *, block: BlockRef) -> None:
        super().__init__(text)
        self.stored = reason(code, text)
        self.block = block


class Confirmer(Generic[U]):
    """Follows one chain's open slots. `round` is to be called by one task only."""

    def __init__(self, parts: EngineParts[U], sender: Sender[U]) -> None:
        self._parts = parts
        self._sender = sender
        self._heads = HeadFollower(
            parts.client,
            chain_id=parts.config.chain_id,
            store=parts.heads,
            uow=parts.uow,
            policy=_head_policy(parts.config.finality),
            clock=parts.clock,
        )
        self._done: BlockHash | None = None
        self._overtaken_at: dict[TxId, BlockHash] = {}
        self.frozen = False
        """No lane of the chain may take new work, nothing is followed."""
        self.checked = False
        """The cursor was looked for on the chain at least once."""
        self.head: Header | None = None
        """The one that the last round looked at."""

    @property
    def known(self) -> KnownHead | None:
        """The newest head that was worked off, and when it was last seen; no node is asked."""
        return self._heads.known

    async def round(self) -> bool:
        """Look at the chain once; False while it is frozen.

        Raises: RpcError, StaleState: nothing is lost, call again.
        """
        parts, chain_id = self._parts, self._parts.config.chain_id
        if await parts.uow.read(lambda u: parts.heads.frozen(u, chain_id)) is not None:
            self.frozen = self.checked = True
            self.head = await parts.client.head()
            return False
        if self.frozen:
            log.warning("%s is followed again", parts.config.key)
            self.frozen, self._done = False, None
            self._heads.forget()
        try:
            await self._follow_chain()
        except _Broken as broken:
            if not await witness.is_gone(parts.witness, broken.block):
                log.warning("%s: an endpoint is not believed: %s", parts.config.key, broken)
                return True
            await self._freeze(broken.stored)
        return not self.frozen

    async def _follow_chain(self) -> None:
        step = await self._poll()
        if step is None:
            return
        self.head = step.head
        if step.head.hash == self._done:
            return
        state = await self._parts.uow.read(self._read)
        await hold_unusable(self._parts, state.unusable)
        await give_up_astray(self._parts, state.astray)
        if state.cursor is not None and state.cursor.number > step.head.number:
            return  # this node is behind the one that told us
        look = await look_at(self._parts, step, state.slots, state.cursor)
        if look is None:
            return
        if state.cursor is not None and not look.is_canonical(state.cursor):
            text = f"block {state.cursor.number} {state.cursor.hash}, up to which the books go, left the chain"
            raise _Broken(HoldCode.DEEP_REORG, text, block=state.cursor)
        self.checked = True
        await self._hold_refuted(state.slots, look)
        by_lane = [list(group) for _, group in groupby(state.slots, key=lambda slot: slot.tx.lane)]
        told = await asyncio.gather(*(self._follow(lane, look) for lane in by_lane))
        if _Told.STALE in told:
            return
        is_clear = _Told.UNCLEAR not in told
        await self._commit(step, state.cursor, look if is_clear else None)
        if is_clear:
            self._done = step.head.hash

    async def _poll(self) -> HeadStep | None:
        """The way to the node's head; None if nothing can be said about it now."""
        try:
            step = await self._heads.poll()
        except ReorgTooDeep as exc:
            raise _Broken(HoldCode.DEEP_REORG, str(exc), block=exc.oldest) from exc
        if step is not None and (violation := step.violation) is not None:
            was, now = violation.was, violation.now
            text = f"block {was.number} {was.hash}, which was final, is {'gone' if now is None else now.hash} now"
            raise _Broken(HoldCode.FINALITY_VIOLATED, text, block=was)
        return step

    def _read(self, uow: U) -> _State:
        store, chain_id = self._parts.store, self._parts.config.chain_id
        slots = store.open_txs(uow, chain_id)
        return _State(
            slots=slots,
            unusable=store.unusable(uow, chain_id, slots, states=OPEN_TX_STATES),
            astray=store.astray(uow, chain_id),
            cursor=store.cursor(uow, chain_id),
        )

    # -- writing ------------------------------------------------------------------------------------------

    async def _follow(self, slots: Sequence[OpenTx], look: Look) -> _Told:
        """Work off the slots of one lane."""
        told = _Told.CLEAR
        for slot in slots:
            now_ms = self._parts.clock.now_ms()
            decision = decide(slot, look, now_ms)
            steps = list(decision.steps)
            if await self._is_overtaken(slot, decision, look):
                steps.append(superseded(slot, now_ms))
            elif decision.unclear and told is _Told.CLEAR:
                told = _Told.UNCLEAR
            if not steps:
                continue
            reach("K11")
            try:
                await self._parts.uow.run(lambda u, s=slot, todo=steps: self._write_all(u, s.intent, todo))  # type: ignore[misc]
            except StaleState as exc:
                log.info("slot %d moved meanwhile and is looked at again: %s", slot.tx.id, exc)
                told = _Told.STALE
                continue
            except UnusableRow as exc:
                await hold_lane(self._parts, slot.tx.lane, f"what became of nonce {slot.tx.nonce} is not booked: {exc}")
                continue
            reach("K17")
            if steps[-1].change is Change.REORGED:
                self._sender.forget(slot.attempts)
            for step in steps:
                log.info("%s nonce %d: %s", slot.tx.lane.wallet, slot.tx.nonce, step.change)
        return told

    async def _is_overtaken(self, slot: OpenTx, decision: Decision, look: Look) -> bool:
        """Only when two heads in a row say so, and the witness: the state is for ever, and a receipt may come late."""
        if not decision.overtaken:
            self._overtaken_at.pop(slot.tx.id, None)
            return False
        if self._overtaken_at.setdefault(slot.tx.id, look.head.hash) == look.head.hash:
            return False
        client, several = self._parts.client, self._parts.witness
        return await witness.is_overtaken(client, several, slot, final_height=look.final_height)

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

    async def _commit(self, step: HeadStep, cursor: BlockRef | None, clear: Look | None) -> None:
        """The chain's state, and the cursor with it if all slots are clear."""
        store, chain_id = self._parts.store, self._parts.config.chain_id
        target = None if clear is None else clear.target
        moves = target is not None and (cursor is None or target.number > cursor.number)

        def also(u: U) -> None:
            if moves and target is not None:
                store.set_cursor(u, chain_id, target)

        if step.events or moves or self.known is None:
            reach("K14b")
            await self._heads.commit(step, also)

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

    async def _freeze(self, stored: str) -> None:
        """Nothing of this chain moves: what was booked may rest on a block that is gone. A person has to look."""
        parts = self._parts
        self.frozen = self.checked = True
        log.critical("%s is frozen: %s", parts.config.key, stored)
        now_ms = parts.clock.now_ms()
        await parts.uow.run(lambda u: parts.heads.freeze(u, parts.config.chain_id, stored, now_ms=now_ms))


def _head_policy(finality: FinalityPolicy) -> HeadPolicy:
    window = max(LEAST_WINDOW, finality.min_final_depth)
    return HeadPolicy(
        final_depth=finality.min_final_depth,
        use_finalized_tag=finality.use_finalized_tag,
        window=window,
        keep=max(LEAST_KEEP, 2 * window),
    )


def _required(receipt: Receipt | None) -> Receipt:
    if receipt is None:
        raise RuntimeError("a step that needs a receipt was decided without one")
    return receipt
