"""Bans that hold in every process and over restarts: who is banned here is so elsewhere a second later.

    strike(client) ── a ban begins ──> told, at most `MOST_A_WRITE` bans every `SYNC_EVERY_S` ──> a row a client
    sync()         <── what others told, read every `SYNC_EVERY_S` by whichever request comes ──

Alone on the database nobody else tells anything: what stands is read once, after a restart.

Guarantees: a ban that was written is kept by each other process from its next look on, which any of its requests makes
when the last one was `SYNC_EVERY_S` ago; one client's ban is one row; a process writes rows at a bounded rate, whoever
floods it with how many addresses, and reads at most `MOST_A_READ` rows a look; a database that does not answer within
`WITHIN_S` holds a request no longer, and refuses nothing.
Not guaranteed: that a ban beyond that rate is told to others, which count such a client's requests themselves; strikes
are each process's own, so that of N processes one has to be gone on at `STRIKES` times.
"""

import asyncio
from typing import Final

import structlog
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from chains.tx.store import Clock
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.db.models import rate_bans
from service.ratelimits.bans import FORGIVEN_AFTER_S, LONGEST_BAN_S, Ban, Bans

SYNC_EVERY_S: Final = 1.0
WITHIN_S: Final = 0.25
"""What a request waits for the database."""
MOST_A_WRITE: Final = 20
"""Of 100 bytes each, and seven hours at most: 50 MB, however long somebody with a million addresses goes on."""
MOST_A_READ: Final = 1_000
_MS: Final = 1_000

_log: Final = structlog.get_logger("cambist.ratelimits")


class SharedBans:
    """Used by one event loop."""

    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db: Final = db
        self._clock: Final = clock
        self._bans: Final = Bans(clock)
        self._untold: Final[dict[str, Ban]] = {}
        self._synced_s: float | None = None
        """When that was last begun."""
        self._was_read = False
        self._turn: Final = asyncio.Lock()

    @property
    def is_known(self) -> bool:
        """Whether it was asked what stands in the database."""
        return self._synced_s is not None

    def left_s(self, client: str) -> int | None:
        """Of a client's ban, in whole seconds, at least one; None where there is none."""
        return self._bans.left_s(client)

    async def strike(self, client: str) -> None:
        """For a request that a limit refused."""
        began = self._bans.strike(client)
        if began is not None and (client in self._untold or len(self._untold) < MOST_A_WRITE):
            self._untold[client] = began
            await self.sync()

    async def sync(self) -> None:
        """Tell and be told, when it is time. Before each look at a ban: it costs a comparison as a rule."""
        # Nobody else writes to a database of one's own.
        if self._was_read and self._db.is_exclusive and not self._untold:
            return
        now_s = self._clock.monotonic_s()
        if self._turn.locked() or (self._synced_s is not None and now_s - self._synced_s < SYNC_EVERY_S):
            return
        async with self._turn:
            self._synced_s = now_s
            told = dict(self._untold)
            try:
                async with asyncio.timeout(WITHIN_S):
                    if told:
                        await self._db.run_aside(lambda c: _tell(c, told, now_ms=self._clock.now_ms()))
                    if not (self._was_read and self._db.is_exclusive):
                        await self._be_told()
            except (TimeoutError, DatabaseError) as exc:
                _log.warning("bans are not shared now", reason=type(exc).__name__)
                return
            for client, ban in told.items():
                if self._untold.get(client) is ban:
                    del self._untold[client]

    async def _be_told(self) -> None:
        # The first time also what is over, and makes the next one longer.
        since_ms = self._clock.now_ms() - (0 if self._was_read else FORGIVEN_AFTER_S * _MS)
        for client, ban in await self._db.read(lambda c: _standing(c, since_ms=since_ms)):
            self._bans.learn(client, ban)
        self._was_read = True


def _tell(c: Connection, bans: dict[str, Ban], *, now_ms: int) -> None:
    t = rate_bans
    c.execute(delete(t).where(t.c.until_ms < now_ms - FORGIVEN_AFTER_S * _MS))
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    new = dialect.insert(t)
    later = new.on_conflict_do_update(
        index_elements=[t.c.client],
        set_={"until_ms": new.excluded.until_ms, "length_s": new.excluded.length_s},
        where=new.excluded.until_ms > t.c.until_ms,
    )
    # In one order everywhere: two processes that write the same two rows must not wait for each other.
    rows = [
        {"client": client, "until_ms": ban.until_ms, "length_s": ban.length_s} for client, ban in sorted(bans.items())
    ]
    c.execute(later, rows)


def _standing(c: Connection, *, since_ms: int) -> list[tuple[str, Ban]]:
    """The longest ones first: those that end soon are the least loss."""
    t = rate_bans.c
    query = select(t.client, t.until_ms, t.length_s).where(t.until_ms > since_ms)
    rows = c.execute(query.order_by(t.until_ms.desc(), t.client).limit(MOST_A_READ))
    return [
        (client, Ban(until_ms=until_ms, length_s=max(0, min(length_s, LONGEST_BAN_S))))
        for client, until_ms, length_s in rows
    ]
