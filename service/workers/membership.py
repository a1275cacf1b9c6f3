"""This process among the workers on its database: signs of life, and the leases that follow from who is alive.

Which process should have a lease is a calculation that all make alike: of the living ones that can sign for the
wallet, the one with the highest hash of (process, lease). Nobody asks anybody, a worker that comes or goes moves only
its share, and a lease changes hands only when it is free: given back by its holder, or freed with the row of one that
is dead.

Dead is whoever's counter stood still for `TTL_S` by this process's own monotonic clock and in `MIN_LOOKS` looks of
its own: no two machines' clocks are compared, and a database that stood still itself kills nobody. A process that was
taken for dead cannot write (`service.db.leases.check` in each of its units of work), sends nothing (`holds`), and
joins again as a new one.

With SQLite the file's lock says that nobody else is alive, whatever rows a crash left.

Guarantees and their limits: `chains.tx.leases.Leases`.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from chains.errors import SignerUnavailable
from chains.tx.leases import LeaseLost, LeaseName, Term
from chains.tx.store import Clock
from chains.types import Address
from service.db import leases as rows
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.ids import new_id

BEAT_S: Final = 1.0
"""Between two signs of life."""
TTL_S: Final = 6.0
"""Silence after which a process is dead for the others, and after which it must believe so itself."""
MIN_LOOKS: Final = 4
"""How often a standing counter has to have been seen."""

_log: Final = structlog.get_logger("cambist.membership")


@dataclass(slots=True, kw_only=True)
class _Seen:
    """Another process's counter, since it last moved."""

    beat: int
    since_s: float
    looks: int = 1
    looked_s: float


class Membership:
    """Implements `chains.tx.leases.Leases[Connection]`. Used by one event loop. Registers with the first claim."""

    def __init__(self, db: Database, *, clock: Clock, wallets: Callable[[], Awaitable[Sequence[Address]]]) -> None:
        self._db: Final = db
        self._clock: Final = clock
        self._wallets: Final = wallets
        self._id: str | None = None
        self._beaten_s = 0.0
        """When the last sign of life that was committed had been begun."""
        self._held: set[LeaseName] = set()
        self._giving: set[LeaseName] = set()
        """Not held any more, and not known to be free for others: a commit that failed is made again."""
        self._signs_for: frozenset[Address] = frozenset()
        self._seen: dict[str, _Seen] = {}
        self._living: tuple[rows.Process, ...] = ()
        self._turning = asyncio.Lock()
        self._changing = asyncio.Lock()

    # -- chains.tx.leases.Leases -----------------------------------------------------------------------------

    def holds(self, name: LeaseName) -> bool:
        return name in self._held and self._is_fresh()

    async def claim(self, names: Collection[LeaseName]) -> None:
        """Raises: DatabaseError: nothing is lost; claim again."""
        await self._turn_if_due()
        process_id = self._id
        have = self._held | self._giving
        wanted = [name for name in names if name not in have and self._should_have(name)]
        if process_id is None or not wanted:
            return
        now_ms = self._clock.now_ms()
        # One at a time with giving back: what is on its way out must not be counted as taken.
        async with self._changing:
            try:
                taken = await self._db.run(lambda c: rows.claim(c, process_id, wanted, now_ms=now_ms))
            except LeaseLost:
                if self._id == process_id:
                    self._drop_all()
                return
            if self._id == process_id:
                self._held |= taken - self._giving

    def unwanted(self) -> frozenset[LeaseName]:
        return frozenset(name for name in self._held if not self._should_have(name)) | self._giving

    async def give_back(self, names: Collection[LeaseName]) -> None:
        process_id, given = self._id, (self._held | self._giving).intersection(names)
        if process_id is None or not given:
            return
        self._held -= given
        self._giving |= given
        async with self._changing:
            await self._db.run(lambda c: rows.give_back(c, process_id, given))
            if self._id == process_id:
                self._giving -= given
        _log.info("gave back", leases=sorted(given))

    def term(self) -> Term | None:
        return None if self._id is None else Term(self._id)

    def guard(self, uow: Connection, term: Term | None) -> None:
        if term is None or term != self._id:
            raise LeaseLost(
                "this was begun before the process joined the workers on this database, or joined them again"
            )
        if not self._db.is_exclusive:
            rows.check(uow, term)

    # -- life ------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Give signs of life until `stop`. A database that fails for a while is waited for."""
        if self._db.is_exclusive:
            # Nobody is there to see them.
            await stop.wait()
        while not stop.is_set():
            try:
                await self.turn()
            except DatabaseError as exc:
                silent_s = round(self._clock.monotonic_s() - self._beaten_s)
                _log.warning("no sign of life", reason=str(exc), silent_s=silent_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await stop.wait()

    async def leave(self) -> None:
        """Free everything at once. Calling it again, or without having joined, does nothing."""
        process_id = self._id
        self._drop_all()
        if process_id is not None:
            await self._db.run(lambda c: rows.remove(c, process_id))

    # -- private ---------------------------------------------------------------------------------------------

    def _is_fresh(self) -> bool:
        return self._db.is_exclusive or self._clock.monotonic_s() - self._beaten_s < TTL_S

    def _is_due(self) -> bool:
        silent_s = self._clock.monotonic_s() - self._beaten_s
        return self._id is None or (not self._db.is_exclusive and silent_s >= 2 * BEAT_S)

    async def _turn_if_due(self) -> None:
        if self._is_due():
            await self.turn(only_due=True)

    async def turn(self, *, only_due: bool = False) -> None:
        """Join or give a sign of life, look at the others, and remove who is dead."""
        async with self._turning:
            # Many loops wait here while the database stands still: their looks are one.
            if only_due and not self._is_due():
                return
            began_s = self._clock.monotonic_s()
            wallets = await self._able()
            if self._id is None:
                await self._join(wallets)
            else:
                process_id = self._id
                try:
                    await self._db.run_aside(lambda c: rows.beat(c, process_id, wallets=wallets))
                except LeaseLost:
                    _log.error("was taken for dead; joining again", process=process_id)
                    self._drop_all()
                    await self._join(wallets)
            self._beaten_s = began_s
            found = await self._db.read(rows.registered)
            self._living = tuple(process for process in found if self._lives(process))
            self._seen = {process.id: self._seen[process.id] for process in found}
            for process in found:
                if process not in self._living:
                    await self._bury(process)

    async def _able(self) -> Collection[Address]:
        """What this process can sign for, as far as can be told; a remote signer may not answer now."""
        try:
            self._signs_for = frozenset(await self._wallets())
        except SignerUnavailable as exc:
            _log.warning("a signer does not say what it signs for", reason=str(exc))
        return self._signs_for

    async def _join(self, wallets: Collection[Address]) -> None:
        process_id, now_ms = new_id(self._clock), self._clock.now_ms()

        def join(c: Connection) -> None:
            if self._db.is_exclusive:
                # The file's lock is ours: whoever is registered was killed.
                for process in rows.registered(c):
                    rows.remove(c, process.id)
            rows.register(c, process_id, wallets=wallets, now_ms=now_ms)

        await self._db.run(join)
        self._id = process_id
        _log.info("joined", process=process_id)

    def _lives(self, process: rows.Process) -> bool:
        now_s = self._clock.monotonic_s()
        seen = self._seen.get(process.id)
        if process.id == self._id or seen is None or seen.beat != process.beat:
            self._seen[process.id] = _Seen(beat=process.beat, since_s=now_s, looked_s=now_s)
            return True
        # Looks that come in a burst, after the database stood still, are one: the other had no time to beat.
        if now_s - seen.looked_s >= BEAT_S / 2:
            seen.looks, seen.looked_s = seen.looks + 1, now_s
        return seen.looks < MIN_LOOKS or now_s - seen.since_s < TTL_S

    async def _bury(self, process: rows.Process) -> None:
        if await self._db.run(lambda c: rows.remove(c, process.id, seen_beat=process.beat)):
            _log.warning("a worker is gone; what it held is free", process=process.id)

    def _drop_all(self) -> None:
        self._id = None
        self._held.clear()
        self._giving.clear()

    def _should_have(self, name: LeaseName) -> bool:
        wallet = name.partition("0x")
        address = wallet[1] + wallet[2]
        able = [process for process in self._living if not address or address in process.wallets]
        # Nobody can sign for it: whoever has the lane then says so in its plans.
        candidates = able or self._living
        best = max(candidates, key=lambda process: _weight(process.id, name), default=None)
        return best is not None and best.id == self._id


def _weight(process_id: str, name: LeaseName) -> bytes:
    return hashlib.sha256(f"{process_id} {name}".encode()).digest()
