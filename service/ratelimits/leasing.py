"""Slices of a limit's window, leased to processes: one row a (window, limit, client) that asked for any.

Guarantees: what is leased of a window is never more than the limit, whoever asks at once (the row is locked from its
reading to its writing; on SQLite writes are serial). A slice is never given back: it lapses with its window.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.db.models import rate_leases


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """`need` or nothing; more, a `slices`th of what is left, where that is more. `size` is the whole limit.

    `forget_before_ms`: rows of this limit's windows that began before it are deleted on the way.
    """

    limit: str
    client: str
    window_ms: int
    need: int
    size: int
    slices: int
    forget_before_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What was leased now, and what is leased of the window to all."""

    granted: int
    total: int


def lease(c: Connection, wanted: Wanted) -> Lease:
    """In a unit of work of its own."""
    t = rate_leases
    if wanted.forget_before_ms is not None:
        c.execute(delete(t).where(t.c.window_ms < wanted.forget_before_ms, t.c.limit == wanted.limit))
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    row = {"window_ms": wanted.window_ms, "limit": wanted.limit, "client": wanted.client}
    c.execute(dialect.insert(t).on_conflict_do_nothing(), {**row, "leased": 0})
    same = (t.c.window_ms == wanted.window_ms, t.c.limit == wanted.limit, t.c.client == wanted.client)
    leased: int = c.execute(select(t.c.leased).where(*same).with_for_update()).scalar_one()
    left = max(0, wanted.size - leased)
    granted = max(wanted.need, left // wanted.slices) if wanted.need <= left else 0
    if granted:
        c.execute(update(t).where(*same).values(leased=leased + granted))
    return Lease(granted=granted, total=leased + granted)
