"""The entries of address books: the queries, each inside the caller's unit of work.

Guarantees: an entry is answered only if its row's MAC is right, so that one written, edited or copied to another
account or chain in the database grants nothing; an address and a name stand in an account's book once a chain; an entry
that was removed stays as history and never comes back, an address that is added again is another entry; each change is
one guarded update of exactly the row that was read, so that a removal is not undone by what happens at the same moment.
Not here: who may do this, and what address is a good one (`adding`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, update

from chains.types import Address, ChainId
from service.auth import authority
from service.auth.authority import Sifted
from service.auth.secrets import MasterKey
from service.db.models import book_entries
from service.errors import ApiError


class EntryState(StrEnum):
    COOLING = "cooling"
    IN_FORCE = "in_force"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What is written of a new entry. `added_by` is None for the operator on the host."""

    account_id: int
    chain_id: ChainId
    address: Address
    name: str
    is_contract: bool
    added_by: int | None
    created_ms: int
    in_force_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A named destination on a chain."""

    id: int
    account_id: int
    chain_id: ChainId
    address: Address
    name: str
    is_contract: bool
    added_by: int | None
    created_ms: int
    in_force_ms: int
    removed_ms: int | None
    mac: bytes = field(repr=False)

    def state(self, now_ms: int) -> EntryState:
        if self.removed_ms is not None:
            return EntryState.REMOVED
        return EntryState.IN_FORCE if self.in_force_ms <= now_ms else EntryState.COOLING


def insert_entry(c: Connection, new: NewEntry, *, master: MasterKey) -> Entry:
    """Raises: IntegrityError: the book has the address or the name."""
    t = book_entries
    row = {
        "account_id": new.account_id,
        "chain_id": new.chain_id,
        "address": new.address,
        "name": new.name,
        "is_contract": new.is_contract,
        "added_by": new.added_by,
        "created_ms": new.created_ms,
        "in_force_ms": new.in_force_ms,
        "removed_ms": None,
    }
    # The MAC covers the id, which the database gives out: hence the two steps.
    entry_id = c.execute(insert(t).returning(t.c.id), {**row, "mac": bytes(32)}).scalar_one()
    return _write(c, {"id": entry_id, **row}, was=bytes(32), master=master)


def entry_of(c: Connection, account_id: int, *, entry_id: int, master: MasterKey) -> Entry | None:
    """The account's entry, removed ones included. Raises: authority.Tampered; so do the other queries."""
    t = book_entries
    row = c.execute(select(t).where(t.c.id == entry_id, t.c.account_id == account_id)).mappings().one_or_none()
    return None if row is None else _entry(row, master)


def entries_of(
    c: Connection, account_id: int, *, chain_id: ChainId | None = None, master: MasterKey
) -> Sequence[Entry]:
    """What is in the account's book, by name; on one chain or on all. None whose MAC is wrong: it grants nothing."""
    return sift_entries(c, account_id, chain_id=chain_id, master=master).intact


def sift_entries(
    c: Connection, account_id: int, *, chain_id: ChainId | None = None, master: MasterKey
) -> Sifted[Entry]:
    """The same, and the ids of those whose MAC is wrong."""
    t = book_entries
    found = select(t).where(t.c.account_id == account_id, t.c.removed_ms.is_(None)).order_by(t.c.name, t.c.id)
    if chain_id is not None:
        found = found.where(t.c.chain_id == chain_id)
    return _sift(c, found, master)


def sift_removed(c: Connection, account_id: int, *, limit: int, master: MasterKey) -> Sifted[Entry]:
    """The entries that were removed, newest removal first."""
    t = book_entries
    found = select(t).where(t.c.account_id == account_id, t.c.removed_ms.is_not(None))
    return _sift(c, found.order_by(t.c.removed_ms.desc(), t.c.id.desc()).limit(limit), master)


def entry_for(
    c: Connection, account_id: int, *, chain_id: ChainId, address: Address, master: MasterKey
) -> Entry | None:
    """The entry of an address that is in the account's book."""
    t = book_entries
    mine = (t.c.account_id == account_id, t.c.chain_id == chain_id, t.c.address == address, t.c.removed_ms.is_(None))
    row = c.execute(select(t).where(*mine)).mappings().one_or_none()
    return None if row is None else _entry(row, master)


def count(c: Connection, account_id: int) -> int:
    """How many entries are in the account's book."""
    t = book_entries
    mine = select(func.count()).select_from(t).where(t.c.account_id == account_id, t.c.removed_ms.is_(None))
    return c.execute(mine).scalar_one()


def rename(c: Connection, entry: Entry, *, name: str, master: MasterKey) -> Entry:
    """Raises: IntegrityError: the book has the name. ApiError: try_again."""
    return _write(c, _row(entry) | {"name": name}, was=entry.mac, master=master)


def remove(c: Connection, entry: Entry, *, now_ms: int, master: MasterKey) -> Entry:
    """Take it out of the book, for ever. Repeating it keeps the first time. Raises: ApiError: try_again."""
    if entry.removed_ms is not None:
        return entry
    return _write(c, _row(entry) | {"removed_ms": now_ms}, was=entry.mac, master=master)


def _write(c: Connection, row: dict[str, object], *, was: bytes, master: MasterKey) -> Entry:
    t = book_entries
    stored = row | {"mac": authority.mac(master, t, row)}
    guarded = update(t).where(t.c.id == row["id"], t.c.mac == was).values(stored).returning(*t.c)
    written = c.execute(guarded).mappings().one_or_none()
    if written is None:
        raise ApiError("try_again", "the entry was changed at the same moment")
    return _entry(written, master)


def _sift(c: Connection, statement: Select[Any], master: MasterKey) -> Sifted[Entry]:
    t = book_entries
    return authority.sift(c, statement, table=t, id_=t.c.id, make=lambda row: _entry(row, master))


def _row(entry: Entry) -> dict[str, object]:
    return {column.name: getattr(entry, column.name) for column in book_entries.columns if column.name != "mac"}


def _entry(row: RowMapping, master: MasterKey) -> Entry:
    authority.verify(master, book_entries, row)
    return Entry(
        id=row["id"],
        account_id=row["account_id"],
        chain_id=ChainId(row["chain_id"]),
        address=row["address"],
        name=row["name"],
        is_contract=row["is_contract"],
        added_by=row["added_by"],
        created_ms=row["created_ms"],
        in_force_ms=row["in_force_ms"],
        removed_ms=row["removed_ms"],
        mac=bytes(row["mac"]),
    )
