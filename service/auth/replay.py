"""That a signed request works once: a bounded memory of nonces in the process, and a row for every state change.

    any request      `NonceCache.remember`, after its signature was found right
    a state change   also `claim_nonce`, in the unit of work that accepts it

Guarantees: within a process no request works twice; a state change works once for good, across restarts and
processes, since its nonce commits with it or not at all. A full cache refuses requests rather than forget early, and
requests signed before the process began are refused, since what was seen then is not known.
Not guaranteed: that a read signed with a clock ahead of ours, just before a restart, cannot be read again after it;
nor that two processes know of each other's reads.
"""

import heapq
from typing import Final

from sqlalchemy import Connection, delete, insert
from sqlalchemy.exc import IntegrityError

from service.auth.signature import PAST_MS, Signed
from service.db.models import request_nonces
from service.errors import ApiError

KEEP_MS: Final = PAST_MS + 30_000
"""How long after its timestamp a nonce is remembered: the window, and what a clock may be set back."""
KEEP_ROWS_MS: Final = 600_000
"""The same for rows; several processes' clocks may differ."""
MAX_REMEMBERED: Final = 200_000
"""35 s of 5,700 requests a second; about 40 MB when full."""


class NonceCache:
    """The nonces of recent requests to this process."""

    def __init__(self, *, started_ms: int, capacity: int = MAX_REMEMBERED) -> None:
        self._started_ms: Final = started_ms
        self._capacity: Final = capacity
        self._seen: Final[set[tuple[str, str]]] = set()
        self._by_age: Final[list[tuple[int, str, str]]] = []

    def remember(self, signed: Signed, *, now_ms: int) -> None:
        """Raises: ApiError: replayed, timestamp_out_of_window (from before the start), busy (full)."""
        if signed.timestamp_ms < self._started_ms:
            raise ApiError("timestamp_out_of_window", "the request was signed before this process started")
        self._forget(now_ms)
        entry = (signed.key_id, signed.nonce)
        if entry in self._seen:
            raise _replayed()
        if len(self._seen) >= self._capacity:
            raise ApiError("busy", "too many requests in the last seconds", retry_after_s=1)
        self._seen.add(entry)
        heapq.heappush(self._by_age, (signed.timestamp_ms, *entry))

    def _forget(self, now_ms: int) -> None:
        while self._by_age and self._by_age[0][0] + KEEP_MS < now_ms:
            _, key_id, nonce = heapq.heappop(self._by_age)
            self._seen.discard((key_id, nonce))


def claim_nonce(c: Connection, key_id: str, *, nonce: str, timestamp_ms: int) -> None:
    """Store the nonce of a state change, in the unit of work that accepts it. Raises: ApiError: replayed."""
    try:
        with c.begin_nested():
            c.execute(insert(request_nonces), {"key_id": key_id, "nonce": nonce, "timestamp_ms": timestamp_ms})
    except IntegrityError as exc:
        raise _replayed() from exc


def prune(c: Connection, *, now_ms: int) -> int:
    """Delete the rows of requests that are too old to be accepted again; how many there were."""
    return c.execute(delete(request_nonces).where(request_nonces.c.timestamp_ms < now_ms - KEEP_ROWS_MS)).rowcount


def _replayed() -> ApiError:
    return ApiError("replayed", "a request of this key with this nonce was seen before")
