"""Ids that the service makes itself: UUID version 7 (RFC 9562) text, which sorts by the millisecond it was made in.

Guarantees: 74 random bits, so that nobody guesses one and two processes never meet; text order is time order to
the millisecond. Plans of orders are named by order and try instead: a plan id is unique for ever, and so a try of an
order is made once. Not guaranteed: an order within one millisecond.
"""

import secrets
from typing import Final

from chains.tx.model import IntentId, PlanId
from chains.tx.store import Clock

_TIME_BITS: Final = 48
_LOW_BITS: Final = (1 << 62) - 1


def new_id(clock: Clock) -> str:
    """A fresh UUIDv7, 36 characters, lower case."""
    now = clock.now_ms() & ((1 << _TIME_BITS) - 1)
    drawn = int.from_bytes(secrets.token_bytes(10), "big")
    value = now << 80 | 0x7 << 76 | (drawn >> 62 & 0xFFF) << 64 | 0b10 << 62 | drawn & _LOW_BITS
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def order_plan_id(order_id: int, number: int) -> PlanId:
    """The plan id of an order's try, `number` from 1."""
    return PlanId(f"order:{order_id}:{number}")


def withdrawal_plan_id(clock: Clock) -> PlanId:
    """A fresh plan id for a withdrawal."""
    return PlanId(f"withdrawal:{new_id(clock)}")


def transaction_plan_id(clock: Clock) -> PlanId:
    """A fresh plan id for a wrap, unwrap, revocation or call."""
    return PlanId(f"transaction:{new_id(clock)}")


def intent_id(plan_id: PlanId, position: int) -> IntentId:
    """The id of a plan's intent at `position` (from 0)."""
    return IntentId(f"{plan_id}/{position}")
