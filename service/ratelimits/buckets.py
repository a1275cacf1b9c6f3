"""Request rates: one bucket a client, filled at a steady rate up to a burst (GCRA, one integer a client).

Guarantees: no client gets more than `burst` at once and `per_minute` in the long run; a refusal costs nothing and
says when to come again; memory is bounded.
Not guaranteed: limits across processes or restarts; when more clients come than are remembered, those seen longest
ago start anew. Limits on money are elsewhere, and fail closed.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from chains.tx.store import Clock

MAX_CLIENTS: Final = 100_000
_MINUTE_US: Final = 60_000_000
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a request was told. `retry_after_s` is 0 when it may pass; `reset_s` is when the burst is whole again."""

    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int

    @property
    def passed(self) -> bool:
        return self.retry_after_s == 0


class Buckets:
    """The buckets of one kind of client."""

    def __init__(self, clock: Clock, *, per_minute: int, burst: int, max_clients: int = MAX_CLIENTS) -> None:
        self._clock: Final = clock
        self._burst: Final = burst
        self._interval_us: Final = max(1, _MINUTE_US // per_minute)
        self._max_clients: Final = max_clients
        self._full_at_us: Final[OrderedDict[str, int]] = OrderedDict()
        """By client, least recent first: when its bucket is full again."""

    def take(self, client: str, cost: int = 1) -> Taken:
        """Take from a client's bucket, or say how long to wait."""
        # A float of seconds keeps microseconds for centuries; no money here.
        now_us = int(self._clock.monotonic_s() * _SECOND_US)
        full_at_us = max(now_us, self._full_at_us.get(client, now_us))
        room_us = self._burst * self._interval_us
        after_us = full_at_us + cost * self._interval_us
        if after_us - now_us > room_us:
            return self._taken(full_at_us - now_us, wait_us=after_us - now_us - room_us)
        self._full_at_us[client] = after_us
        self._full_at_us.move_to_end(client)
        if len(self._full_at_us) > self._max_clients:
            self._full_at_us.popitem(last=False)
        return self._taken(after_us - now_us, wait_us=0)

    def give_back(self, client: str, cost: int = 1) -> None:
        """Undo a `take`, for a request that turned out to count elsewhere."""
        if client in self._full_at_us:
            self._full_at_us[client] -= cost * self._interval_us

    def _taken(self, used_us: int, *, wait_us: int) -> Taken:
        return Taken(
            limit=self._burst,
            remaining=max(0, self._burst - _up(used_us, self._interval_us)),
            reset_s=_up(used_us, _SECOND_US),
            retry_after_s=_up(wait_us, _SECOND_US),
        )


def _up(value: int, unit: int) -> int:
    return -(-value // unit)
