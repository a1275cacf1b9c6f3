"""How long an order that was tried in vain waits before it is tried again, and when it is not tried any more.

A **refusal** costs nothing: the simulation said no, or the plan was rejected before it took a nonce. A **revert** has
paid gas. Both wait longer each time; reverts also have an end, so that an order that cannot work (somebody takes each
price first, a token that misbehaves on the chain only) does not pay for gas for ever.

Guarantees: pure; pauses never shrink as the count grows, and never exceed the longest.
"""

from typing import Final

FIRST_REFUSAL_PAUSE_MS: Final = 6_000
"""Half a block on Ethereum, three on Polygon: prices move on, and the next look may find it well."""
LONGEST_REFUSAL_PAUSE_MS: Final = 300_000
FIRST_REVERT_PAUSE_MS: Final = 30_000
LONGEST_REVERT_PAUSE_MS: Final = 3_600_000
MOST_REVERTS: Final = 8
"""Reverts that an order may pay for: with the pauses between them, an hour and more of them."""
_MOST_DOUBLINGS: Final = 32


def after_refusal_ms(tries: int) -> int:
    """The pause after so many tries, at least one."""
    return _doubled(FIRST_REFUSAL_PAUSE_MS, tries, longest=LONGEST_REFUSAL_PAUSE_MS)


def after_revert_ms(reverts: int) -> int:
    """The pause after so many reverts, at least one."""
    return _doubled(FIRST_REVERT_PAUSE_MS, reverts, longest=LONGEST_REVERT_PAUSE_MS)


def is_used_up(reverts: int) -> bool:
    """Whether the order has paid for as many reverts as it may."""
    return reverts >= MOST_REVERTS


def _doubled(first_ms: int, count: int, *, longest: int) -> int:
    return min(longest, first_ms << min(_MOST_DOUBLINGS, max(0, count - 1)))
