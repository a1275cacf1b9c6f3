"""MACs over the rows that grant authority: memberships, wallets, keys, destinations, orders and their tries.

Guarantees: a row that was written or edited without the master key, or copied to another identity or table, does not
verify; the MAC covers the table's name and every column but itself, so that a column added later is covered too. One
that is marked `NOT_IN_MAC_WHEN_NULL` is left out while it is null, so that rows from before it stay valid; clearing it
in a row that had a value is found all the same. One that is marked `NOT_IN_MAC` is not covered.
Not guaranteed: freshness. Someone who can write to the database can put back an older version of a row whole, or
delete it; backups and the audit log are against that.
"""

import hmac
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Any, Final

import orjson
from sqlalchemy import RowMapping, Table

from contracts.ratio import Ratio
from service.auth.secrets import MasterKey
from service.db.models import NOT_IN_MAC, NOT_IN_MAC_WHEN_NULL

COLUMN: Final = "mac"
_LENGTH_BYTES: Final = 4


class Tampered(Exception):
    """A stored row does not have the MAC that the service would have given it."""

    def __init__(self, table: Table) -> None:
        super().__init__(f"a row of {table.name} fails its integrity check")
        self.table: Final = table.name


def mac(master: MasterKey, table: Table, row: RowMapping | Mapping[str, Any]) -> bytes:
    """The MAC of a row: HMAC-SHA256 over its canonical encoding. `row` has every column of the table that it covers."""
    return hmac.digest(master.subkey("authority"), _encoded(table, row), sha256)


def verify(master: MasterKey, table: Table, row: RowMapping | Mapping[str, Any]) -> None:
    """Raises: Tampered."""
    if not hmac.compare_digest(mac(master, table, row), bytes(row[COLUMN])):
        raise Tampered(table)


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
