"""The engine's store in memory: for using `chains` as a library, for tests, and as the plain reading of the contract.

Guarantees: the same behaviour as the SQL store (both pass tests/chains/tx/store_contract.py), rollback included.
Not guaranteed: durability. Whatever was signed is forgotten with the process.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from chains.tx.model import (
    CLOSED_TX_STATES,
    OPEN_TX_STATES,
    SENDABLE_ATTEMPT_STATES,
    TX_TRANSITIONS,
    UNMINED_TX_STATES,
    Attempt,
    AttemptKind,
    AttemptState,
    Intent,
    IntentId,
    IntentState,
    Lane,
    LaneLoad,
    LaneState,
    OpenTx,
    Outcome,
    Plan,
    PlanId,
    Tx,
    TxId,
    TxState,
    Unusable,
    Wish,
)
from chains.tx.store import DuplicateId, StaleState
from chains.types import BlockRef, ChainId, TxHash

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class MemoryState:
    """The tables. All values are immutable, so that a copy of the dicts is a snapshot."""

    plans: dict[PlanId, Plan] = field(default_factory=dict)
    """Without their intents, in the order they were added."""
    intents: dict[IntentId, Intent] = field(default_factory=dict)
    lanes: dict[Lane, LaneState] = field(default_factory=dict)
    txs: dict[TxId, Tx] = field(default_factory=dict)
    attempts: dict[TxHash, Attempt] = field(default_factory=dict)
    cursors: dict[ChainId, BlockRef] = field(default_factory=dict)
    freezes: dict[ChainId, str] = field(default_factory=dict)
    blocks: dict[ChainId, tuple[BlockRef, ...]] = field(default_factory=dict)
    finalized: dict[ChainId, BlockRef] = field(default_factory=dict)

    def copy(self) -> "MemoryState":
        return MemoryState(
            plans=dict(self.plans),
            intents=dict(self.intents),
            lanes=dict(self.lanes),
            txs=dict(self.txs),
            attempts=dict(self.attempts),
            cursors=dict(self.cursors),
            freezes=dict(self.freezes),
            blocks=dict(self.blocks),
            finalized=dict(self.finalized),
        )


class MemoryUnitOfWork:
    """`UnitOfWork[MemoryState]`: a function works on a copy, which becomes the state when it returns."""

    def __init__(self) -> None:
        self._state = MemoryState()

    async def run(self, work: Callable[[MemoryState], T]) -> T:
        working = self._state.copy()
        result = work(working)
        self._state = working
        return result

    async def read(self, work: Callable[[MemoryState], T]) -> T:
        return work(self._state.copy())


class MemoryTxStore:
    """`TxStore[MemoryState]`; what each method promises is said there."""

    # -- intents -------------------------------------------------------------------------------------
    def add_plan(self, uow: MemoryState, plan: Plan) -> None:
        if plan.id in uow.plans:
            raise DuplicateId(plan.id)
        for intent in plan.intents:
            if intent.id in uow.intents:
                raise DuplicateId(f"an intent of {plan.id}")
            uow.intents[intent.id] = intent
        uow.plans[plan.id] = replace(plan, intents=())

    def plan(self, uow: MemoryState, plan_id: PlanId) -> Plan | None:
        found = uow.plans.get(plan_id)
        return None if found is None else replace(found, intents=_intents_of(uow, plan_id))

    def next_plans(self, uow: MemoryState, lane: Lane, most: int) -> Sequence[Plan]:
        queued = (
            plan
            for plan in self._plans_of(uow, lane)
            if plan.intents and all(intent.state is IntentState.QUEUED for intent in plan.intents)
        )
        return list(islice(queued, most))

    def started_plan(self, uow: MemoryState, lane: Lane) -> Plan | None:
        return _first(
            plan
            for plan in self._plans_of(uow, lane)
            if {IntentState.QUEUED, IntentState.PLACED} <= {intent.state for intent in plan.intents}
        )

    def plan_txs(self, uow: MemoryState, plan_id: PlanId) -> Sequence[Tx]:
        ids = {intent.id for intent in _intents_of(uow, plan_id)}
        return sorted((tx for tx in uow.txs.values() if tx.intent_id in ids), key=lambda tx: tx.nonce)

    def queued_lanes(self, uow: MemoryState, chain_id: ChainId) -> Sequence[Lane]:
        return sorted(
            {
                intent.lane
                for intent in uow.intents.values()
                if intent.lane.chain_id == chain_id and intent.state is IntentState.QUEUED
            }
        )

    def unfilled_lanes(self, uow: MemoryState, chain_id: ChainId) -> Sequence[Lane]:
        reserved = (tx.lane for tx in uow.txs.values() if tx.state is TxState.RESERVED)
        return sorted({lane for lane in reserved if lane.chain_id == chain_id})

    def queue_plan(self, uow: MemoryState, plan_id: PlanId) -> None:
        intents = _intents_of(uow, plan_id)
        if not intents or any(intent.state is not IntentState.ACCEPTED for intent in intents):
            raise StaleState(f"plan {plan_id} does not wait to be queued")
        for intent in intents:
            uow.intents[intent.id] = replace(intent, state=IntentState.QUEUED)

    def reject_plan(self, uow: MemoryState, plan_id: PlanId, reason: str) -> None:
        intents = _intents_of(uow, plan_id)
        if not intents or any(i.state not in (IntentState.ACCEPTED, IntentState.QUEUED) for i in intents):
            raise StaleState(f"plan {plan_id} no longer waits")
        self._reject(uow, intents, reason)

    def reject_rest(self, uow: MemoryState, plan_id: PlanId, reason: str) -> None:
        queued = [intent for intent in _intents_of(uow, plan_id) if intent.state is IntentState.QUEUED]
        if not queued:
            raise StaleState(f"plan {plan_id} has nothing queued")
        self._reject(uow, queued, reason)

    # -- lanes ---------------------------------------------------------------------------------------
    def lane(self, uow: MemoryState, lane: Lane) -> LaneState | None:
        state, frozen = uow.lanes.get(lane), uow.freezes.get(lane.chain_id)
        return state if state is None or frozen is None else replace(state, hold_reason=frozen)

    def lane_load(self, uow: MemoryState, lane: Lane) -> LaneLoad:
        slots = self.open_txs(uow, lane.chain_id, lane=lane)
        unmined = [slot for slot in slots if slot.tx.state in UNMINED_TX_STATES]
        costs = [max((a.fees.max_fee_wei * a.gas_limit for a in slot.attempts), default=0) for slot in unmined]
        committed = sum(costs) + sum(slot.intent.call.value_wei for slot in unmined)
        last = max((tx.nonce for tx in uow.txs.values() if tx.lane == lane), default=None)
        return LaneLoad(unmined=len(unmined), open=len(slots), committed_wei=committed, last_nonce=last)

    def open_lane(self, uow: MemoryState, lane: Lane, next_nonce: int) -> LaneState:
        return uow.lanes.setdefault(lane, LaneState(lane=lane, next_nonce=next_nonce))

    def hold_lane(self, uow: MemoryState, lane: Lane, reason: str | None) -> None:
        uow.lanes[lane] = replace(self._lane(uow, lane), hold_reason=reason)

    def set_next_nonce(self, uow: MemoryState, lane: Lane, expected: int, next_nonce: int) -> None:
        state = self._lane(uow, lane)
        busy = any(tx.lane == lane and tx.state not in CLOSED_TX_STATES for tx in uow.txs.values())
        if state.next_nonce != expected or busy:
            raise StaleState(f"{lane} is not idle at nonce {expected}")
        uow.lanes[lane] = replace(state, next_nonce=next_nonce)

    def take_back_nonce(self, uow: MemoryState, lane: Lane, expected: int, next_nonce: int) -> None:
        state = self._lane(uow, lane)
        used = any(tx.lane == lane and tx.nonce >= next_nonce for tx in uow.txs.values())
        if state.next_nonce != expected or used:
            raise StaleState(f"{lane} is not ahead of its slots at nonce {expected}")
        uow.lanes[lane] = replace(state, next_nonce=next_nonce)

    def reserve(
        self,
        uow: MemoryState,
        lane: Lane,
        intents: Sequence[tuple[IntentId, int]],
        *,
        first_nonce: int,
        now_ms: int,
    ) -> Sequence[Tx]:
        if not intents:
            return []
        state = self._lane(uow, lane)
        if state.next_nonce != first_nonce:
            raise StaleState(f"{lane} is not at nonce {first_nonce}")
        uow.lanes[lane] = replace(state, next_nonce=first_nonce + len(intents))
        placed: list[Tx] = []
        for offset, (intent_id, gas_limit) in enumerate(intents):
            intent = uow.intents.get(intent_id)
            if intent is None or intent.lane != lane or intent.state is not IntentState.QUEUED:
                raise StaleState(f"an intent of {lane} is not queued")
            if any(tx.lane == lane and tx.nonce == first_nonce + offset for tx in uow.txs.values()):
                raise StaleState(f"nonce {first_nonce + offset} of {lane} is taken")
            uow.intents[intent_id] = replace(intent, state=IntentState.PLACED)
            tx = Tx(
                id=TxId(len(uow.txs) + 1),
                intent_id=intent_id,
                lane=lane,
                nonce=first_nonce + offset,
                gas_limit=gas_limit,
                state=TxState.RESERVED,
                created_ms=now_ms,
                updated_ms=now_ms,
            )
            uow.txs[tx.id] = tx
            placed.append(tx)
        return placed

    # -- attempts ------------------------------------------------------------------------------------
    def save_attempts(
        self, uow: MemoryState, attempts: Sequence[Attempt], now_ms: int, *, after: Collection[TxHash] = ()
    ) -> None:
        for attempt in attempts:
            tx = uow.txs.get(attempt.tx_id)
            if tx is None or tx.state not in UNMINED_TX_STATES:
                raise StaleState("a slot is mined or closed")
            if tx.wish is Wish.CANCEL and attempt.kind is AttemptKind.REAL:
                raise StaleState("a slot is to be cancelled")
            made = _attempts_of(uow, tx.id)
            if attempt.hash in uow.attempts or any(a.state is AttemptState.SIGNED or a.hash not in after for a in made):
                raise StaleState("a slot has an unsent attempt, or one more than was known")
            uow.attempts[attempt.hash] = attempt
            if tx.state is TxState.RESERVED:
                tx = replace(tx, state=TxState.SIGNED)
            uow.txs[tx.id] = replace(tx, updated_ms=now_ms)

    def mark_sent(self, uow: MemoryState, hashes: Sequence[TxHash], now_ms: int) -> Collection[TxId]:
        moved: set[TxId] = set()
        for tx_hash in hashes:
            attempt = uow.attempts.get(tx_hash)
            if attempt is None or attempt.state not in SENDABLE_ATTEMPT_STATES:
                raise StaleState("an attempt is unknown or settled")
            uow.attempts[tx_hash] = replace(attempt, state=AttemptState.SENT, sent_ms=now_ms, node_answer=None)
            tx = uow.txs[attempt.tx_id]
            if tx.state is TxState.SIGNED:
                uow.txs[tx.id] = replace(tx, state=TxState.BROADCAST, updated_ms=now_ms)
                moved.add(tx.id)
        return moved

    def sendable(self, uow: MemoryState, hashes: Sequence[TxHash]) -> Collection[TxHash]:
        known = (uow.attempts.get(tx_hash) for tx_hash in hashes)
        return {found.hash for found in known if found is not None and found.state in SENDABLE_ATTEMPT_STATES}

    def set_aside(self, uow: MemoryState, attempt: TxHash) -> None:
        known = uow.attempts.get(attempt)
        if known is None or known.state is not AttemptState.SIGNED:
            raise StaleState(f"attempt {attempt} is not unsent")
        uow.attempts[attempt] = replace(known, state=AttemptState.REFUSED)

    def note_answer(self, uow: MemoryState, attempt: TxHash, answer: str) -> None:
        if attempt not in uow.attempts:
            raise StaleState(f"attempt {attempt} is unknown")
        uow.attempts[attempt] = replace(uow.attempts[attempt], node_answer=answer)

    # -- wishes and notes ----------------------------------------------------------------------------
    def wish(self, uow: MemoryState, tx_id: TxId, wish: Wish, *, reason: str, now_ms: int) -> bool:
        tx = uow.txs.get(tx_id)
        if tx is None or tx.state not in UNMINED_TX_STATES:
            raise StaleState(f"slot {tx_id} is not unmined")
        if tx.wish in (wish, Wish.CANCEL):
            return False
        uow.txs[tx_id] = replace(tx, wish=wish, wish_reason=reason, updated_ms=now_ms)
        return True

    def wish_granted(self, uow: MemoryState, tx_id: TxId) -> None:
        tx = uow.txs[tx_id]
        if tx.wish is Wish.BUMP:
            uow.txs[tx_id] = replace(tx, wish=None, wish_reason=None)

    def wishes(self, uow: MemoryState, chain_id: ChainId) -> Collection[tuple[TxId, Wish]]:
        unmined = [tx for tx in uow.txs.values() if tx.lane.chain_id == chain_id and tx.state in UNMINED_TX_STATES]
        return {(tx.id, tx.wish) for tx in unmined if tx.wish is not None}

    def note_tx(self, uow: MemoryState, tx_id: TxId, note: str | None) -> None:
        uow.txs[tx_id] = replace(uow.txs[tx_id], note=note)

    # -- confirmation --------------------------------------------------------------------------------
    def open_txs(
        self,
        uow: MemoryState,
        chain_id: ChainId,
        *,
        lane: Lane | None = None,
        states: Collection[TxState] = OPEN_TX_STATES,
        only: Collection[TxId] | None = None,
    ) -> Sequence[OpenTx]:
        slots = [
            tx
            for tx in uow.txs.values()
            if tx.lane.chain_id == chain_id and lane in (None, tx.lane) and tx.state in states
            if only is None or tx.id in only
        ]
        return [
            OpenTx(
                tx=tx,
                intent=uow.intents[tx.intent_id],
                attempts=tuple(_attempts_of(uow, tx.id)),
                valid_until_ms=uow.plans[uow.intents[tx.intent_id].plan_id].valid_until_ms,
            )
            for tx in sorted(slots, key=lambda tx: (tx.lane, tx.nonce))
        ]

    def unusable(
        self,
        uow: MemoryState,
        chain_id: ChainId,
        loaded: Sequence[OpenTx],
        *,
        states: Collection[TxState],
        lane: Lane | None = None,
    ) -> Sequence[Unusable]:
        return ()  # nothing else writes here

    def astray(self, uow: MemoryState, chain_id: ChainId) -> Sequence[Plan]:
        return ()

    def tx_ids(self, uow: MemoryState, chain_id: ChainId, states: Collection[TxState]) -> Sequence[TxId]:
        slots = [tx for tx in uow.txs.values() if tx.lane.chain_id == chain_id and tx.state in states]
        return [tx.id for tx in sorted(slots, key=lambda tx: (tx.lane, tx.nonce))]

    def mark_mined(
        self, uow: MemoryState, tx_id: TxId, attempt: TxHash, *, block: BlockRef, outcome: Outcome, now_ms: int
    ) -> None:
        if attempt not in {known.hash for known in _attempts_of(uow, tx_id)}:
            raise StaleState(f"attempt {attempt} is not of slot {tx_id}")
        self._move(uow, tx_id, TxState.MINED, now_ms)
        uow.txs[tx_id] = replace(uow.txs[tx_id], block=block, mined_hash=attempt, outcome=outcome)
        for known in _attempts_of(uow, tx_id):
            state = AttemptState.MINED if known.hash == attempt else AttemptState.LOST
            uow.attempts[known.hash] = replace(known, state=state)

    def mark_confirmed(self, uow: MemoryState, tx_id: TxId, now_ms: int) -> None:
        self._move(uow, tx_id, TxState.CONFIRMED, now_ms)

    def mark_final(self, uow: MemoryState, tx_id: TxId, now_ms: int) -> None:
        self._move(uow, tx_id, TxState.FINAL, now_ms)

    def mark_reorged(self, uow: MemoryState, tx_id: TxId, now_ms: int) -> None:
        if tx_id not in uow.txs or uow.txs[tx_id].state not in (TxState.MINED, TxState.CONFIRMED):
            raise StaleState(f"slot {tx_id} is not mined")
        self._move(uow, tx_id, TxState.BROADCAST, now_ms)
        uow.txs[tx_id] = replace(uow.txs[tx_id], block=None, mined_hash=None, outcome=Outcome.NONE)
        for known in _attempts_of(uow, tx_id):
            if known.state in (AttemptState.MINED, AttemptState.LOST):
                uow.attempts[known.hash] = replace(known, state=AttemptState.SENT)

    def mark_superseded(self, uow: MemoryState, tx_id: TxId, now_ms: int) -> None:
        self._move(uow, tx_id, TxState.SUPERSEDED, now_ms)
        for known in _attempts_of(uow, tx_id):
            uow.attempts[known.hash] = replace(known, state=AttemptState.LOST)

    # -- cursor --------------------------------------------------------------------------------------
    def cursor(self, uow: MemoryState, chain_id: ChainId) -> BlockRef | None:
        return uow.cursors.get(chain_id)

    def set_cursor(self, uow: MemoryState, chain_id: ChainId, block: BlockRef) -> None:
        uow.cursors[chain_id] = block

    # -- private -------------------------------------------------------------------------------------
    def _plans_of(self, uow: MemoryState, lane: Lane) -> Iterable[Plan]:
        return (replace(plan, intents=_intents_of(uow, plan.id)) for plan in uow.plans.values() if plan.lane == lane)

    def _reject(self, uow: MemoryState, intents: Iterable[Intent], reason: str) -> None:
        for intent in intents:
            uow.intents[intent.id] = replace(intent, state=IntentState.REJECTED, reject_reason=reason)

    def _lane(self, uow: MemoryState, lane: Lane) -> LaneState:
        if lane not in uow.lanes:
            raise StaleState(f"{lane} does not exist")
        return uow.lanes[lane]

    def _move(self, uow: MemoryState, tx_id: TxId, after: TxState, now_ms: int) -> None:
        tx = uow.txs.get(tx_id)
        if tx is None or after not in TX_TRANSITIONS[tx.state]:
            raise StaleState(f"slot {tx_id} cannot become {after}")
        uow.txs[tx_id] = replace(tx, state=after, updated_ms=now_ms)


def _intents_of(uow: MemoryState, plan_id: PlanId) -> tuple[Intent, ...]:
    found = (intent for intent in uow.intents.values() if intent.plan_id == plan_id)
    return tuple(sorted(found, key=lambda intent: intent.position))


def _attempts_of(uow: MemoryState, tx_id: TxId) -> Sequence[Attempt]:
    return [attempt for attempt in uow.attempts.values() if attempt.tx_id == tx_id]


def _first(plans: Iterable[Plan]) -> Plan | None:
    return next(iter(plans), None)
