"""What must hold, each as a function named after its number in the catalogue of faults, over plain facts.

The facts are the engine's tables, the canonical chain, and everything that ever reached a node. A function yields a
sentence for each thing that is wrong; `broken` collects them. The order of states (I5) and the observer's events are
audited at each commit (`audit.py`, `books.py`), reads (I12) where they are answered (`world.py`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from chains.config import FeePolicy
from chains.tx.model import (
    Attempt,
    AttemptKind,
    Intent,
    IntentId,
    IntentState,
    Lane,
    LaneState,
    Outcome,
    PlanId,
    Tx,
    TxId,
    TxState,
)
from chains.types import Address, BlockRef, TxHash
from tests.chains.tx.model.chain import Sent

MINED: Final = (TxState.MINED, TxState.CONFIRMED, TxState.FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChain:
    """A canonical transaction of one of the wallets."""

    sent: Sent
    succeeded: bool
    fee_wei: int
    block: BlockRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`foreign`: hashes of what others signed with the wallets' keys. `needs_person`: a foreign nonce, or a reorg below
    the cursor, happened; from then on a person decides what the engine may not."""

    policy: FeePolicy
    intents: Mapping[IntentId, Intent]
    txs: Sequence[Tx]
    attempts: Sequence[Attempt]
    lanes: Mapping[Lane, LaneState]
    mined: Sequence[OnChain]
    canonical: Mapping[int, BlockRef]
    next_nonces: Mapping[Address, int]
    seen: Sequence[Sent]
    foreign: Set[TxHash]
    first_nonces: Mapping[Address, int]
    cursor: BlockRef | None
    needs_person: bool
    held: Mapping[PlanId, int]
    releases: Mapping[PlanId, int]
    hold_limit_wei: int

    @property
    def by_intent(self) -> Mapping[IntentId, Tx]:
        return {tx.intent_id: tx for tx in self.txs}


Check = Callable[[Facts], Iterator[str]]


def implements(sent: Sent, intent: Intent) -> bool:
    call, tx = intent.call, sent.tx
    same = (tx.to, tx.value_wei, tx.data) == (call.to, call.value_wei, call.data)
    return same and sent.sender == intent.lane.wallet


def I1_one_effect(f: Facts) -> Iterator[str]:
    """For every intent, at most one canonical transaction carries it out, and exactly one when it ended well."""
    done = dict.fromkeys(f.intents, 0)
    for mined in f.mined:
        if mined.succeeded:
            for intent in f.intents.values():
                done[intent.id] += implements(mined.sent, intent)
    for intent_id, times in done.items():
        tx = f.by_intent.get(intent_id)
        if times > 1:
            yield f"I1: {intent_id} happened {times} times"
        if tx is None and times:
            yield f"I1: {intent_id} happened and has no slot"
        if tx is not None and tx.state is TxState.FINAL and times != (tx.outcome is Outcome.SUCCEEDED):
            yield f"I1: {intent_id} is final as {tx.outcome} and happened {times} times"
        if tx is not None and tx.state is TxState.SUPERSEDED and times:
            yield f"I1: {intent_id} is superseded and happened"


def I1_one_nonce(f: Facts) -> Iterator[str]:
    """All bytes that ever left for an intent share one nonce: no two of them can be mined, whatever comes."""
    for intent in f.intents.values():
        nonces = {sent.tx.nonce for sent in f.seen if implements(sent, intent)}
        tx = f.by_intent.get(intent.id)
        if len(nonces) > 1:
            yield f"I1: {intent.id} left at the nonces {sorted(nonces)}"
        if nonces and (tx is None or nonces != {tx.nonce}):
            yield f"I1: {intent.id} left at {sorted(nonces)}, its slot is {tx.nonce if tx else 'none'}"


def I2_each_nonce_has_its_row(f: Facts) -> Iterator[str]:
    """Every mined nonce belongs to one slot or to somebody else; the lane's next one is not below the chain's."""
    own = {attempt.hash: attempt.tx_id for attempt in f.attempts}
    slots = {(tx.lane.wallet, tx.nonce): tx.id for tx in f.txs}
    for mined in f.mined:
        if mined.sent.hash not in own and mined.sent.hash not in f.foreign:
            yield f"I2: {mined.sent.hash} was mined and nobody knows it"
        if mined.sent.hash in own and slots.get(mined.sent.slot) != own[mined.sent.hash]:
            yield f"I2: {mined.sent.hash} was mined at the nonce of another slot"
    for lane, state in f.lanes.items():
        nonces = sorted(tx.nonce for tx in f.txs if tx.lane == lane)
        if not f.needs_person:
            first = f.first_nonces[lane.wallet]
            if nonces != list(range(first, state.next_nonce)):
                yield f"I2: {lane.wallet} has slots for {nonces}, next is {state.next_nonce}"
            if state.next_nonce < f.next_nonces[lane.wallet]:
                yield f"I2: {lane.wallet} is at {state.next_nonce}, the chain at {f.next_nonces[lane.wallet]}"


def I4_no_send_without_a_durable_attempt(f: Facts) -> Iterator[str]:
    """What reached a node is stored to the byte. (That it was stored before is looked at when it arrives.)"""
    stored = {attempt.hash: attempt for attempt in f.attempts}
    for sent in f.seen:
        if sent.hash not in f.foreign and (sent.hash not in stored or stored[sent.hash].raw != sent.raw):
            yield f"I4: {sent.hash} at nonce {sent.tx.nonce} was sent and is not stored"


def I5_states_agree_with_the_chain(f: Facts) -> Iterator[str]:
    """What is final is in the canonical chain, by the attempt and in the block that the slot names."""
    mined = {one.sent.hash: one for one in f.mined}
    for tx in f.txs:
        if (tx.state in MINED) != (tx.block is not None and tx.mined_hash is not None):
            yield f"I5: slot {tx.id} is {tx.state} with the block {tx.block}"
        if tx.state is TxState.FINAL:
            one = mined.get(tx.mined_hash) if tx.mined_hash else None
            if one is None or one.block != tx.block:
                yield f"I5: slot {tx.id} is final in {tx.block}, and is not there"
            elif one.succeeded != (tx.outcome is not Outcome.REVERTED):
                yield f"I5: slot {tx.id} is final as {tx.outcome}, and ended otherwise"
            elif (tx.outcome is Outcome.CANCELLED) != (one.sent.tx.to == one.sent.sender):
                yield f"I5: slot {tx.id} is final as {tx.outcome}, and was mined as something else"
    for intent in f.intents.values():
        if (intent.state is IntentState.PLACED) != (intent.id in f.by_intent):
            yield f"I5: {intent.id} is {intent.state}, its slot {f.by_intent.get(intent.id)}"


def I6_reservations(f: Facts) -> Iterator[str]:
    """A plan's reservation is there until all of it has settled, then released once; their sum keeps the limit."""
    if sum(f.held.values()) > f.hold_limit_wei:
        yield f"I6: {sum(f.held.values())} wei are held, {f.hold_limit_wei} may be"
    for plan_id, times in f.releases.items():
        if times != 1 or plan_id in f.held:
            yield f"I6: the reservation of {plan_id} was released {times} times"
    closed = {tx.intent_id for tx in f.txs if tx.state in (TxState.FINAL, TxState.SUPERSEDED)}
    closed |= {intent.id for intent in f.intents.values() if intent.state is IntentState.REJECTED}
    ended = {intent.plan_id for intent in f.intents.values()}
    ended -= {intent.plan_id for intent in f.intents.values() if intent.id not in closed}
    for plan_id in ended & f.held.keys():
        yield f"I6: {plan_id} has ended and its reservation is still held"
    untouched = {intent.plan_id for intent in f.intents.values()} - f.held.keys() - f.releases.keys()
    for plan_id in untouched:
        yield f"I6: the reservation of {plan_id} is lost"


def I7_fees(f: Facts) -> Iterator[str]:
    """Every attempt keeps the caps, each is at least ten percent above all before it in both fees, and the row says
    what the signed bytes say; what was paid is within it."""
    of_slot: defaultdict[TxId, list[Attempt]] = defaultdict(list)
    for attempt in f.attempts:
        of_slot[attempt.tx_id].append(attempt)
        fees = attempt.fees
        if fees.max_fee_wei > f.policy.max_fee_cap_wei or fees.priority_fee_wei > f.policy.priority_cap_wei:
            yield f"I7: {attempt.hash} offers {fees}, above the caps"
        if fees.max_fee_wei * attempt.gas_limit > f.policy.max_tx_cost_wei:
            yield f"I7: {attempt.hash} may cost {fees.max_fee_wei * attempt.gas_limit} wei"
    for attempts in of_slot.values():
        for older, newer in pairwise(attempts):
            for before, after in (
                (older.fees.max_fee_wei, newer.fees.max_fee_wei),
                (older.fees.priority_fee_wei, newer.fees.priority_fee_wei),
            ):
                if after * 100 < before * 110:
                    yield f"I7: {newer.hash} offers {after} wei after {before}"
    stored = {attempt.hash: attempt for attempt in f.attempts}
    for sent in f.seen:
        if (row := stored.get(sent.hash)) and (sent.tx.fees, sent.tx.gas_limit) != (row.fees, row.gas_limit):
            yield f"I7: {sent.hash} is signed for {sent.tx.fees}, stored as {row.fees}"
    for mined in f.mined:
        if mined.fee_wei > mined.sent.tx.gas_limit * mined.sent.tx.fees.max_fee_wei:
            yield f"I7: {mined.sent.hash} paid {mined.fee_wei} wei"


def I8_payload(f: Facts) -> Iterator[str]:
    """What was signed is the intent of its slot to the byte, or an empty self-send; nothing else ever left."""
    intents = {tx.id: f.intents[tx.intent_id] for tx in f.txs}
    stored = {attempt.hash: attempt for attempt in f.attempts}
    for sent in f.seen:
        if (row := stored.get(sent.hash)) is None:
            continue
        intent = intents[row.tx_id]
        empty = (sent.tx.to, sent.tx.value_wei, sent.tx.data) == (intent.lane.wallet, 0, b"")
        if not (implements(sent, intent) if row.kind is AttemptKind.REAL else empty):
            yield f"I8: {sent.hash} is not what {intent.id} wants"


def I12_cursor_only_moves_on(f: Facts, before: BlockRef | None) -> Iterator[str]:
    """The cursor never goes back; only a person moves it."""
    if before is not None and (f.cursor is None or f.cursor.number < before.number):
        yield f"I12: the cursor went from {before} to {f.cursor}"


def I13_all_ended(f: Facts) -> Iterator[str]:
    """With faults stopped, every intent becomes terminal."""
    holds = [state.hold_reason for state in f.lanes.values()]
    for intent in f.intents.values():
        tx = f.by_intent.get(intent.id)
        state = tx.state if tx is not None else intent.state
        if state not in (TxState.FINAL, TxState.SUPERSEDED, IntentState.REJECTED):
            answers = [attempt.node_answer for attempt in f.attempts if tx is not None and attempt.tx_id == tx.id]
            yield f"I13: {intent.id} is {state}; nodes said {answers}, lanes are held for {holds}"


ALWAYS: Final[tuple[Check, ...]] = (
    I1_one_effect,
    I1_one_nonce,
    I2_each_nonce_has_its_row,
    I4_no_send_without_a_durable_attempt,
    I5_states_agree_with_the_chain,
    I6_reservations,
    I7_fees,
    I8_payload,
)
AT_THE_END: Final[tuple[Check, ...]] = (*ALWAYS, I13_all_ended)


def broken(facts: Facts, checks: Sequence[Check]) -> list[str]:
    return [text for check in checks for text in check(facts)]
