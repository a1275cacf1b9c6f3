"""Processes on this database, their signs of life, and the leases that they hold (`chains.tx.leases`).

    processes       one row a living worker; its id is the fencing token, made anew at each start
    process_beats   a counter that it raises; others see that it stands still
    leases          what it works on

Guarantees: `check` and `remove` exclude each other: a unit of work that passed the check commits before its process
is removed, or not at all (PostgreSQL: a key-share lock against the row's deletion; SQLite: writes are serial). A
lease has one holder, and only a row of `processes` can be one.
Not guaranteed: that a process whose counter stands still is dead. Whoever removes it has to have waited; a removed one
that lives finds that it cannot write.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import Connection, delete, insert, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType

from chains.tx.leases import LeaseLost, LeaseName
from chains.types import Address
from service.db.models import leases, process_beats, processes

NO_BEAT: Final = -1
"""In place of a count that is none."""
# As they are stored: one row that makes no sense must not end the worker that reads all of them.
_WALLETS: Final = type_coerce(processes.c.wallets, NullType())
_BEAT: Final = type_coerce(process_beats.c.beat, NullType())


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A registered worker. `beat` counts its signs of life."""

    id: str
    wallets: frozenset[Address]
    beat: int


def register(c: Connection, process_id: str, *, wallets: Collection[Address], now_ms: int) -> None:
    """Add a process that holds nothing yet."""
    c.execute(insert(processes).values(id=process_id, wallets=sorted(wallets), started_ms=now_ms))
    c.execute(insert(process_beats).values(process_id=process_id, beat=0))


def check(c: Connection, process_id: str) -> None:
    """The fence of every write: the process is still registered, and stays so until this commits. Raises: LeaseLost."""
    alive = select(processes.c.id).where(processes.c.id == process_id).with_for_update(read=True, key_share=True)
    if c.execute(alive).one_or_none() is None:
        raise LeaseLost("this process was taken for dead; others may work on what it held")


def beat(c: Connection, process_id: str, *, wallets: Collection[Address]) -> None:
    """A sign of life, with what it can sign for by now. Raises: LeaseLost."""
    raised = update(process_beats).where(process_beats.c.process_id == process_id)
    if c.execute(raised.values(beat=process_beats.c.beat + 1)).rowcount != 1:
        raise LeaseLost("this process was taken for dead; others may work on what it held")
    of_process = processes.c.id == process_id
    if _wallets(c.execute(select(_WALLETS).where(of_process)).scalar_one()) != frozenset(wallets):
        c.execute(update(processes).where(of_process).values(wallets=sorted(wallets)))


def registered(c: Connection) -> Sequence[Process]:
    """All of them, by id. One whose row makes no sense can sign for nothing, and is dead if it beats no more."""
    joined = processes.join(process_beats)
    rows = c.execute(select(processes.c.id, _WALLETS, _BEAT).select_from(joined).order_by(processes.c.id)).all()
    return [
        Process(id=row[0], wallets=_wallets(row[1]), beat=row[2] if isinstance(row[2], int) else NO_BEAT)
        for row in rows
    ]


def _wallets(stored: object) -> frozenset[Address]:
    """What a process's row says that it can sign for; nothing, where it says nothing of the kind."""
    try:
        found = orjson.loads(stored) if isinstance(stored, str) else None
    except orjson.JSONDecodeError:
        return frozenset()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return frozenset()
    return frozenset(Address(one) for one in found)


def remove(c: Connection, process_id: str, *, seen_beat: int | None = None) -> bool:
    """Free all that it holds, and let it write nothing more; False if it is gone, or has beaten since `seen_beat`.

    With `seen_beat` also False, at once, while the process is in the middle of a write: it may have stopped there, and
    whoever waits for it gives no sign of life meanwhile.
    """
    of_process = process_beats.c.process_id == process_id
    if seen_beat is not None:
        of_process &= process_beats.c.beat == seen_beat
        idle = select(processes.c.id).where(processes.c.id == process_id).with_for_update(skip_locked=True)
        if c.execute(idle).one_or_none() is None:
            return False
    if c.execute(delete(process_beats).where(of_process)).rowcount != 1:
        return False
    c.execute(update(leases).where(leases.c.process_id == process_id).values(process_id=None))
    c.execute(delete(processes).where(processes.c.id == process_id))
    return True


def claim(c: Connection, process_id: str, names: Collection[LeaseName], *, now_ms: int) -> set[LeaseName]:
    """Take those of the leases that are free; all of these names that the process holds then. Raises: LeaseLost."""
    check(c, process_id)
    dialect = postgresql if c.dialect.name == "postgresql" else sqlite
    new = [{"name": name, "process_id": None, "fence": 0, "taken_ms": now_ms} for name in sorted(names)]
    c.execute(dialect.insert(leases).on_conflict_do_nothing(), new)
    free = leases.c.name.in_(names) & leases.c.process_id.is_(None)
    taken = {"process_id": process_id, "fence": leases.c.fence + 1, "taken_ms": now_ms}
    c.execute(update(leases).where(free).values(**taken))
    held = select(leases.c.name).where(leases.c.name.in_(names), leases.c.process_id == process_id)
    return set(c.execute(held).scalars())


def give_back(c: Connection, process_id: str, names: Collection[LeaseName]) -> None:
    """Free those of the leases that the process holds."""
    of_process = leases.c.name.in_(names) & (leases.c.process_id == process_id)
    c.execute(update(leases).where(of_process).values(process_id=None))
