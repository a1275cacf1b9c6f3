"""What a revoked key leaves behind is ended at once: its resting orders are cancelled, its queued plans rejected, its
open slots are to be closed.

Guarantees: in the unit of work that revokes, so that nothing queued under the key is placed after it; what was reserved
for a rejected plan is released, and its order, withdrawal or transaction tells why. No row that something else has
written keeps a key from being revoked: what makes no sense is ended by its id. Not guaranteed: that bytes sent
before lose against their self-send; what is mined decides. Plans of chains that are not described any more stay
queued, and the check before signing refuses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select, union

from chains.tx.model import PlanId
from chains.tx.reasons import RejectCode, reason
from service.control.rejecting import WAITING, Rejecter
from service.db import models as m
from service.orders.closing import cancel_of_key
from service.orders.reasons import KEY_REVOKED
from service.pauses import Scope, Target, close_slots

WHY: Final = "its key was revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How many slots are to be closed, how many plans were rejected, and how many resting orders cancelled."""

    closing: int
    rejected: int
    cancelled: int


def end_what_is_open(c: Connection, key_id: str, *, rejecter: Rejecter, now_ms: int) -> Ended:
    """Cancel the key's resting orders, reject its queued plans, ask for a self-send at each of its unmined slots."""
    cancelled = cancel_of_key(c, key_id, reason=KEY_REVOKED, master=rejecter.master, now_ms=now_ms)
    # Not refused by a last look: that is an alarm, which nobody would hear any more if each revocation were one.
    stored = reason(RejectCode.GIVEN_UP, WHY)
    rejected = rejecter.reject_waiting(c, _waiting(c, key_id), stored, now_ms=now_ms)
    target = Target(scope=Scope.KEY, subject=key_id)
    closing = close_slots(c, target, reason=WHY, now_ms=now_ms)
    return Ended(closing=closing, rejected=rejected, cancelled=cancelled)


def _waiting(c: Connection, key_id: str) -> Sequence[PlanId]:
    """The key's plans with a step that was not placed, oldest first: ids only, which no row keeps from being read."""
    asking = (m.orders, m.withdrawals, m.transactions)
    asked = union(*(select(table.c.plan_id).where(table.c.key_id == key_id) for table in asking))
    waiting = select(m.intents.c.plan_id).where(m.intents.c.state.in_(WAITING))
    ids = select(m.plans.c.id).where(m.plans.c.id.in_(asked), m.plans.c.id.in_(waiting)).order_by(m.plans.c.sequence)
    return [PlanId(plan_id) for plan_id in c.execute(ids).scalars()]
