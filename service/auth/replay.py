"""That a signed request works once: in this process, in every other one, and after a restart.

    any request      `Nonces.use`, after its signature was found right: the process's own memory, and a row where
                     another process, or a later one, could not know of it otherwise
    a state change   also `claim_nonce`, in the unit of work that accepts it, unless there is a row by then

Which requests get a row before they are answered (`NonceClaims`, many to a commit):

    PostgreSQL   all of them: other processes have no other way to know
    SQLite       one process has the database. It refuses what was signed before it began, since what was seen then is
                 not known; what the process before it can have seen and this one would accept was signed by a clock
                 ahead of the service's, at most `FUTURE_MS`. So those get a row, and those of the first `FUTURE_MS`
                 look for one.

Guarantees: no signed request works twice, state change or read, on whatever replica, before or after a restart; a full
memory refuses requests, reads first, rather than forget early. Bounded: `MAX_REMEMBERED` in memory, `MAX_CLAIMS` on
their way to the database; rows are deleted after `KEEP_ROWS_MS` (`prune`).
Not guaranteed: across a restart during which the service's clock was set back by more than the process was away.
"""

import asyncio
import secrets
from typing import Final

from sqlalchemy import Connection, delete, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from service.auth.signature import FUTURE_MS, PAST_MS, Signed
from service.db.engine import Database
from service.db.models import request_nonces
from service.errors import ApiError

KEEP_MS: Final = PAST_MS + 30_000
"""How long after its timestamp a nonce is remembered at least: the window, and what a clock may be set back."""
KEEP_ROWS_MS: Final = 600_000
"""The same for rows; several processes' clocks may differ."""
_PRIME: Final = (1 << 61) - 1
"""Marks are below it: numbers that a set takes as they are."""
SECOND_MS: Final = 1_000
MAX_REMEMBERED: Final = 2_000_000
"""36 s of 41,000 reads a second and 13,000 state changes; about 170 MB when full."""
READS_LEAVE: Final = 4
"""Reads leave a fourth of it to state changes: nobody must be kept from a cancel by those who look."""
MAX_CLAIMS: Final = 5_000
"""Requests that wait for their row to be written."""
MAX_GROUP: Final = 500
"""Rows of one commit."""


class NonceCache:
    """The nonces of recent requests to this process."""

    def __init__(self, *, started_ms: int, capacity: int = MAX_REMEMBERED) -> None:
        self._started_ms: Final = started_ms
        self._capacity: Final = capacity
        self._for_reads: Final = capacity - capacity // READS_LEAVE
        self._of_key, self._of_nonce = 1 + secrets.randbelow(_PRIME - 1), 1 + secrets.randbelow(_PRIME - 1)
        self._seen: Final[set[int]] = set()
        self._by_second: Final[dict[int, list[int]]] = {}
        """Those of timestamps within that second."""
        self._forgot_s = -1
        """The second of the clock in which that was last done."""

    def remember(self, signed: Signed, *, now_ms: int, is_read: bool) -> None:
        """Raises: ApiError: replayed, timestamp_out_of_window (from before the start), busy (full)."""
        if signed.timestamp_ms < self._started_ms:
            raise ApiError("timestamp_out_of_window", "the request was signed before this process started")
        self._forget(now_ms)
        if self._mark(signed.key_id, signed.nonce) in self._seen:
            raise _replayed()
        if len(self._seen) >= (self._for_reads if is_read else self._capacity):
            raise ApiError("busy", "too many requests in the last seconds", retry_after_s=1)
        self.add(signed.key_id, signed.nonce, timestamp_ms=signed.timestamp_ms)

    def is_fresh(self, key_id: str, nonce: str, *, timestamp_ms: int, now_ms: int) -> bool:
        """Whether `remember` would, for a read; nothing is remembered."""
        self._forget(now_ms)
        return (
            timestamp_ms >= self._started_ms
            and self._mark(key_id, nonce) not in self._seen
            and len(self._seen) < self._for_reads
        )  # fmt: skip

    def add(self, key_id: str, nonce: str, *, timestamp_ms: int) -> None:
        """Remember what is fresh."""
        mark, second = self._mark(key_id, nonce), timestamp_ms // SECOND_MS
        self._seen.add(mark)
        if (found := self._by_second.get(second)) is None:
            found = self._by_second[second] = []
        found.append(mark)

    def _mark(self, key_id: str, nonce: str) -> int:
        """What is remembered of the two: 61 bits. The same two have the same ones; that two others do, and one is
        refused, happens to one request in 10^12 at a full memory, and nobody can make it happen to another key: this is
        a universal hash (Carter and Wegman) with two secrets of this object, so that it is so whatever is known of
        Python's own hash of text, which PYTHONHASHSEED makes foreseeable, and of a tuple, which is no keyed one."""
        return (self._of_key * hash(key_id) + self._of_nonce * hash(nonce)) % _PRIME

    def _forget(self, now_ms: int) -> None:
        if now_ms // SECOND_MS == self._forgot_s:
            return
        self._forgot_s = now_ms // SECOND_MS
        kept_from = (now_ms - KEEP_MS) // SECOND_MS
        for second in [second for second in self._by_second if second < kept_from]:
            self._seen.difference_update(self._by_second.pop(second))


class NonceClaims:
    """Rows for nonces, many to a commit. Used by one event loop."""

    def __init__(self, db: Database) -> None:
        self._db: Final = db
        self._waiting: Final[list[tuple[Signed, asyncio.Future[None]]]] = []
        self._turn: Final = asyncio.Lock()

    async def claim(self, signed: Signed) -> None:
        """Durable when this returns. Raises: ApiError: replayed, busy. DatabaseError: it may be used up."""
        if len(self._waiting) >= MAX_CLAIMS:
            raise ApiError("busy", "too many requests in the last seconds", retry_after_s=1)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((signed, mine))
        async with self._turn:
            # Whoever has the turn writes for all that wait; the others find it done.
            while not mine.done():
                await self._write()
        mine.result()

    async def _write(self) -> None:
        group = self._waiting[:MAX_GROUP]
        del self._waiting[:MAX_GROUP]
        # In one order everywhere: two processes that insert the same two rows must not wait for each other.
        rows = sorted({(signed.key_id, signed.nonce, signed.timestamp_ms) for signed, _ in group})
        try:
            new = await self._db.run_aside(lambda c: _claim_all(c, rows))
        except BaseException as exc:
            for _, waiting in group:
                told = exc if isinstance(exc, Exception) else ApiError("try_again", "the request was not looked at")
                if not waiting.done():
                    waiting.set_exception(told)
                    waiting.exception()  # seen: who waited may be gone
            if not isinstance(exc, Exception):
                raise
            return
        for signed, waiting in group:
            entry = (signed.key_id, signed.nonce)
            if waiting.done():
                continue
            if entry in new:
                new.discard(entry)
                waiting.set_result(None)
            else:
                waiting.set_exception(_replayed())
                waiting.exception()


class Nonces:
    """Every signed request of this process passes here once."""

    def __init__(self, db: Database, *, started_ms: int) -> None:
        """`started_ms`: not before this process had the database, if it has it alone."""
        self._alone: Final = db.is_exclusive
        self._started_ms: Final = started_ms
        self._cache: Final = NonceCache(started_ms=started_ms if self._alone else 0)
        self._claims: Final = NonceClaims(db)

    async def use(self, signed: Signed, *, now_ms: int, is_read: bool) -> bool:
        """Whether it has a row now. Raises: as `NonceCache.remember` and `NonceClaims.claim`."""
        self._cache.remember(signed, now_ms=now_ms, is_read=is_read)
        if not self._needs_row(signed.timestamp_ms, now_ms):
            return False
        await self._claims.claim(signed)
        return True

    def is_fresh(self, key_id: str, nonce: str, *, timestamp_ms: int, now_ms: int) -> bool:
        """Whether `use` would let a read pass and needs no row for it; nothing is remembered."""
        return not self._needs_row(timestamp_ms, now_ms) and self._cache.is_fresh(
            key_id, nonce, timestamp_ms=timestamp_ms, now_ms=now_ms
        )

    def use_fresh(self, key_id: str, nonce: str, *, timestamp_ms: int) -> None:
        """The `use` of what `is_fresh`, in the same turn of the loop."""
        self._cache.add(key_id, nonce, timestamp_ms=timestamp_ms)

    def _needs_row(self, timestamp_ms: int, now_ms: int) -> bool:
        ahead, of_the_start = timestamp_ms > now_ms, timestamp_ms <= self._started_ms + FUTURE_MS
        return not self._alone or ahead or of_the_start


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


def _claim_all(c: Connection, rows: list[tuple[str, str, int]]) -> set[tuple[str, str]]:
    """Those that were not there."""
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    t = request_nonces
    values = [{"key_id": key_id, "nonce": nonce, "timestamp_ms": timestamp_ms} for key_id, nonce, timestamp_ms in rows]
    found = c.execute(dialect.insert(t).on_conflict_do_nothing().returning(t.c.key_id, t.c.nonce), values)
    return {(key_id, nonce) for key_id, nonce in found}


def _replayed() -> ApiError:
    return ApiError("replayed", "a request of this key with this nonce was seen before")
