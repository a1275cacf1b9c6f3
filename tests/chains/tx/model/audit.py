"""What may change in the engine's tables in one commit, said again and independently of `chains.tx.model`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from chains.tx.memory import MemoryState
from chains.tx.model import AttemptKind, IntentState, Tx, TxId, TxState, Wish

S = TxState
NEXT: Final = {
    S.RESERVED: {S.SIGNED, S.SUPERSEDED},
    S.SIGNED: {S.BROADCAST, S.MINED, S.SUPERSEDED},
    S.BROADCAST: {S.MINED, S.SUPERSEDED},
    S.MINED: {S.CONFIRMED, S.BROADCAST},
    S.CONFIRMED: {S.FINAL, S.BROADCAST},
    S.FINAL: set[TxState](),
    S.SUPERSEDED: set[TxState](),
}
"""I5's order; the two edges back to broadcast are the enumerated ones of a reorg."""


def audit(before: MemoryState, after: MemoryState) -> list[str]:
    """What one commit did that it may not."""
    return [*_slots(before, after), *_intents(before, after), *_attempts(before, after)]


def _slots(before: MemoryState, after: MemoryState) -> Iterator[str]:
    for tx_id, old in before.txs.items():
        new = after.txs.get(tx_id)
        if new is None:
            yield f"I5: slot {tx_id} vanished"
        elif new is not old:
            if new.state not in _reachable(old.state):
                yield f"I5: slot {tx_id} went from {old.state} to {new.state}"
            if old.state in (S.FINAL, S.SUPERSEDED) and _as_it_was(new, old) != old:
                yield f"I5: slot {tx_id} was {old.state} and was changed"
            if _identity(new) != _identity(old):
                yield f"I1: slot {tx_id} got another intent, nonce or gas limit"
            if old.wish is Wish.CANCEL and new.wish is not Wish.CANCEL:
                yield f"I5: the cancel of slot {tx_id} was taken back"


def _intents(before: MemoryState, after: MemoryState) -> Iterator[str]:
    for intent_id, old in before.intents.items():
        new = after.intents.get(intent_id)
        if new is None:
            yield f"I5: intent {intent_id} vanished"
        elif new is not old:
            if old.state in (IntentState.PLACED, IntentState.REJECTED):
                yield f"I5: intent {intent_id} was {old.state} and was changed"
            if new.call != old.call:
                yield f"I1: intent {intent_id} wants something else now"
    if len(after.txs) > len(before.txs):
        intents = [tx.intent_id for tx in after.txs.values()]
        if len(set(intents)) < len(intents):
            yield "I1: an intent has two slots"
        slots = [(tx.lane, tx.nonce) for tx in after.txs.values()]
        if len(set(slots)) < len(slots):
            yield "I2: a nonce has two slots"


def _attempts(before: MemoryState, after: MemoryState) -> Iterator[str]:
    for tx_hash, old in before.attempts.items():
        new = after.attempts.get(tx_hash)
        if new is None or new.raw != old.raw or new.tx_id != old.tx_id:
            yield f"I4: attempt {tx_hash} vanished or was changed"
    for tx_hash in after.attempts.keys() - before.attempts.keys():
        attempt = after.attempts[tx_hash]
        tx = before.txs.get(attempt.tx_id)
        if tx is not None and tx.wish is Wish.CANCEL and attempt.kind is AttemptKind.REAL:
            yield f"I5: a payload was signed for slot {tx.id}, which is to be cancelled"


def _as_it_was(new: Tx, old: Tx) -> Tx:
    """The slot with the notes of before. What was noted or wished while it was open may be taken off later: that a bump
    is over the fee caps may be found out in the moment in which the block comes."""
    noted = replace(new, updated_ms=old.updated_ms, note=old.note)
    if old.wish is Wish.BUMP and new.wish is None:
        return replace(noted, wish=old.wish, wish_reason=old.wish_reason)
    return noted


def _identity(tx: Tx) -> tuple[TxId, object, object, int, int]:
    return tx.id, tx.intent_id, tx.lane, tx.nonce, tx.gas_limit


def _reachable(start: TxState) -> set[TxState]:
    """In any number of steps of one commit."""
    found, todo = {start}, [start]
    while todo:
        for after in NEXT[todo.pop()] - found:
            found.add(after)
            todo.append(after)
    return found
