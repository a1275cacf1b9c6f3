"""When a resting order is tried again, after a try that came to nothing.

    first    FIRST_MS, doubled with each try, up to MOST_MS
    signed   not before the deadline of what was signed has passed, and MARGIN_MS more

Guarantees: pure. A try whose swap was signed can trade no more once its on-chain deadline has passed; only then is
there another one, so that a reorg that takes the revert back does not let two tries of one order trade. Not
guaranteed: against a reorg that reaches back behind the deadline; then the wallet is held for a person.
"""

from typing import Final

FIRST_MS: Final = 15_000
MOST_MS: Final = 600_000
MARGIN_MS: Final = 15_000
"""A block's time may be behind the clock."""
MOST_REVERTS: Final = 8
"""Reverts that one order pays for; then it expires. What a lane refuses before it takes a nonce costs nothing."""


def retry_after_ms(*, tries: int, now_ms: int, signed_until_ms: int | None) -> int:
    """The moment before which nothing is tried; `signed_until_ms`: the deadline of what was signed, None: nothing."""
    doublings = min(max(0, tries - 1), 16)
    again_ms = now_ms + min(FIRST_MS << doublings, MOST_MS)
    return again_ms if signed_until_ms is None else max(again_ms, signed_until_ms + MARGIN_MS)
