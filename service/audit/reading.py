"""Reading the audit log: what an operator looks for, and everything in order.

Guarantees: entries come as they are stored, checked or not (`service.audit.verifying` checks); answers are bounded by
`limit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, func, or_, select, tuple_

from service.audit.acts import BEGUN
from service.audit.model import INSTALLATION, Entry, Head
from service.db.models import audit_entries as t


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look for; None is anything. `act` with a dot at its end is a prefix."""

    since_ms: int | None = None
    until_ms: int | None = None
    account_id: int | None = None
    chain: int | None = None
    before: int | None = None
    """Of `chain`: only entries with a lower sequence number."""
    actor: str | None = None
    act: str | None = None
    outcome: str | None = None
    subject: str | None = None


def newest(c: Connection, wanted: Wanted, *, limit: int) -> Sequence[Entry]:
    """The newest matching entries of all chains, oldest of them first."""
    # Clocks of processes differ a little: of one chain it is the number that is the order.
    by_time = (t.c.time_ms.desc(), t.c.chain.desc(), t.c.seq.desc())
    statement = select(t).order_by(*(by_time if wanted.chain is None else (t.c.seq.desc(),))).limit(limit)
    if wanted.since_ms is not None:
        statement = statement.where(t.c.time_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        statement = statement.where(t.c.time_ms < wanted.until_ms)
    if wanted.chain is not None:
        statement = statement.where(t.c.chain == wanted.chain)
        if wanted.before is not None:
            statement = statement.where(t.c.seq < wanted.before)
    if wanted.account_id is not None:
        statement = statement.where(t.c.account_id == wanted.account_id)
    if wanted.actor is not None:
        # An operator is stored as name:uid.
        named = (t.c.actor == wanted.actor, t.c.actor.startswith(f"{wanted.actor}:", autoescape=True))
        statement = statement.where(or_(*named, t.c.actor_kind == wanted.actor))
    if wanted.act is not None:
        is_prefix = wanted.act.endswith(".")
        statement = statement.where(
            t.c.act.startswith(wanted.act, autoescape=True) if is_prefix else t.c.act == wanted.act
        )
    if wanted.outcome is not None:
        statement = statement.where(or_(t.c.outcome == wanted.outcome, t.c.code == wanted.outcome))
    if wanted.subject is not None:
        statement = statement.where(t.c.subject == wanted.subject)
    return [entry_of(row) for row in reversed(c.execute(statement).mappings().all())]


def following(c: Connection, chain: int, *, after_seq: int, up_to: int, limit: int) -> Sequence[Entry]:
    """Entries of one chain in order, after that one."""
    rows = c.execute(
        select(t).where(t.c.chain == chain, t.c.seq > after_seq, t.c.seq <= up_to).order_by(t.c.seq).limit(limit)
    )
    return [entry_of(row) for row in rows.mappings()]


def newest_by_chain(c: Connection) -> Mapping[int, int]:
    """The highest sequence number that entries of each chain have."""
    return {
        row.chain: row.seq for row in c.execute(select(t.c.chain, func.max(t.c.seq).label("seq")).group_by(t.c.chain))
    }


def begun_chains(c: Connection) -> Sequence[int]:
    """The chains whose beginning the installation's chain tells of."""
    told = select(t.c.subject).where(t.c.chain == INSTALLATION, t.c.act == BEGUN)
    return [int(chain) for chain in c.execute(told).scalars() if chain is not None and chain.isdecimal()]


def hashes_at(c: Connection, heads: Sequence[Head]) -> Mapping[tuple[int, int], bytes]:
    """The hashes stored at those places, where there is something."""
    places = [(head.chain, head.seq) for head in heads]
    rows = c.execute(select(t.c.chain, t.c.seq, t.c.hash).where(tuple_(t.c.chain, t.c.seq).in_(places)))
    return {(row.chain, row.seq): bytes(row.hash) for row in rows}


def entry_of(row: RowMapping) -> Entry:
    values: dict[str, Any] = dict(row)
    return Entry(**values | {"hash": bytes(row["hash"]), "mac": bytes(row["mac"])})
