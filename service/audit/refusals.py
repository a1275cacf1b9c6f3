"""Refused requests and sign-ins in the audit log, counted together, so that whoever is refused cannot fill the disk.

    answer of an error ── note (memory) ──> counters of whoever pays ── flush, every FLUSH_S ──> entries

Who pays (`Payer`): an account for its keys, a user for its sessions and, apart from that, for what is tried in its
name; one for all sign-ins that try nobody's, and one for all other requests that prove nothing (a wrong signature).
Entries of a key are in its account's chain, where its owner sees them. An IPv6 address counts by its /64, which one
host has.

Guarantees: `note` does no I/O and waits for nothing; memory and entries are bounded: at most `MAX_COUNTERS` counters a
payer, `BURST` entries at once and one every `ENTRY_EVERY_S` in the long run; what does not fit is counted in a common
entry that names the first `MAX_SOURCES` of its sources; a flood of one payer takes nothing from the others. Every
refusal is in a count. A key id that a request only claims is never the actor of an entry, and is named only if there is
such a key.
Not guaranteed: that refusals of the last `FLUSH_S` before a crash are written.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import structlog
from sqlalchemy import Connection, select

from chains.tx.store import Clock, StoreUnavailable
from service.audit.acts import REFUSED, TAMPERED
from service.audit.appending import append
from service.audit.model import INSTALLATION, SYSTEM, UNKNOWN, Actor, ActorKind, NewEntry, Outcome, Subject
from service.auth.authority import Sifted
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.errors import DatabaseError
from service.db.models import api_keys

FLUSH_S: Final = 5.0
MAX_COUNTERS: Final = 256
"""Of each payer, below 1 KB each."""
MAX_CLAIMED: Final = 4
"""Key ids that one counter keeps; who proves nothing can make up as many as it likes."""
BURST: Final = 60
ENTRY_EVERY_S: Final = 15
"""In the long run: 5,760 entries of some 500 bytes a day, below 3 MB, for each payer and process. Payers are accounts,
users that there are (twice), sign-ins and all others: nobody makes more of them by asking."""
MAX_SOURCES: Final = 16
MAX_NAME: Final = 64
"""Characters of what a row is called."""
_MS: Final = 1_000
_OF_SIGN_INS: Final = frozenset(
    {
        "credentials_wrong",
        "second_factor_required",
        "sign_in_locked",
        "invitation_invalid",
        "registration_closed",
    }
)

_log: Final = structlog.get_logger("cambist.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused request.

    `actor`: whose key or session it was, `UNKNOWN` when nothing was proved; `claimed_key` is what such a request says,
    `user` (`name:id`) whose password or code it tried. `reason` is what the answer said or what only the owner is told.
    `source` is what its address counts as (`service.ratelimits.limits.bucket_of`).
    """

    code: str
    reason: str
    actor: Actor
    account_id: int | None = None
    claimed_key: str | None = None
    user: str | None = None
    client_ip: str | None = None
    source: str | None = None
    record: Subject | None = None
    """Not a request but a row that fails its integrity check, and was left out of a list."""
    request_id: str | None = None
    route: str | None = None


class Payer(StrEnum):
    """Whose counters and entries a refusal takes; of the first three there is one for each account or user."""

    ACCOUNT = "account"
    PERSON = "person"
    """Who is signed in."""
    TRIED = "tried"
    """A user whose password or code somebody tried: whoever floods that hides nothing of the user's own."""
    SIGN_IN = "sign-in"
    RECORDS = "records"
    """Of an account, or of none: rows that were left out of a list."""
    OTHERS = "others"


_OF_ACCOUNTS: Final = frozenset({Payer.ACCOUNT, Payer.RECORDS})
"""Whose entries are in the chain of an account."""
_Payer = tuple[Payer, int | str]
_Place = tuple[str | None, ...]


@dataclass(slots=True, kw_only=True)
class _Counter:
    first: Refusal
    first_ms: int
    last_ms: int
    count: int = 1
    claimed: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class _Account:
    """The counters of one payer, and how many entries it may write."""

    filled_ms: int
    counters: dict[_Place, _Counter] = field(default_factory=dict)
    more: int = 0
    """Refusals beyond what there were counters for."""
    budget: int = BURST

    def refill(self, now_ms: int) -> None:
        earned = max(0, now_ms - self.filled_ms) // (ENTRY_EVERY_S * _MS)
        self.filled_ms = now_ms if self.budget + earned >= BURST else self.filled_ms + earned * ENTRY_EVERY_S * _MS
        self.budget = min(BURST, self.budget + earned)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """What one flush writes of one payer: entries of their own, and those that share one."""

    payer: _Payer
    alone: Sequence[_Counter]
    merged: Sequence[_Counter]
    more: int


class Refusals:
    """The counters of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._accounts: Final[dict[_Payer, _Account]] = {}

    def note_unusable(self, found: Sifted[Any], *, account_id: int | None) -> None:
        """Count the rows that a list left out; `account_id` where they are of an account."""
        for one in found.unusable:
            record = Subject(kind=found.table, id=one[:MAX_NAME])
            reason = "the row is not as the service wrote it, and grants nothing"
            self.note(
                Refusal(code="record_tampered", reason=reason, actor=SYSTEM, account_id=account_id, record=record)
            )

    def note(self, refusal: Refusal) -> None:
        """Count a refusal."""
        now_ms = self._elapsed_ms()
        account = self._accounts.setdefault(_payer(refusal), _Account(filled_ms=now_ms))
        place = _place(refusal)
        counter = account.counters.get(place)
        if counter is None:
            if len(account.counters) >= MAX_COUNTERS:
                account.more += 1
                return
            at_ms = self._clock.now_ms()
            counter = account.counters[place] = _Counter(first=refusal, first_ms=at_ms, last_ms=at_ms)
        else:
            counter.count += 1
            counter.last_ms = self._clock.now_ms()
        if refusal.claimed_key is not None and len(counter.claimed) < MAX_CLAIMED:
            counter.claimed.add(refusal.claimed_key)

    async def flush(self, db: Database, master: MasterKey) -> None:
        """Write what is due in one unit of work. Raises: DatabaseError: everything is still counted."""
        taken = [due for payer in list(self._accounts) if (due := self._take(payer)) is not None]
        if not taken:
            return

        def write(c: Connection) -> None:
            now_ms = self._clock.now_ms()
            # In the order of their chains, as everyone locks them: the installation's comes last where one begins.
            for due in sorted(taken, key=_chain, reverse=True):
                append(c, _entries(c, due), master=master, now_ms=now_ms, chain=_chain(due))

        try:
            await db.run(write)
        except BaseException:
            for due in taken:
                self._put_back(due)
            raise

    async def run(self, db: Database, master: MasterKey, stop: asyncio.Event) -> None:
        """Flush until `stop` is set, and once more then. A database that does not answer is tried again."""
        stopping = False
        while not stopping:
            stopping = stop.is_set()
            try:
                await self.flush(db, master)
            except (DatabaseError, StoreUnavailable) as exc:
                _log.warning("refusals_not_written", reason=str(exc))
            if not stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH_S):
                        await stop.wait()

    def _take(self, payer: _Payer) -> _Due | None:
        account = self._accounts[payer]
        account.refill(self._elapsed_ms())
        if not account.counters and not account.more:
            if account.budget == BURST:
                # It has nothing and is owed nothing.
                del self._accounts[payer]
            return None
        if account.budget == 0:
            return None
        counters = list(account.counters.values())
        # One entry for all that have none of their own.
        fits = len(counters) <= account.budget and not account.more
        alone = len(counters) if fits else account.budget - 1
        due = _Due(payer=payer, alone=counters[:alone], merged=counters[alone:], more=account.more)
        account.counters, account.more = {}, 0
        account.budget -= alone + (not fits)
        return due

    def _put_back(self, due: _Due) -> None:
        account = self._accounts.setdefault(due.payer, _Account(filled_ms=self._elapsed_ms()))
        newer, account.counters = account.counters, {}
        for counter in [*due.alone, *due.merged, *newer.values()]:
            place = _place(counter.first)
            found = account.counters.get(place)
            if found is not None:
                found.count, found.last_ms = found.count + counter.count, counter.last_ms
            elif len(account.counters) < MAX_COUNTERS:
                account.counters[place] = counter
            else:
                account.more += counter.count
        account.more += due.more

    def _elapsed_ms(self) -> int:
        return int(self._clock.monotonic_s() * _MS)


def _payer(refusal: Refusal) -> _Payer:
    if refusal.record is not None:
        return Payer.RECORDS, INSTALLATION if refusal.account_id is None else refusal.account_id
    match refusal.actor.kind:
        case ActorKind.KEY if refusal.account_id is not None:
            return Payer.ACCOUNT, refusal.account_id
        case ActorKind.USER:
            return Payer.PERSON, refusal.actor.id
        case _ if refusal.user is not None:
            return Payer.TRIED, refusal.user
        case _:
            return Payer.SIGN_IN if refusal.code in _OF_SIGN_INS else Payer.OTHERS, ""


def _place(refusal: Refusal) -> _Place:
    """What is counted together. That a password was right is not hidden below others that were wrong."""
    of_user = None if refusal.user is None else refusal.reason
    record = None if refusal.record is None else f"{refusal.record.kind} {refusal.record.id}"
    return (refusal.code, refusal.actor.id, refusal.user, of_user, record, refusal.source or refusal.client_ip)


def _chain(due: _Due) -> int:
    kind, whose = due.payer
    return int(whose) if kind in _OF_ACCOUNTS else INSTALLATION


def _entries(c: Connection, due: _Due) -> Sequence[NewEntry]:
    claimed = {key for one in due.alone for key in one.claimed}
    known = set(c.execute(select(api_keys.c.id).where(api_keys.c.id.in_(claimed))).scalars()) if claimed else set()
    entries = [_own_entry(one, known=known) for one in due.alone]
    if due.merged or due.more:
        entries.append(_common_entry(due))
    return entries


def _what(refusal: Refusal) -> str:
    record = refusal.record
    return refusal.actor.id or refusal.user or ("-" if record is None else f"{record.kind}:{record.id}")


def _own_entry(counter: _Counter, *, known: set[str]) -> NewEntry:
    first = counter.first
    keys = sorted(counter.claimed & known)
    subject = first.record
    if first.user is not None:
        subject = Subject(kind="user", id=first.user)
    elif keys:
        subject = Subject(kind="key", id=keys[0])
    return NewEntry(
        act=REFUSED if first.record is None else TAMPERED,
        actor=first.actor,
        outcome=Outcome.REFUSED if first.record is None else Outcome.DONE,
        code=first.code,
        subject=subject,
        account_id=first.account_id,
        request_id=first.request_id,
        client_ip=first.client_ip,
        details={
            "reason": first.reason,
            "route": first.route,
            "count": counter.count,
            "first_ms": counter.first_ms,
            "last_ms": counter.last_ms,
            "also_keys": keys[1:] or None,
        },
    )


def _common_entry(due: _Due) -> NewEntry:
    """One entry for many. Claimed key ids are left out: nobody looked whether there are such keys."""
    sources = [
        f"{one.first.code} {_what(one.first)} {one.first.client_ip} x{one.count}" for one in due.merged[:MAX_SOURCES]
    ]
    details: dict[str, Any] = {
        "count": sum(one.count for one in due.merged) + due.more,
        "first_ms": min((one.first_ms for one in due.merged), default=None),
        "last_ms": max((one.last_ms for one in due.merged), default=None),
        "sources": sources,
        "more": sum(one.count for one in due.merged[MAX_SOURCES:]) + due.more,
    }
    kind, whose = due.payer
    account_id = (int(whose) or None) if kind in _OF_ACCOUNTS else None
    of_rows = kind is Payer.RECORDS
    return NewEntry(
        act=TAMPERED if of_rows else REFUSED,
        actor=Actor(kind=ActorKind.USER, id=str(whose)) if kind is Payer.PERSON else SYSTEM if of_rows else UNKNOWN,
        outcome=Outcome.DONE if of_rows else Outcome.REFUSED,
        code="several",
        subject=Subject(kind="user", id=str(whose)) if kind is Payer.TRIED else None,
        account_id=account_id,
        details=details,
    )
