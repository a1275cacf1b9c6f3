"""Why an order is in the state that it is in: the words of `reason`, and the exchange's word for those that expired.

A reason of a lane is "code: text" (`chains.tx.reasons`), others are one word of this module. Guarantees: a word keeps
its meaning for good, since programs rely on it. Of an order that rests, `reason` is why its last try came to nothing.
"""

from typing import Final

from chains.tx.reasons import RejectCode
from service.orders.model import OrderType, TimeInForce

SWAP_REVERTED: Final = "swap_reverted"
DEADLINE_PASSED: Final = "deadline_passed"
NOTHING_TRADED: Final = "nothing_traded"
NONCE_TAKEN: Final = "nonce_taken"
"""A foreign transaction used the swap's nonce. The order stays NEW: what happened is for a person to find out."""
CANCELLED: Final = "cancelled"
"""The swap's nonce was closed by a self-send."""
ASKED: Final = "asked"
"""A key asked for the cancel."""
REPLACED: Final = "replaced"
KEY_REVOKED: Final = "key_revoked"
PERMISSION_TAKEN: Final = "permission_taken"
"""Its key may not trade any more."""
ALTERED: Final = "altered"
"""Its row, or that of its try, was not as the service had written it, or is from before orders had MACs."""
UNFILLED_IOC: Final = "unfilled_ioc"
UNFILLED_FOK: Final = "unfilled_fok"
TIME_OVER: Final = "time_over"
"""`expires_ms` has passed."""
TRIES_USED: Final = "tries_used"
"""It has paid for as many reverts as an order may."""
IMPACT_TOO_HIGH: Final = "price_impact_too_high"
PRICE_DEVIATES: Final = "price_deviates"
NO_LIQUIDITY: Final = "no_liquidity"

RETRIED: Final = frozenset(
    {
        RejectCode.EXPIRED,
        RejectCode.NO_SIGNER,
        RejectCode.SIMULATION_REVERTED,
        RejectCode.SIMULATION_REFUSED,
        RejectCode.INSUFFICIENT_FUNDS,
        RejectCode.FEE_CAP,
        RejectCode.EARLIER_STEP_FAILED,
    }
)
"""A lane's refusals that may be otherwise at a later block. The others end the order."""
NOT_SIGNED: Final = frozenset(
    {
        RejectCode.PRESIGN_REFUSED,
        RejectCode.PAYLOAD_MISMATCH,
        RejectCode.UNUSABLE_ROW,
        RejectCode.SIGNED_BEFORE,
    }
)
"""The last look before a signature says that this is not what was accepted, or must not be signed any more."""
PRICE_MOVED: Final = frozenset({RejectCode.EXPIRED, RejectCode.SIMULATION_REVERTED})
"""Refusals that say that what could be had inside the limit cannot be had any more."""


def code_of(reason: str) -> str:
    """The code of a lane's reason, or the word itself."""
    return reason.partition(":")[0]


def unfilled(time_in_force: TimeInForce | None) -> str | None:
    """The word of an order that takes what is there now, and found nothing; None for others."""
    return {TimeInForce.IOC: UNFILLED_IOC, TimeInForce.FOK: UNFILLED_FOK}.get(time_in_force or TimeInForce.GTC)


def expiry_reason(type: OrderType, time_in_force: TimeInForce | None, *, reason: str | None) -> str | None:
    """What an exchange calls the reason of an EXPIRED order; None where it has no word for it."""
    if reason in (TIME_OVER, TRIES_USED):
        return "EXCHANGE_CANCELED"
    if reason == NO_LIQUIDITY:
        return "INSUFFICIENT_LIQUIDITY"
    if reason in (IMPACT_TOO_HIGH, PRICE_DEVIATES) or type is OrderType.MARKET:
        return "EXECUTION_RULE_PRICE_RANGE_EXCEEDED"
    if time_in_force is TimeInForce.IOC:
        return "UNFILLED_IOC_QUANTITY_EXPIRED"
    if time_in_force is TimeInForce.FOK:
        return "UNFILLED_FOK_ORDER_EXPIRED"
    return None
