"""When keys were last used, coarsely: what idle expiry counts from.

    a right request ── note (memory) ── flush, every FLUSH_S ──> one unit of work for all keys that are due

Guarantees: `note` does no I/O; a key's row is written at most once in `WRITE_EVERY_MS` by a process, and only by keys
whose signature was right and that may be used, so that nobody else keeps a key alive.
Not guaranteed: uses of the last `FLUSH_S` before a crash, and of the last `WRITE_EVERY_MS` at all; idle expiry counts
in days. A row that was tampered with is left as it is: using its key is refused.
"""

import asyncio
import contextlib
from typing import Final

import structlog
from sqlalchemy import Connection

from chains.tx.store import StoreUnavailable
from service.auth import keys
from service.auth.authority import Tampered
from service.auth.keys import ApiKey
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.errors import DatabaseError

WRITE_EVERY_MS: Final = 3_600_000
FLUSH_S: Final = 30.0

_log: Final = structlog.get_logger("cambist.keys")


class LastUses:
    """What one process has seen and not written yet: at most one entry a key. Used by the event loop only."""

    def __init__(self) -> None:
        self._due: Final[dict[str, int]] = {}

    def note(self, key: ApiKey, *, now_ms: int) -> None:
        """The key was used right."""
        if key.last_used_ms is None or now_ms - key.last_used_ms >= WRITE_EVERY_MS:
            self._due[key.id] = now_ms

    async def flush(self, db: Database, master: MasterKey) -> None:
        """Write what is due. Raises: DatabaseError: it is still due."""
        if not self._due:
            return
        taken = dict(self._due)
        self._due.clear()
        try:
            await db.run(lambda c: _write(c, taken, master))
        except BaseException:
            self._due.update({key_id: used_ms for key_id, used_ms in taken.items() if key_id not in self._due})
            raise

    async def run(self, db: Database, master: MasterKey, stop: asyncio.Event) -> None:
        """Flush until `stop` is set, and once more then. A database that does not answer is tried again."""
        stopping = False
        while not stopping:
            stopping = stop.is_set()
            try:
                await self.flush(db, master)
            except (DatabaseError, StoreUnavailable) as exc:
                _log.warning("last_uses_not_written", reason=str(exc))
            if not stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_S):
                        await stop.wait()


def _write(c: Connection, uses: dict[str, int], master: MasterKey) -> None:
    for key_id, used_ms in sorted(uses.items()):
        try:
            keys.note_use(c, key_id, used_ms=used_ms, master=master)
        except Tampered as exc:
            _log.error("last_use_not_written", key=key_id, reason=str(exc))
