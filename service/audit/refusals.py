"""Refused requests in the audit log, counted together, so that whoever is refused cannot fill the disk or slow anybody.

    edge ── note (memory) ──> counters by code, key and address ── flush, every FLUSH_S ──> entries (request.refused)

Guarantees: `note` does no I/O and waits for nothing; memory and entries are bounded: at most `MAX_COUNTERS` counters
and, in the long run, one entry every `ENTRY_EVERY_S` each for requests whose signature was right and for all others,
with `BURST` at once. What does not fit is counted in a common entry that names the first `MAX_SOURCES` of its sources.
A flood of the others takes nothing from those with a right signature. Every refusal is in a count.
Not guaranteed: that refusals of the last `FLUSH_S` before a crash are written. A key id that a request only claims is
never the actor of an entry; it is its subject, if there is such a key.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import Connection, select

from chains.tx.store import Clock, StoreUnavailable
from service.audit.acts import REFUSED
from service.audit.appending import append
from service.audit.model import UNKNOWN, Actor, ActorKind, NewEntry, Outcome, Subject
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.db.models import api_keys

FLUSH_S: Final = 5.0
MAX_COUNTERS: Final = 512
"""Of each of the two kinds, some 300 bytes each."""
MAX_CLAIMS: Final = 8
"""Different key ids that one address is counted with; it can make up as many as it likes."""
BURST: Final = 60
ENTRY_EVERY_S: Final = 15.0
"""In the long run: 5,760 entries of some 500 bytes a day, below 3 MB, for each of the two kinds and each process."""
MAX_SOURCES: Final = 16

_log: Final = structlog.get_logger("cambist.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused request. `key_id` as its header says; `is_proven` when its signature was right."""

    code: str
    key_id: str | None
    is_proven: bool
    client_ip: str | None
    request_id: str
    route: str | None


@dataclass(slots=True, kw_only=True)
class _Counter:
    first: Refusal
    first_ms: int
    last_ms: int
    count: int = 1


@dataclass(slots=True)
class _Kind:
    """Counters of one of the two kinds, and how many entries it may write."""

    counters: dict[tuple[str, str | None, str | None], _Counter] = field(default_factory=dict)
    claims: dict[str | None, set[str]] = field(default_factory=dict)
    more: int = 0
    """Refusals beyond what there were counters for."""
    tokens: float = BURST
    filled_s: float = 0.0


class Refusals:
    """The counters of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._proven: Final = _Kind(filled_s=clock.monotonic_s())
        self._others: Final = _Kind(filled_s=clock.monotonic_s())

    def note(self, refusal: Refusal) -> None:
        """Count a refusal."""
        kind = self._proven if refusal.is_proven else self._others
        now_ms = self._clock.now_ms()
        key_id = refusal.key_id if refusal.is_proven else _claimed(kind, refusal)
        place = (refusal.code, key_id, refusal.client_ip)
        found = kind.counters.get(place)
        if found is not None:
            found.count += 1
            found.last_ms = now_ms
        elif len(kind.counters) < MAX_COUNTERS:
            if key_id is not None:
                kind.claims.setdefault(refusal.client_ip, set()).add(key_id)
            kind.counters[place] = _Counter(first=refusal, first_ms=now_ms, last_ms=now_ms)
        else:
            kind.more += 1

    async def flush(self, db: Database, master: MasterKey) -> None:
        """Write what is due in one unit of work. Raises: DatabaseError: everything is still counted."""
        taken = [one for one in (self._take(self._proven), self._take(self._others)) if one.counters or one.more]
        if not taken:
            return

        def write(c: Connection) -> None:
            now_ms = self._clock.now_ms()
            entries = [entry for one in taken for entry in _entries(c, one)]
            append(c, entries, master=master, now_ms=now_ms)

        try:
            await db.run(write)
        except BaseException:
            for one in taken:
                self._put_back(one)
            raise

    async def run(self, db: Database, master: MasterKey, stop: asyncio.Event) -> None:
        """Flush until `stop` is set, and once more then. A database that does not answer is tried again."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await stop.wait()
            try:
                await self.flush(db, master)
            except (DatabaseError, StoreUnavailable) as exc:
                _log.warning("refusals_not_written", reason=str(exc))

    def _take(self, kind: _Kind) -> "_Due":
        now_s = self._clock.monotonic_s()
        kind.tokens = min(BURST, kind.tokens + (now_s - kind.filled_s) / ENTRY_EVERY_S)
        kind.filled_s = now_s
        is_proven = kind is self._proven
        if kind.tokens < 1 or not (kind.counters or kind.more):
            return _Due(is_proven=is_proven, counters=[], merged=[], more=0)
        budget = int(kind.tokens)
        counters, more = list(kind.counters.values()), kind.more
        # One entry for all that have none of their own.
        alone = len(counters) if len(counters) <= budget and not more else budget - 1
        kind.counters, kind.claims, kind.more = {}, {}, 0
        kind.tokens -= alone + (alone < len(counters) or more > 0)
        return _Due(is_proven=is_proven, counters=counters[:alone], merged=counters[alone:], more=more)

    def _put_back(self, due: "_Due") -> None:
        kind = self._proven if due.is_proven else self._others
        newer, kind.counters = kind.counters, {}
        for counter in [*due.counters, *due.merged, *newer.values()]:
            place = (counter.first.code, counter.first.key_id, counter.first.client_ip)
            found = kind.counters.get(place)
            if found is not None:
                found.count, found.last_ms = found.count + counter.count, counter.last_ms
            elif len(kind.counters) < MAX_COUNTERS:
                kind.counters[place] = counter
            else:
                kind.more += counter.count
        kind.more += due.more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """What one flush writes of one kind: entries of their own, and those that share one."""

    is_proven: bool
    counters: list[_Counter]
    merged: list[_Counter]
    more: int


def _claimed(kind: _Kind, refusal: Refusal) -> str | None:
    """The key id that an unproven request is counted under; None when its address named too many."""
    named = kind.claims.get(refusal.client_ip, set())
    return refusal.key_id if refusal.key_id in named or len(named) < MAX_CLAIMS else None


def _entries(c: Connection, due: _Due) -> Sequence[NewEntry]:
    claimed = {one.first.key_id for one in due.counters if one.first.key_id is not None}
    known = set(c.execute(select(api_keys.c.id).where(api_keys.c.id.in_(claimed))).scalars()) if claimed else set()
    entries = [_own_entry(one, known=known) for one in due.counters]
    if due.merged or due.more:
        entries.append(_common_entry(due))
    return entries


def _own_entry(counter: _Counter, *, known: set[str]) -> NewEntry:
    first = counter.first
    key_id = first.key_id if first.key_id in known else None
    is_key = first.is_proven and key_id is not None
    return NewEntry(
        act=REFUSED,
        actor=Actor(kind=ActorKind.KEY, id=str(key_id)) if is_key else UNKNOWN,
        outcome=Outcome.REFUSED,
        code=first.code,
        subject=None if key_id is None or is_key else Subject(kind="key", id=key_id),
        request_id=first.request_id,
        client_ip=first.client_ip,
        details={
            "count": counter.count,
            "first_ms": counter.first_ms,
            "last_ms": counter.last_ms,
            "route": first.route,
        },
    )


def _common_entry(due: _Due) -> NewEntry:
    """One entry for many. Unproven key ids are left out: nobody looked whether there are such keys."""
    sources = [
        f"{one.first.code} {one.first.key_id if one.first.is_proven else '-'} {one.first.client_ip} x{one.count}"
        for one in due.merged[:MAX_SOURCES]
    ]
    details: dict[str, Any] = {
        "count": sum(one.count for one in due.merged) + due.more,
        "first_ms": min((one.first_ms for one in due.merged), default=None),
        "last_ms": max((one.last_ms for one in due.merged), default=None),
        "sources": sources,
        "more": sum(one.count for one in due.merged[MAX_SOURCES:]) + due.more,
    }
    return NewEntry(act=REFUSED, actor=UNKNOWN, outcome=Outcome.REFUSED, code="several", details=details)
