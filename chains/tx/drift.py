"""A lane's counter that is ahead of all its slots and of the chain: nonces that nothing will ever fill.

A transaction at such a nonce would wait for ever ("nonce too high"), and all that come after it. No slot has these
nonces, so nothing was signed for them, and taking them back can repeat nothing.

Guarantees: a counter is called drifted only for a lane that had slots, whose last one is known; it is put right only
after it was found so for `HEAL_AFTER_S`, over more than one block.
Not guaranteed: that an endpoint which is behind for that long does not tell too low a nonce; what is then sent is
refused as "nonce too low" and held for a person, and pays nothing.
"""

from dataclasses import dataclass
from typing import Final

from chains.tx.model import LaneState

HEAL_AFTER_S: Final = 60.0
"""Longer than a node's nonce lags behind after a send; half of the two minutes within which it has to be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A finding, with the moment of its first time."""

    counter: int
    to: int
    since_s: float
    """Monotonic."""
    since_head: int

    def stands(self, now: "Drift") -> bool:
        """The same was found again, long enough after and at a later block."""
        return now.since_s - self.since_s >= HEAL_AFTER_S and now.since_head > self.since_head


def drifted_to(state: LaneState, *, seen: int, last_nonce: int | None) -> int | None:
    """The nonce that the counter should have, if it is ahead; `seen` is the chain's. None where nothing is wrong, or
    where the lane never had a slot."""
    if last_nonce is None:
        return None
    right = max(seen, last_nonce + 1)
    return right if state.next_nonce > right else None
