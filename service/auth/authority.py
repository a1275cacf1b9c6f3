"""MACs over the rows that grant authority: memberships, wallets, keys, destinations, orders and their tries.

Guarantees: a row that was written or edited without the master key, or copied to another identity or table, does not
verify; the MAC covers the table's name and every column but itself, so that a column added later is covered too. One
that is marked `NOT_IN_MAC_WHEN_NULL` is left out while it is null, so that rows from before it stay valid; clearing it
in a row that had a value is found all the same. One that is marked `NOT_IN_MAC` is not covered.
Not guaranteed: freshness. Someone who can write to the database can put back an older version of a row whole, or
delete it; backups and the audit log are against that.
"""

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

import orjson
import structlog
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table
from sqlalchemy.exc import IntegrityError, MultipleResultsFound, NoResultFound

from chains.errors import ChainError
from chains.tx.store import UnusableRow
from contracts.errors import ContractError
from contracts.ratio import Ratio
from service.auth.secrets import MasterKey
from service.db.models import NOT_IN_MAC, NOT_IN_MAC_WHEN_NULL

T = TypeVar("T")

COLUMN: Final = "mac"
_LENGTH_BYTES: Final = 4
_log: Final = structlog.get_logger("cambist.integrity")
UNREADABLE: Final = (
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    ChainError,
    ContractError,
)
"""What reading a row raises that something else than the service has written: no value of its column's type, say, no
address, or an asset that nobody lists."""


class Tampered(Exception):
    """A stored row does not have the MAC that the service would have given it."""

    def __init__(self, table: Table) -> None:
        super().__init__(f"a row of {table.name} fails its integrity check")
        self.table: Final = table.name


@contextmanager
def contained(*, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Around what is done in a unit of work for one order, plan or slot of many; what is in `but` comes out as it is.

    Raises: UnusableRow: a row that it needs makes no sense, or does not fit the others. What it is of stands still.
    """
    passing: tuple[type[Exception], ...] = (UnusableRow, *but)
    try:
        yield
    except passing:
        raise
    except (Tampered, IntegrityError, NoResultFound, MultipleResultsFound, *UNREADABLE) as exc:
        _log.critical("a row makes no sense: what it is of stands still", exc_info=True)
        raise UnusableRow(f"a row that it needs makes no sense: {type(exc).__name__}") from exc


def mac(master: MasterKey, table: Table, row: RowMapping | Mapping[str, Any]) -> bytes:
    """The MAC of a row: HMAC-SHA256 over its canonical encoding. `row` has every column of the table that it covers."""
    return hmac.digest(master.subkey("authority"), _encoded(table, row), sha256)


def verify(master: MasterKey, table: Table, row: RowMapping | Mapping[str, Any]) -> None:
    """Raises: Tampered."""
    stored = row[COLUMN]
    try:
        right = mac(master, table, row)
    except TypeError as exc:
        # A value of a kind that no column has.
        raise Tampered(table) from exc
    if not isinstance(stored, bytes | memoryview) or not hmac.compare_digest(right, bytes(stored)):
        raise Tampered(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted(Generic[T]):
    """What a list is made of: the rows that are as they were written, and what the others are called.

    Of those nothing else is believed, and they grant nothing; they do not keep the others from being seen.
    """

    table: str
    intact: Sequence[T]
    unusable: Sequence[str]


def sift(
    c: Connection,
    statement: Select[Any],
    *,
    table: Table,
    id_: ColumnElement[Any],
    make: Callable[[RowMapping], T],
    called: Callable[[Any], str] = str,
) -> Sifted[T]:
    """A statement's rows, in its order. A row is `called` by its `id_`; `make` raises `Tampered`."""
    named: list[tuple[Any, RowMapping | None]]
    try:
        # As a rule all can be read; a value that is none of its column's type spoils the whole answer.
        named = [(row[id_], row) for row in c.execute(statement).mappings().all()]
    except UNREADABLE:
        found = c.execute(statement.with_only_columns(id_)).scalars().all()
        named = [(one, _alone(c, statement.where(id_ == one))) for one in found]
    intact: list[T] = []
    unusable: list[str] = []
    for name, row in named:
        try:
            if row is None:
                raise Tampered(table)
            intact.append(make(row))
        except Tampered:
            unusable.append(called(name))
    return Sifted(table=table.name, intact=intact, unusable=unusable)


def _alone(c: Connection, statement: Select[Any]) -> RowMapping | None:
    try:
        return c.execute(statement).mappings().one_or_none()
    except UNREADABLE:
        return None


def _encoded(table: Table, row: RowMapping | Mapping[str, Any]) -> bytes:
    parts = [_framed(table.name.encode())]
    for name, framed, may_be_left_out in _covered(table):
        value = row[name]
        if value is None and may_be_left_out:
            continue
        parts += [framed, _framed(_value(value))]
    return b"".join(parts)


@cache
def _covered(table: Table) -> tuple[tuple[str, bytes, bool], ...]:
    """Each covered column: its name, as it is encoded, and whether null in it is as if it were not there."""
    found = [column for column in table.columns if column.name != COLUMN and not column.info.get(NOT_IN_MAC)]
    found.sort(key=lambda column: column.name)
    return tuple((one.name, _framed(one.name.encode()), bool(one.info.get(NOT_IN_MAC_WHEN_NULL))) for one in found)


def _value(value: Any) -> bytes:
    """One value with its kind, so that 1, True and "1" differ."""
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int():
            return b"i%d" % value
        case str():
            return b"s" + value.encode()
        case bytes():
            return b"b" + value
        case Ratio():
            return b"r%d/%d" % (value.num, value.den)
        case list() | tuple() | dict():
            return b"j" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        case other:
            raise TypeError(f"{type(other).__name__} has no canonical encoding")


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data
