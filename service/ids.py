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
_DRAWN: Final = 10
"""Bytes an id."""
_LOT: Final = 256
"""Ids of one call of the system."""
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The two bits that say which kind of UUID it is, and two drawn ones."""


def new_id(clock: Clock) -> str:
    """A fresh UUIDv7, 36 characters, lower case."""
    now = clock.now_ms() & ((1 << _TIME_BITS) - 1)
    drawn = int.from_bytes(secrets.token_bytes(10), "big")
    value = now << 80 | 0x7 << 76 | (drawn >> 62 & 0xFFF) << 64 | 0b10 << 62 | drawn & _LOW_BITS
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class RequestIds:
    """The same, many a second: random bytes are asked for in lots. Used by one event loop of one process."""

    def __init__(self) -> None:
        self._drawn = ""
        self._at = 0
        self._time = (-1, "")

    def next(self, now_ms: int) -> str:
        """A fresh UUIDv7 of that time."""
        if self._at >= len(self._drawn):
            self._drawn, self._at = secrets.token_hex(_DRAWN * _LOT), 0
        at, drawn = self._at, self._drawn
        self._at = at + 2 * _DRAWN
        if self._time[0] != now_ms:
            text = f"{now_ms & ((1 << _TIME_BITS) - 1):012x}"
            self._time = (now_ms, f"{text[:8]}-{text[8:]}-7")
        variant = _VARIANTS[drawn[at]]
        return f"{self._time[1]}{drawn[at + 1 : at + 4]}-{variant}{drawn[at + 4 : at + 7]}-{drawn[at + 7 : at + 19]}"


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
