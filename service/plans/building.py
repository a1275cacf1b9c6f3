"""From calls to a plan of queued intents for one lane."""

from collections.abc import Sequence

from chains.tx.model import Intent, IntentState, Lane, Plan, PlanId, payload_hash
from chains.types import CallRequest
from service.ids import intent_id


def queued_plan(
    plan_id: PlanId, lane: Lane, *, calls: Sequence[CallRequest], created_ms: int, valid_until_ms: int | None
) -> Plan:
    """The calls in order, each bound to its payload hash, ready for the lane."""
    return Plan(
        id=plan_id,
        lane=lane,
        intents=tuple(
            Intent(
                id=intent_id(plan_id, position),
                plan_id=plan_id,
                position=position,
                lane=lane,
                call=call,
                payload_hash=payload_hash(lane, call),
                state=IntentState.QUEUED,
            )
            for position, call in enumerate(calls)
        ),
        created_ms=created_ms,
        valid_until_ms=valid_until_ms,
    )
