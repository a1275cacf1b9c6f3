"""Words and states of the transaction engine: pure values, and the transition table as data.

    intent: accepted -> queued -> placed (its state is then that of its tx)     accepted | queued -> rejected
    tx:     reserved -> signed -> broadcast -> mined -> confirmed -> final
                                     ^___________|__________|        a reorg returns it to broadcast
            reserved | signed | broadcast -> superseded              a foreign transaction used the nonce

- **intent**: one effect wanted on the chain. **plan**: the ordered intents of one order or withdrawal, on adjacent
  nonces of one lane. **lane**: one (chain, wallet). **tx**: one nonce slot of one wallet. **attempt**: one signed
  payload for a slot.
- Success or revert is an outcome of a mined tx, not a state: both pass mined -> confirmed -> final.

Guarantees: `check_transition` refuses every edge that the tables do not list; stores call it and repeat it as a
guarded update. Not guaranteed here: durability (the store's task).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from chains.types import Address, BlockRef, CallRequest, ChainId, Fees, TxHash, address_bytes

PlanId = NewType("PlanId", str)
"""Opaque to the engine: chosen by the caller, unique for ever."""
IntentId = NewType("IntentId", str)
"""Opaque to the engine: chosen by the caller, unique for ever."""
TxId = NewType("TxId", int)


class IntentState(StrEnum):
    ACCEPTED = "accepted"
    """Durable, not yet released to its lane (it waits for an approval, say)."""
    QUEUED = "queued"
    PLACED = "placed"
    REJECTED = "rejected"


class TxState(StrEnum):
    RESERVED = "reserved"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    MINED = "mined"
    CONFIRMED = "confirmed"
    FINAL = "final"
    SUPERSEDED = "superseded"


class Wish(StrEnum):
    """What was asked for an unmined slot and is not done yet."""

    BUMP = "bump"
    """Another attempt at a higher price now."""
    CANCEL = "cancel"
    """Close the nonce by a self-send. Never taken back: from here on no payload is signed for the slot."""


class Outcome(StrEnum):
    NONE = "none"
    SUCCEEDED = "succeeded"
    REVERTED = "reverted"
    CANCELLED = "cancelled"
    """A self-send took the nonce instead of the intent's payload."""


class AttemptKind(StrEnum):
    REAL = "real"
    """Carries the intent's payload."""
    CANCEL = "cancel"
    """An empty self-send at the same nonce."""


class AttemptState(StrEnum):
    SIGNED = "signed"
    SENT = "sent"
    REFUSED = "refused"
    """No node is known to have taken it, and a newer attempt stands in for it. Watched like the others."""
    MINED = "mined"
    LOST = "lost"
    """Another attempt of the slot was mined."""


INTENT_TRANSITIONS: Final[Mapping[IntentState, frozenset[IntentState]]] = {
    IntentState.ACCEPTED: frozenset({IntentState.QUEUED, IntentState.REJECTED}),
    IntentState.QUEUED: frozenset({IntentState.PLACED, IntentState.REJECTED}),
    IntentState.PLACED: frozenset(),
    IntentState.REJECTED: frozenset(),
}

TX_TRANSITIONS: Final[Mapping[TxState, frozenset[TxState]]] = {
    TxState.RESERVED: frozenset({TxState.SIGNED, TxState.SUPERSEDED}),
    # signed -> mined: the send's answer was lost and the receipt arrived first.
    TxState.SIGNED: frozenset({TxState.BROADCAST, TxState.MINED, TxState.SUPERSEDED}),
    TxState.BROADCAST: frozenset({TxState.MINED, TxState.SUPERSEDED}),
    TxState.MINED: frozenset({TxState.CONFIRMED, TxState.BROADCAST}),
    TxState.CONFIRMED: frozenset({TxState.FINAL, TxState.BROADCAST}),
    TxState.FINAL: frozenset(),
    TxState.SUPERSEDED: frozenset(),
}

CLOSED_TX_STATES: Final = frozenset({TxState.FINAL, TxState.SUPERSEDED})
OPEN_TX_STATES: Final = frozenset(TxState) - CLOSED_TX_STATES
UNMINED_TX_STATES: Final = frozenset({TxState.RESERVED, TxState.SIGNED, TxState.BROADCAST})
SENDABLE_ATTEMPT_STATES: Final = frozenset({AttemptState.SIGNED, AttemptState.SENT, AttemptState.REFUSED})


class IllegalTransition(Exception):
    """A state change that the transition table does not list: a bug or a lost race, never retried blindly."""


def check_transition(before: TxState, after: TxState) -> None:
    """Raises: IllegalTransition: the tx table has no such edge."""
    if after not in TX_TRANSITIONS[before]:
        raise IllegalTransition(f"tx {before} -> {after}")


def check_intent_transition(before: IntentState, after: IntentState) -> None:
    """Raises: IllegalTransition: the intent table has no such edge."""
    if after not in INTENT_TRANSITIONS[before]:
        raise IllegalTransition(f"intent {before} -> {after}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Lane:
    """One (chain, wallet): the owner of a nonce sequence."""

    chain_id: ChainId
    wallet: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """`next_nonce` is the next one to hand out. A held lane takes no new work until a person releases it."""

    lane: Lane
    next_nonce: int
    hold_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One effect wanted on the chain. `payload_hash` binds the row to its payload: `payload_hash(lane, call)`."""

    id: IntentId
    plan_id: PlanId
    position: int
    lane: Lane
    call: CallRequest
    payload_hash: str
    state: IntentState = IntentState.QUEUED
    reject_reason: str | None = None
    gas_limit: int | None = None
    """Fixed gas limit; None lets the lane's simulation choose."""
    max_gas_cost_wei: int | None = None
    """The most that gas limit x max fee of any attempt at its payload may come to, bumps included; None: what the
    chain's cost cap says."""
    altered: bool = False
    """Set by the store that loads it: the row no longer had its payload hash. Nothing is signed for it but what closes
    its nonce, unless `call` could be restored from bytes that were signed before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The ordered intents of one order or withdrawal. All share one lane; positions count from 0.

    `valid_until_ms`: past it the plan is rejected instead of placed (its calldata carries an on-chain deadline).
    """

    id: PlanId
    lane: Lane
    intents: tuple[Intent, ...]
    created_ms: int
    valid_until_ms: int | None = None
    unusable: bool = False
    """Set by the store that loads it: a row of it makes no sense, and nothing of it was read but whose it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """One nonce slot. `gas_limit` is fixed when the nonce is reserved; `block` and `mined_hash` while mined."""

    id: TxId
    intent_id: IntentId
    lane: Lane
    nonce: int
    gas_limit: int
    state: TxState
    outcome: Outcome = Outcome.NONE
    block: BlockRef | None = None
    mined_hash: TxHash | None = None
    created_ms: int
    updated_ms: int
    wish: Wish | None = None
    wish_reason: str | None = None
    """Who or what asked, for a person."""
    note: str | None = None
    """Why its price stays where it is though it waits, as "code: text"; for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One signed payload for a slot. `raw` is a bearer cheque: never logged."""

    hash: TxHash
    tx_id: TxId
    kind: AttemptKind
    raw: bytes
    fees: Fees
    gas_limit: int
    state: AttemptState
    created_ms: int
    sent_ms: int | None = None
    node_answer: str | None = None
    """Class and wording of the last answer to a send, for the operator."""

    def __repr__(self) -> str:
        return f"Attempt(hash={self.hash!r}, tx_id={self.tx_id}, kind={self.kind}, state={self.state})"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTx:
    """A slot that is not closed, its intent, and every attempt at it, oldest first."""

    tx: Tx
    intent: Intent
    attempts: tuple[Attempt, ...]
    valid_until_ms: int | None = None
    """That of its plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A slot of which a row makes no sense: its own, its intent's or plan's, or an attempt's. `lane`: as far as any of
    them says."""

    tx_id: TxId
    lane: Lane | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLoad:
    """What a lane has under way. `committed_wei`: the most that its unmined slots may still take from the native
    balance, by value and by the dearest attempt of each; `open`: slots that are not closed, mined ones included;
    `last_nonce`: the highest that any slot ever had, closed ones included."""

    unmined: int
    open: int
    committed_wei: int
    last_nonce: int | None


def payload_hash(lane: Lane, call: CallRequest) -> str:
    """SHA-256 over chain, wallet, target, value and data, as `0x` hex: what a signer is allowed to sign."""
    digest = hashlib.sha256(b"cambist/payload/v1")
    for part in (
        lane.chain_id.to_bytes(32, "big"),
        address_bytes(lane.wallet),
        address_bytes(call.to),
        call.value_wei.to_bytes(32, "big"),
        call.data,
    ):
        digest.update(len(part).to_bytes(8, "big") + part)
    return "0x" + digest.hexdigest()
