"""Who writes to the database behind the service's back: over a connection of their own, that no constraint holds up."""

import sqlite3
from typing import Any, Final

from sqlalchemy import Column, Integer, LargeBinary, Table
from sqlalchemy.engine import make_url

from service.db.models import NOT_IN_MAC, order_plans, orders
from service.db.types import U256, Addr, Hash32, Json, RatioText

OTHER: Final = {
    "sell": "buy",
    "buy": "sell",
    "limit": "limit_maker",
    "market": "limit",
    "stop_loss_limit": "take_profit_limit",
    "gtc": "ioc",
    "NEW": "PARTIALLY_FILLED",
}
SHOWN_ONLY: Final = frozenset({"reason", "filled_base", "filled_quote", "gas_wei", "updated_ms"})
"""What the MAC of an order leaves out: it shows what became of it, and decides nothing that is signed."""


def columns(table: Table) -> list[Column[Any]]:
    """Those that decide: a column that is added is one of them, unless it is marked."""
    return [column for column in table.columns if not column.info.get(NOT_IN_MAC)]


FIELDS: Final = [(table, column) for table in (orders, order_plans) for column in columns(table)]


def name_of(value: Any) -> str | None:
    """For the ids of parametrized tests."""
    return value.name if isinstance(value, Column | Table) else None


def write(url: str, statement: str, *values: Any) -> None:
    """One statement, as any program with the file could run it."""
    with sqlite3.connect(make_url(url).database or "") as c:
        c.execute("PRAGMA ignore_check_constraints = ON")
        c.execute(statement, values)
    c.close()


def read(url: str, statement: str, *values: Any) -> list[Any]:
    with sqlite3.connect(make_url(url).database or "") as c:
        found = c.execute(statement, values).fetchall()
    c.close()
    return found


def copy(url: str, table: Table, *, where: str = "1", **changes: str) -> None:
    """Rows once more, with these SQL expressions in some of the columns."""
    names = [column.name for column in table.columns]
    taken = ", ".join(changes.get(name, f'"{name}"') for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    write(url, f"INSERT INTO {table.name} ({listed}) SELECT {taken} FROM {table.name} WHERE {where}")


def tamper(url: str, column: Column[Any], row_id: Any, *, to_null: bool = False) -> bool:
    """Give one field of one row another value of its kind; False: it has none, or is null already."""
    table = column.table
    [key] = [primary.name for primary in table.primary_key]
    [(before,)] = read(url, f'SELECT "{column.name}" FROM {table.name} WHERE {key} = ?', row_id)
    after = None if to_null else another(column, before)
    if after == before or (to_null and not column.nullable):
        return False
    write(url, f'UPDATE {table.name} SET "{column.name}" = ? WHERE {key} = ?', after, row_id)
    return True


def another(column: Column[Any], value: Any) -> Any:
    """A value that the column could have as well, as SQLite stores it."""
    match column.type, value:
        case U256(), _:
            return str(int(value or 0) + 1).zfill(78)
        case RatioText(), None:
            return "1/2"
        case RatioText(), str():
            num, den = value.split("/")
            return f"{int(num) + 1}/{den}"
        case Json(), _:
            return "{}"
        case ((LargeBinary() | Hash32() | Addr()), _):
            return bytes([(value or bytes(32))[0] ^ 1]) + (value or bytes(32))[1:]
        case _, int():
            # Far from what is there: ids of others are taken.
            return value + 100 if column.primary_key else value + 1
        case _, str():
            return OTHER.get(value, value + "x")
    return 1 if isinstance(column.type, Integer) else "x"
