"""Appending to the audit log, inside the unit of work of what is recorded.

Guarantees: an entry commits with what it tells of, or neither does; sequence numbers of a chain are gapless and in
commit order, since they are given out under the row lock of the chain's end; no function here or elsewhere changes or
removes an entry. An end that was altered in the database is not made good by appending to it: from then on it carries
another MAC, which `service.audit.verifying` tells, and which nobody without the master key turns back. It refuses
nothing: a key must be revocable on a damaged log too.
Not guaranteed: that somebody who can write to the database and has an older copy of the whole of it did not put that
back. Only a copy of the ends that is kept elsewhere shows this (`cambist audit export`).
"""

import hmac
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Final

import structlog
from sqlalchemy import Connection, func, insert, select, update

from service.audit.acts import BEGUN, details_of
from service.audit.model import (
    INSTALLATION,
    NOTHING,
    SYSTEM,
    Head,
    NewEntry,
    Subject,
    canonical,
    entry_hash,
    entry_mac,
    head_mac,
)
from service.auth.secrets import MasterKey
from service.db.models import audit_chains, audit_entries

PURPOSE: Final = "audit"
"""Of the subkey under which entries and ends have their MACs."""
ALTERED: Final = b"altered"
_CUTS: Final = {"actor": 80, "subject": 128}

_log: Final = structlog.get_logger("cambist.audit")


class EndState(Enum):
    """What the MAC of a chain's end says."""

    RIGHT = auto()
    ALTERED = auto()
    """It was found wrong at an earlier append, and the chain went on."""
    WRONG = auto()


def append(
    c: Connection, entries: Sequence[NewEntry], *, master: MasterKey, now_ms: int, chain: int = INSTALLATION
) -> Head:
    """Append entries to a chain, in that order; its new end.

    Raises:
        UnknownAct: an act that is not in the table.
        TypeError: details that have no place in an entry.
    """
    key = master.subkey(PURPOSE)
    # Before the lock is taken: what is wrong with an entry is its caller's bug, and holds up nobody.
    prepared = [(entry, details_of(entry.act, entry.details)) for entry in entries]
    head, state = _locked(c, chain, key=key)
    if head.seq == 0 and chain != INSTALLATION:
        begun = NewEntry(
            act=BEGUN, actor=SYSTEM, subject=Subject(kind="chain", id=str(chain)), details={"chain": chain}
        )
        append(c, [begun], master=master, now_ms=now_ms)
    rows = []
    for seq, (entry, details) in enumerate(prepared, head.seq + 1):
        fields = {
            "chain": chain,
            "seq": seq,
            "time_ms": now_ms,
            "act": entry.act,
            "outcome": str(entry.outcome),
            "code": entry.code,
            "actor_kind": str(entry.actor.kind),
            "actor": entry.actor.id[: _CUTS["actor"]],
            "subject_kind": None if entry.subject is None else entry.subject.kind,
            "subject": None if entry.subject is None else entry.subject.id[: _CUTS["subject"]],
            "account_id": entry.account_id,
            "request_id": entry.request_id,
            "client_ip": entry.client_ip,
            "details": details,
        }
        digest = entry_hash(fields, previous=head.hash)
        head = Head(chain=chain, seq=seq, hash=digest)
        stored = {"details": canonical(details).decode(), "hash": digest, "mac": entry_mac(key, digest)}
        rows.append(fields | stored)
    if rows:
        c.execute(insert(audit_entries), rows)
        mac = head_mac(key, head, marked=b"" if state is EndState.RIGHT else ALTERED)
        c.execute(
            update(audit_chains).where(audit_chains.c.chain == chain).values(seq=head.seq, hash=head.hash, mac=mac)
        )
    return head


def end_state(key: bytes, head: Head, mac: bytes) -> EndState:
    """What that MAC says about that end."""
    if hmac.compare_digest(mac, head_mac(key, head)):
        return EndState.RIGHT
    return EndState.ALTERED if hmac.compare_digest(mac, head_mac(key, head, marked=ALTERED)) else EndState.WRONG


def _locked(c: Connection, chain: int, *, key: bytes) -> tuple[Head, EndState]:
    """The end of the chain, locked until the commit; made where there is none."""
    found = select(audit_chains).where(audit_chains.c.chain == chain).with_for_update()
    row = c.execute(found).one_or_none()
    if row is None:
        return _begin(c, chain, key=key)
    head = Head(chain=chain, seq=row.seq, hash=bytes(row.hash))
    state = end_state(key, head, bytes(row.mac))
    if state is EndState.WRONG:
        _log.error("audit_end_altered", chain=chain, seq=head.seq)
        # Its number may be wrong too, and a number that is taken would stop every act.
        head = _last(c, chain) or head
    return head, state


def _begin(c: Connection, chain: int, *, key: bytes) -> tuple[Head, EndState]:
    """The row of a chain's end. Entries without one: somebody removed it."""
    last = _last(c, chain)
    head = last or Head(chain=chain, seq=0, hash=NOTHING)
    state = EndState.RIGHT if last is None else EndState.ALTERED
    mac = head_mac(key, head, marked=b"" if last is None else ALTERED)
    c.execute(insert(audit_chains), {"chain": chain, "seq": head.seq, "hash": head.hash, "mac": mac})
    if last is not None:
        _log.error("audit_end_removed", chain=chain, seq=head.seq)
    return head, state


def _last(c: Connection, chain: int) -> Head | None:
    t = audit_entries
    newest = select(func.max(t.c.seq)).where(t.c.chain == chain).scalar_subquery()
    row = c.execute(select(t.c.seq, t.c.hash).where(t.c.chain == chain, t.c.seq == newest)).one_or_none()
    return None if row is None else Head(chain=chain, seq=row.seq, hash=bytes(row.hash))


def heads(c: Connection) -> Iterator[tuple[Head, bytes]]:
    """The ends of all chains with their MACs, the installation's first."""
    for row in c.execute(select(audit_chains).order_by(audit_chains.c.chain)).all():
        yield Head(chain=row.chain, seq=row.seq, hash=bytes(row.hash)), bytes(row.mac)
