"""How fast one endpoint may be asked: a token bucket with a share that only sends may use, and back-off after 429.

Guarantees: time comes from the caller, in seconds that never step; a send is never refused here. Not guaranteed: that
the endpoint counts as we do (hosted ones weigh methods), which is what the back-off is for.
"""

import random
from dataclasses import dataclass
from typing import Final

FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
"""An endpoint is back within 30 s of its limit ending, however long the storm was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Requests a second on average, and at once. `for_sends` of the burst are out of reads' reach."""

    rate_per_s: float
    burst: int
    for_sends: int = 5

    def __post_init__(self) -> None:
        if self.rate_per_s <= 0 or not 0 <= self.for_sends < self.burst:
            raise ValueError("a budget has a positive rate and 0 <= for_sends < burst")


class Pace:
    """Says how long a read has to wait. Without a budget only back-off counts."""

    def __init__(self, budget: Budget | None, *, rng: random.Random) -> None:
        self._budget = budget
        self._rng = rng
        self._tokens = float(budget.burst) if budget is not None else 0.0
        self._filled_at_s: float | None = None
        self._blocked_until_s = 0.0
        self._throttled_in_a_row = 0

    def wait_s(self, cost: int, now_s: float) -> float:
        """Seconds until a read of so many calls may go; 0 is now. A read larger than the burst waits for a full one."""
        wait = max(0.0, self._blocked_until_s - now_s)
        if self._budget is None:
            return wait
        self._fill(now_s)
        usable = self._budget.burst - self._budget.for_sends
        missing = min(cost, usable) - (self._tokens - self._budget.for_sends)
        return max(wait, missing / self._budget.rate_per_s, 0.0)

    def is_blocked(self, now_s: float) -> bool:
        """Whether a back-off is on."""
        return now_s < self._blocked_until_s

    def spend(self, cost: int, now_s: float) -> None:
        """Take tokens; sends may take them below zero, and reads then wait for it."""
        if self._budget is not None:
            self._fill(now_s)
            self._tokens -= cost

    def throttled(self, retry_after_s: float | None, now_s: float) -> None:
        """The endpoint said 429: wait as long as it says, else exponentially longer, with jitter so that the
        processes sharing a key do not come back together."""
        self._throttled_in_a_row += 1
        doubled = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self._throttled_in_a_row - 1, 10))
        wait = doubled * self._rng.uniform(0.5, 1.0)
        if retry_after_s is not None:
            wait = retry_after_s + self._rng.uniform(0.0, FIRST_BACKOFF_S)
        self._blocked_until_s = max(self._blocked_until_s, now_s + wait)

    def answered(self) -> None:
        self._throttled_in_a_row = 0

    def _fill(self, now_s: float) -> None:
        if self._budget is None:
            return
        if self._filled_at_s is not None:
            earned = (now_s - self._filled_at_s) * self._budget.rate_per_s
            self._tokens = min(float(self._budget.burst), self._tokens + earned)
        self._filled_at_s = now_s
