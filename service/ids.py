"""Ids that the service makes itself: UUID version 7 (RFC 9562) text, which sorts by the millisecond it was made in.

Guarantees: 74 random bits, so that nobody guesses one and two processes never meet; text order is time order to
the millisecond. Not guaranteed: an order within one millisecond.
"""

import secrets
import uuid
from typing import Final

from chains.tx.model import IntentId, PlanId
from chains.tx.store import Clock

_TIME_BITS: Final = 48


def new_id(clock: Clock) -> str:
    """A fresh UUIDv7, 36 characters, lower case."""
    now = clock.now_ms() & ((1 << _TIME_BITS) - 1)
    value = now << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def order_plan_id(clock: Clock) -> PlanId:
    """A fresh plan id for an order."""
    return PlanId(f"order:{new_id(clock)}")


def withdrawal_plan_id(clock: Clock) -> PlanId:
    """A fresh plan id for a withdrawal."""
    return PlanId(f"withdrawal:{new_id(clock)}")


def transaction_plan_id(clock: Clock) -> PlanId:
    """A fresh plan id for a wrap, unwrap, revocation or call."""
    return PlanId(f"transaction:{new_id(clock)}")


def intent_id(plan_id: PlanId, position: int) -> IntentId:
    """The id of a plan's intent at `position` (from 0)."""
    return IntentId(f"{plan_id}/{position}")
