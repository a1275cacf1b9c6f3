"""Rows of the engine's tables to its values and back, and the proof that a stored payload is the accepted one.

Guarantees: an intent whose columns no longer have its payload hash loads as `altered`; the accepted payload is taken
from signed bytes where there are any that have the hash. A row that is none at all raises, and within `sense` it raises
`UnusableRow`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Row

from chains.errors import ChainError, SigningError
from chains.signing import eip1559
from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    Intent,
    IntentId,
    IntentState,
    Lane,
    Outcome,
    PlanId,
    Tx,
    TxId,
    TxState,
    Wish,
    payload_hash,
)
from chains.tx.store import UnusableRow
from chains.types import BlockHash, BlockRef, CallRequest, ChainId, Fees, TxHash

_NO_SENSE: Final = (ValueError, TypeError, LookupError, OverflowError, ChainError)
"""What a value raises that is none of its column's, or of no state, address or payload that there is."""


@contextlib.contextmanager
def sense(what: str) -> Iterator[None]:
    """Around the reading of rows. Raises: UnusableRow: they are none that the service writes."""
    try:
        yield
    except UnusableRow:
        raise
    except _NO_SENSE as exc:
        raise UnusableRow(f"a row of {what} makes no sense: {type(exc).__name__}") from exc


def intent_row(intent: Intent) -> dict[str, Any]:
    return {
        "id": intent.id,
        "plan_id": intent.plan_id,
        "position": intent.position,
        "chain_id": intent.lane.chain_id,
        "wallet": intent.lane.wallet,
        "to_address": intent.call.to,
        "value_wei": intent.call.value_wei,
        "data": intent.call.data,
        "payload_hash": intent.payload_hash,
        "gas_limit": intent.gas_limit,
        "max_gas_cost_wei": intent.max_gas_cost_wei,
        "state": intent.state,
        "reject_reason": intent.reject_reason,
    }


def intent(row: Row[Any]) -> Intent:
    if (row.state == IntentState.REJECTED) != (row.reject_reason is not None):
        raise ValueError("only what is rejected has a reason")
    loaded = Intent(
        id=IntentId(row.id),
        plan_id=PlanId(row.plan_id),
        position=row.position,
        lane=Lane(chain_id=ChainId(row.chain_id), wallet=row.wallet),
        call=CallRequest(to=row.to_address, data=bytes(row.data), value_wei=row.value_wei),
        payload_hash=row.payload_hash,
        state=IntentState(row.state),
        reject_reason=row.reject_reason,
        gas_limit=None if row.gas_limit is None else _whole(row.gas_limit),
        max_gas_cost_wei=row.max_gas_cost_wei,
    )
    intact = payload_hash(loaded.lane, loaded.call) == loaded.payload_hash
    return loaded if intact else replace(loaded, altered=True)


def restored(intent: Intent, attempts: Sequence[Attempt]) -> Intent:
    """The intent with the accepted payload, where one of its attempts was signed for that. It stays `altered`."""
    if not intent.altered:
        return intent
    for attempt in attempts:
        try:
            tx, sender = eip1559.decode(attempt.raw)
        except SigningError:
            continue  # these bytes were changed as well
        lane = Lane(chain_id=tx.chain_id, wallet=sender)
        call = CallRequest(to=tx.to, data=tx.data, value_wei=tx.value_wei)
        if payload_hash(lane, call) == intent.payload_hash:
            return replace(intent, lane=lane, call=call)
    return intent


def tx(row: Row[Any]) -> Tx:
    """`row` may go without what `tx_wishes` and `tx_notes` say: a slot that was just made has neither."""
    extra = row._mapping
    block = None if row.block_number is None else BlockRef(number=row.block_number, hash=BlockHash(row.block_hash))
    return Tx(
        id=TxId(row.id),
        intent_id=IntentId(row.intent_id),
        lane=Lane(chain_id=ChainId(row.chain_id), wallet=row.wallet),
        nonce=_whole(row.nonce),
        gas_limit=_whole(row.gas_limit),
        state=TxState(row.state),
        outcome=Outcome(row.outcome),
        block=block,
        mined_hash=row.mined_hash,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        wish=None if extra.get("wish") is None else Wish(row.wish),
        wish_reason=extra.get("wish_reason"),
        note=extra.get("note"),
    )


def attempt_row(attempt: Attempt) -> dict[str, Any]:
    return {
        "hash": attempt.hash,
        "tx_id": attempt.tx_id,
        "kind": attempt.kind,
        "raw": attempt.raw,
        "max_fee_wei": attempt.fees.max_fee_wei,
        "priority_fee_wei": attempt.fees.priority_fee_wei,
        "gas_limit": attempt.gas_limit,
        "state": attempt.state,
        "created_ms": attempt.created_ms,
        "sent_ms": attempt.sent_ms,
        "node_answer": attempt.node_answer,
    }


def attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        hash=TxHash(row.hash),
        tx_id=TxId(row.tx_id),
        kind=AttemptKind(row.kind),
        raw=bytes(row.raw),
        fees=Fees(max_fee_wei=row.max_fee_wei, priority_fee_wei=row.priority_fee_wei),
        gas_limit=_whole(row.gas_limit),
        state=AttemptState(row.state),
        created_ms=row.created_ms,
        sent_ms=row.sent_ms,
        node_answer=row.node_answer,
    )


def _whole(value: Any) -> int:
    """Raises: ValueError: no number that counts something."""
    if type(value) is not int or value < 0:
        raise ValueError("not a number from 0 on")
    return value
