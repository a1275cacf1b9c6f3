"""Keys as they were loaded, remembered for as long as their rows are what they were.

    remembered(key id)   as it was at most `MAX_AGE_S` ago, or None
    load(key id)         as it is: the key's row and its wallet's, each with its MAC checked

A key costs two row reads and two MACs; a bot sends the same one a hundred times a second. What is remembered is
compared with the rows, every field: all remembered keys in one read, by whichever request comes when `CHECK_EVERY_S`
have passed. After a commit of this process that touches a key or a wallet, nothing is used before such a look.

Guarantees: a change made in this process counts from its commit on; one made elsewhere (another process, an editor)
within `MAX_AGE_S`, after which an unchecked memory is not used, whatever the database does. Bounded: `MAX_KEYS`, the
first ones go; one that no request names for `UNUSED_S` goes at the next sweep, `SWEEP_EVERY_S` later at most. A key's
secret stays sealed here; where it is asked for at hand, what its signatures are made with (`ready`) is here as long.
An id that no key has is loaded with the work of one that has: the same statements, the same MACs.
Not guaranteed: that loading a key with many limits takes no longer than loading one with few.
Not here: what a key may do (`caveats`). A refusal must not come from memory; who refuses loads again (`callers`).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, text

from chains.tx.store import Clock
from chains.types import Address
from service.accounts.wallets import get_wallet
from service.auth import keys
from service.auth.authority import Tampered
from service.auth.caveats import Caveat, caveats_of
from service.auth.keys import ApiKey
from service.auth.ready import Ready, ready_of
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import wallets

CHECK_EVERY_S: Final = 0.4
MAX_AGE_S: Final = 1.0
UNUSED_S: Final = 60.0
SWEEP_EVERY_S: Final = 30.0
MAX_KEYS: Final = 20_000
"""Some 2 KB each."""
MAX_IN_READ: Final = 1_000
"""Keys of one statement."""

Row = tuple[Any, ...]
_WHOLE: Final = text(
    # As the driver gives them: to compare a thousand rows, no JSON has to be parsed.
    "SELECT k.id, k.*, w.* FROM api_keys AS k JOIN wallets AS w ON w.id = k.wallet_id WHERE k.id IN :ids"
).bindparams(bindparam("ids", expanding=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletRef:
    """The one wallet of a key."""

    id: int
    address: Address
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedKey:
    """A key and its wallet, both with the right MAC; of one account."""

    key: ApiKey
    wallet: WalletRef
    caveats: tuple[Caveat, ...]
    """Of the key, as an arrival is judged by them; made once, not for every request."""


@dataclass(slots=True, kw_only=True)
class _Entry:
    loaded: LoadedKey
    row: Row
    used_s: float
    ready: Ready | None = field(default=None, repr=False)
    """What of it could be worked out ahead; None where a look at the whole key is needed, or nobody asked yet."""
    was_asked: bool = False


class KeyMemory:
    """Used by one event loop."""

    def __init__(self, db: Database, *, master: MasterKey, clock: Clock, idle_ms: int | None = None) -> None:
        """`idle_ms`: how long a key without networks lasts unused."""
        self._db: Final = db
        self._master: Final = master
        self._clock: Final = clock
        self._idle_ms: Final = idle_ms
        self._entries: Final[dict[str, _Entry]] = {}
        self._changes: Final = db.changes
        self._authority = db.changes.authority
        self._checked_s = 0.0
        """When the read was begun in which all entries were last found to be right."""
        self._turn: Final = asyncio.Lock()
        self._sweep: asyncio.TimerHandle | None = None

    async def remembered(self, key_id: str) -> LoadedKey | None:
        """The key as it was at most `MAX_AGE_S` ago; None where that is not known. Raises: DatabaseError."""
        if key_id not in self._entries:
            return None
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._checked_s
        must = self._is_touched() or age_s >= MAX_AGE_S
        # One looks; the others go on with what is still young enough, or wait for that look.
        if must or (age_s >= CHECK_EVERY_S and not self._turn.locked()):
            async with self._turn:
                if self._is_touched() or self._clock.monotonic_s() - self._checked_s >= CHECK_EVERY_S:
                    await self._check()
        entry = self._entries.get(key_id)
        if entry is None:
            return None
        entry.used_s = now_s
        return entry.loaded

    def at_hand(self, key_id: str) -> tuple[LoadedKey, Ready] | None:
        """What `remembered` answers, and what of it was worked out ahead, where there is both and it has not to look
        before that."""
        entry = self._entries.get(key_id)
        if entry is None or self._authority != self._changes.authority:
            return None
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._checked_s
        if age_s >= CHECK_EVERY_S and (age_s >= MAX_AGE_S or not self._turn.locked()):
            return None
        entry.used_s = now_s
        if not entry.was_asked:
            entry.was_asked, entry.ready = True, ready_of(entry.loaded.key, entry.loaded.caveats, master=self._master)
        return None if entry.ready is None else (entry.loaded, entry.ready)

    async def load(self, key_id: str) -> LoadedKey | None:
        """The key as it is now; None: there is none, or it has no wallet. Raises: Tampered, DatabaseError."""
        authority, began_s = self._db.changes.authority, self._clock.monotonic_s()
        found = await self._db.read(lambda c: self._load(c, key_id))
        before = self._entries.pop(key_id, None)
        if found is None:
            return None
        loaded, row = found
        # A commit in between may have changed what was read.
        if authority == self._db.changes.authority:
            if not self._entries:
                self._authority, self._checked_s = authority, began_s
            elif len(self._entries) >= MAX_KEYS:
                self._entries.pop(next(iter(self._entries)))
            made = self._entries[key_id] = _Entry(loaded=loaded, row=row, used_s=began_s)
            if before is not None and before.row == row:
                # Not worked out again for each wrong signature.
                made.ready, made.was_asked = before.ready, before.was_asked
            self._sweep_later()
        return loaded

    def _sweep_later(self) -> None:
        if self._sweep is None and self._entries:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._forget_unused)

    def _forget_unused(self) -> None:
        self._sweep, now_s = None, self._clock.monotonic_s()
        for key_id in [key_id for key_id, entry in self._entries.items() if now_s - entry.used_s >= UNUSED_S]:
            del self._entries[key_id]
        self._sweep_later()

    def _is_touched(self) -> bool:
        """Whether this process committed to a key or wallet since the last look."""
        return self._authority != self._db.changes.authority

    async def _check(self) -> None:
        """Keep what is as it was. An entry made meanwhile was read later than this began."""
        authority, began_s = self._db.changes.authority, self._clock.monotonic_s()
        asked = [key_id for key_id, entry in self._entries.items() if began_s - entry.used_s < UNUSED_S]
        before = {key_id: self._entries[key_id].row for key_id in asked}
        unused = self._entries.keys() - before.keys()
        found = await self._db.read(lambda c: _rows(c, asked))
        for key_id in unused:
            self._entries.pop(key_id, None)
        for key_id, row in before.items():
            entry = self._entries.get(key_id)
            if entry is not None and entry.row is row and found.get(key_id) != row:
                del self._entries[key_id]
        self._authority, self._checked_s = authority, began_s

    def _load(self, c: Connection, key_id: str) -> tuple[LoadedKey, Row] | None:
        key = keys.load_or_stand_in(c, key_id, master=self._master)
        if key is None:
            return None
        try:
            found = self._whole(c, key)
        except Tampered:
            if key.id == key_id:
                raise
            return None
        # All of the work is done: how long it took says nothing of whether there is such a key.
        return found if key.id == key_id else None

    def _whole(self, c: Connection, key: ApiKey) -> tuple[LoadedKey, Row] | None:
        wallet = get_wallet(c, key.wallet_id, master=self._master)
        if wallet is None:
            return None
        if wallet.account_id != key.account_id:
            raise Tampered(wallets)
        loaded = LoadedKey(
            key=key,
            wallet=WalletRef(id=wallet.id, address=wallet.address, label=wallet.label),
            caveats=caveats_of(key, idle_ms=self._idle_ms),
        )
        return loaded, _rows(c, [key.id])[key.id]


def _rows(c: Connection, key_ids: list[str]) -> Mapping[str, Row]:
    """By key: its row and its wallet's, whole. By their MACs alone, a row that somebody edited would look unchanged."""
    found: dict[str, Row] = {}
    for at in range(0, len(key_ids), MAX_IN_READ):
        rows = c.execute(_WHOLE, {"ids": key_ids[at : at + MAX_IN_READ]})
        found |= {row[0]: tuple(row) for row in rows}
    return found
