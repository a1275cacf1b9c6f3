"""Request weights in windows of wall-clock time: used, left, and when the next window begins.

    take(client, cost, limit) -> Taken     alone on the database: counted here, no database work at all
                                           else: from what this process leased of the window (`leasing`)

With several processes a client has a small share in each without asking; who needs more leases slices of what is left,
each a quarter of it, so that a client at its limit costs some 25 row writes a window, most clients none.

Guarantees: alone, never more than the limit a window. Among processes, never more than the limit and a
`FREE_SHARES`th of it a process. A database that does not answer within `LEASE_WITHIN_S` lets a client go on up to a
`CUT_OFF_SHARES`th of its limit in each process, not further. A refusal costs nothing and says when to come again.
Bounded: `MAX_CLIENTS`, those seen longest ago go first and start anew.
Not guaranteed: that the whole limit can be used through many processes; what one leased and does not use lapses with
the window. Twice the limit fits around the turn of a window, as on any exchange. Memory of this process ends with it.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog

from chains.tx.store import Clock
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.ratelimits import leasing

MINUTE_MS: Final = 60_000
TEN_SECONDS_MS: Final = 10_000
DAY_MS: Final = 86_400_000
MAX_CLIENTS: Final = 100_000
FREE_SHARES: Final = 20
"""A client has a twentieth of its limit in each process before anything is leased for it."""
CUT_OFF_SHARES: Final = 4
"""And a quarter of it where nothing can be leased."""
LEASE_WITHIN_S: Final = 0.25
"""What a request waits for a slice."""
CUT_OFF_S: Final = 1.0
"""Then nobody asks for a slice of this client's for so long."""

_log: Final = structlog.get_logger("cambist.ratelimits")


class Taken(NamedTuple):
    """What a request was told. `retry_after_s` is 0 when it may pass; `reset_s` is when the next window begins."""

    limit: int
    used: int
    reset_s: int
    retry_after_s: int
    banned: bool = False

    @property
    def passed(self) -> bool:
        return self.retry_after_s == 0

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How a limit is leased. `slices`: a slice is that part of what is left; `free_shares` None: nothing is free."""

    slices: int = 4
    free_shares: int | None = FREE_SHARES


@dataclass(slots=True, kw_only=True)
class _Used:
    window_ms: int
    used: int = 0
    granted: int = 0
    others: int = 0
    """Leased to other processes, as far as known."""
    left: int | None = None
    """To lease, at most; None: not known."""
    cut_off_until_s: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Windows:
    """The counters of one limit in this process. `sharing` None: this process counts alone."""

    def __init__(
        self,
        name: str,
        *,
        length_ms: int,
        clock: Clock,
        db: Database,
        sharing: Sharing | None,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._name: Final = name
        self._length_ms: Final = length_ms
        self._clock: Final = clock
        self._db: Final = db
        self._sharing: Final = sharing
        self._max_clients: Final = max_clients
        self._clients: Final[OrderedDict[str, _Used]] = OrderedDict()
        self._swept_ms = 0

    async def take(self, client: str, cost: int, *, limit: int) -> Taken:
        """Take from a client's window, or say how long to wait. A cost over the whole limit is the whole limit."""
        now_ms = self._clock.now_ms()
        entry = self._entry(client, now_ms)
        cost = min(cost, limit)
        if entry.used + cost > self._allowed(entry, limit) and not await self._leased(entry, client, cost, limit=limit):
            return self._taken(entry, limit, now_ms=now_ms, refused=True)
        entry.used += cost
        return self._taken(entry, limit, now_ms=now_ms, refused=False)

    def fits(self, client: str, cost: int, *, limit: int, now_ms: int) -> bool:
        """Whether a `take` now is known to pass without a slice being leased; nothing is taken."""
        if self._sharing is not None:
            return False
        entry = self._clients.get(client)
        used = 0 if entry is None or entry.window_ms != now_ms - now_ms % self._length_ms else entry.used
        return used + min(cost, limit) <= limit

    def take_at_once(self, client: str, cost: int, *, limit: int, now_ms: int) -> Taken | None:
        """The `take` that passes without a slice being leased; None, and nothing is taken, where that is not known."""
        if self._sharing is not None:
            return None
        entry = self._entry(client, now_ms)
        cost = min(cost, limit)
        if entry.used + cost > limit:
            return None
        entry.used += cost
        return self._taken(entry, limit, now_ms=now_ms, refused=False)

    def give_back(self, client: str, cost: int, *, limit: int) -> None:
        """Undo a `take` of the same cost, for a request that turned out to count elsewhere or not at all."""
        entry = self._clients.get(client)
        if entry is not None:
            entry.used = max(0, entry.used - min(cost, limit))

    def _entry(self, client: str, now_ms: int) -> _Used:
        window_ms = now_ms - now_ms % self._length_ms
        entry = self._clients.get(client)
        if entry is None or entry.window_ms != window_ms:
            entry = self._clients[client] = _Used(window_ms=window_ms)
            if len(self._clients) > self._max_clients:
                self._clients.popitem(last=False)
        self._clients.move_to_end(client)
        return entry

    def _allowed(self, entry: _Used, limit: int) -> int:
        if self._sharing is None:
            return limit
        free = 0 if self._sharing.free_shares is None else max(1, limit // self._sharing.free_shares)
        if self._clock.monotonic_s() < entry.cut_off_until_s:
            free = max(free, limit // CUT_OFF_SHARES)
        return max(entry.granted, free)

    async def _leased(self, entry: _Used, client: str, cost: int, *, limit: int) -> bool:
        """Whether the cost is allowed now."""
        sharing = self._sharing
        if sharing is None:
            return False
        async with entry.turn:
            # Another request may have leased enough for both.
            while entry.used + cost > self._allowed(entry, limit):
                need = entry.used + cost - entry.granted
                cut_off = self._clock.monotonic_s() < entry.cut_off_until_s
                if cut_off or (entry.left is not None and need > entry.left):
                    return False
                await self._lease(entry, client, need, limit=limit, slices=sharing.slices)
        return True

    async def _lease(self, entry: _Used, client: str, need: int, *, limit: int, slices: int) -> None:
        wanted = leasing.Wanted(
            limit=self._name,
            client=client,
            window_ms=entry.window_ms,
            need=need,
            size=limit,
            slices=slices,
            forget_before_ms=entry.window_ms - self._length_ms if self._swept_ms != entry.window_ms else None,
        )
        try:
            async with asyncio.timeout(LEASE_WITHIN_S):
                lease = await self._db.run_aside(lambda c: leasing.lease(c, wanted))
        except (TimeoutError, DatabaseError) as exc:
            _log.warning("no slice of a limit", limit=self._name, reason=type(exc).__name__)
            entry.cut_off_until_s = self._clock.monotonic_s() + CUT_OFF_S
            return
        self._swept_ms = entry.window_ms
        entry.granted += lease.granted
        entry.others = lease.total - entry.granted
        entry.left = limit - lease.total

    def _taken(self, entry: _Used, limit: int, *, now_ms: int, refused: bool) -> Taken:
        reset_s = max(1, -(-(entry.window_ms + self._length_ms - now_ms) // 1_000))
        return Taken(
            limit=limit, used=entry.used + entry.others, reset_s=reset_s, retry_after_s=reset_s if refused else 0
        )
