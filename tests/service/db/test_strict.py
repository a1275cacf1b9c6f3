"""Values that something else has written into a column that they do not fit, on SQLite: refused where they are read."""

import sqlite3
from typing import Any, Final

import pytest
from sqlalchemy import Boolean, Column, Connection, Integer, LargeBinary, Table, literal_column, select, type_coerce

from service.auth.authority import UNREADABLE
from service.db.engine import Database
from service.db.errors import Misfit
from service.db.models import metadata
from service.db.strict import MOST_BYTES
from service.db.types import U256, Addr, Hash32, Json, RatioText

INTEGER, HUGE, REAL, TEXT, BYTES = "7", "4611686018427387904", "1.5", "'x'", "x'ff'"
NEVER: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (U256, (INTEGER, HUGE, REAL, TEXT, BYTES, "'-1'", f"'{'9' * 78}'", f"'{'-'.ljust(78, '0')}'")),
    (RatioText, (INTEGER, HUGE, REAL, TEXT, BYTES, "'1/0'", "'0/1'", "'-1/2'", "'1_0/2'", f"'1/{'1' * 200}'")),
    (Addr, (INTEGER, HUGE, REAL, TEXT, BYTES)),
    (Hash32, (INTEGER, HUGE, REAL, TEXT, BYTES)),
    (Json, (INTEGER, HUGE, REAL, TEXT, BYTES)),
    (LargeBinary, (INTEGER, HUGE, REAL, TEXT)),
    (Boolean, (INTEGER, HUGE, REAL, TEXT, BYTES)),
    (Integer, (REAL, TEXT, BYTES)),
)
IN_TEXT: Final = (INTEGER, HUGE, REAL, BYTES)


def never(column: Column[Any]) -> tuple[str, ...]:
    return next((found for kind, found in NEVER if isinstance(column.type, kind)), IN_TEXT)


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)
async def test_no_column_takes_a_value_of_another_kind_and_none_takes_memory_for_it(
    sqlite_db: Database, table: Table
) -> None:
    def missed_ones(c: Connection) -> list[tuple[str, str]]:
        missed = []
        for column in table.columns:
            for literal in never(column):
                query = select(type_coerce(literal_column(literal), column.type))
                try:
                    c.execute(query).all()
                except UNREADABLE:
                    continue
                missed.append((column.name, literal))
        return missed

    assert await sqlite_db.read(missed_ones) == []


async def test_a_value_of_more_bytes_than_anything_that_is_stored_is_not_read_into_memory(
    sqlite_db: Database, sqlite_url: str
) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as c:
        c.execute("INSERT INTO users (name, created_ms) VALUES (zeroblob(?), 1)", (MOST_BYTES + 1,))
    c.close()
    users = metadata.tables["users"]
    with pytest.raises(Misfit):
        await sqlite_db.read(lambda c: c.execute(select(users.c.name)).all())
    assert await sqlite_db.read(lambda c: c.execute(select(users.c.created_ms)).scalars().all()) == [1]
