"""What a plan's calls are, as one digest, so that what asked for the plan is bound to all of them under its MAC.

Guarantees: the digest covers, of each intent in its place, its id, its payload (chain, wallet, target, value, data),
and what its gas may be; one more intent, one less, or another order of them is another digest. `bound` says whether an
intent that is about to be signed is one of the stored plan's, and no other slot was ever taken for it.
Not guaranteed: freshness. Who writes to the database can also remove what is known of a plan that was carried out.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection, select

from chains.tx.model import Intent, IntentState, PlanId
from service.db.models import intents, txs
from service.ids import intent_id


class BoundCall(Protocol):
    """What is bound of an intent: one of a plan, or its row."""

    @property
    def id(self) -> str: ...
    @property
    def position(self) -> int: ...
    @property
    def payload_hash(self) -> str: ...
    @property
    def gas_limit(self) -> int | None: ...
    @property
    def max_gas_cost_wei(self) -> int | None: ...


def calls_hash(plan_id: PlanId, calls: Sequence[BoundCall]) -> str:
    """SHA-256 over the plan's calls in their order, as `0x` hex."""
    digest = hashlib.sha256(b"cambist/calls/v1")
    parts: list[object] = [plan_id, len(calls)]
    for call in calls:
        parts += [call.id, call.position, call.payload_hash, call.gas_limit, call.max_gas_cost_wei]
    for part in parts:
        text = b"-" if part is None else str(part).encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return "0x" + digest.hexdigest()


def stored_calls(c: Connection, plan_id: PlanId) -> Sequence[BoundCall]:
    """What is stored of the plan's intents, in their order."""
    t = intents
    columns = (t.c.id, t.c.position, t.c.payload_hash, t.c.gas_limit, t.c.max_gas_cost_wei)
    return c.execute(select(*columns).where(t.c.plan_id == plan_id).order_by(t.c.position)).all()


def why_unbound(c: Connection, intent: Intent, calls: Sequence[BoundCall]) -> str | None:
    """Why an intent is not one of its plan's stored `calls`, or was carried out before; None: it is to be signed once.

    Its own slot, for which it is signed again at a higher price, is no other one.
    """
    position = intent.position
    if intent.id != intent_id(intent.plan_id, position) or not 0 <= position < len(calls):
        return "the call is none of its plan's"
    stored = calls[position]
    if (stored.id, stored.position, stored.payload_hash) != (intent.id, position, intent.payload_hash):
        return "the call is not the one that its plan has in this place"
    slots = c.execute(select(txs.c.id).where(txs.c.intent_id == intent.id).limit(2)).all()
    if len(slots) > (1 if intent.state is IntentState.PLACED else 0):
        return "the call has had a nonce already"
    return None
