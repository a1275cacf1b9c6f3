"""What SQLite hands out is of its column's type, or is refused: SQLite itself keeps any kind of value in any column.

PostgreSQL does this by itself. On SQLite, whoever writes to the file can leave an integer where bytes belong, and
`bytes(n)` of what was read would then ask for n bytes of memory.

Guarantees: a value of a column of bytes, text, whole numbers or truth values that is of another kind raises `Misfit`
where it is read, at no cost but looking at its type; so does one, or a row, of more than `MOST_BYTES`, before it is in
memory. `Misfit` is an `UnusableRow`, and so a
`ValueError`: whoever reads rows that something else may have written refuses that row for it.
Not guaranteed: that a value of the right kind makes sense; `service.db.types`, states and MACs say that.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect, ExceptionContext
from sqlalchemy.types import Boolean, Integer, LargeBinary, String

from service.db.errors import Misfit

MOST_BYTES: Final = 32 * 1024 * 1024
"""Of one value or row: more than anything that is stored here (no request's body is above 16 MiB, whatever the settings
say), and no harm to the memory of a reader."""


class StrictBytes(LargeBinary):
    """Bytes."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _only(bytes)


class StrictText(String):
    """Text."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _only(str)


class StrictInteger(Integer):
    """A whole number."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _only(int)


class StrictBoolean(Boolean):
    """0 or 1."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _truth


STRICT: Final[Mapping[type, type]] = {
    LargeBinary: StrictBytes,
    String: StrictText,
    Integer: StrictInteger,
    Boolean: StrictBoolean,
}
"""What reads the values of a column of that type, as SQLAlchemy's dialects have it (`colspecs`)."""


def make_strict(engine: Engine) -> None:
    """Have every statement of a SQLite engine answer with values of its columns' types."""
    engine.dialect.colspecs = {**engine.dialect.colspecs, **STRICT}
    event.listen(engine, "connect", _bound)
    event.listen(engine, "handle_error", _told_as_misfit)


def _only(kind: type) -> Callable[[Any], Any]:
    def process(value: Any) -> Any:
        if value is None or type(value) is kind:
            return value
        raise Misfit(kind.__name__, type(value).__name__)

    return process


def _truth(value: Any) -> bool | None:
    if value is None:
        return None
    if type(value) is int and value in (0, 1):
        return value == 1
    raise Misfit("bool", type(value).__name__)


def _bound(connection: sqlite3.Connection, _record: object) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)


def _told_as_misfit(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG:
        raise Misfit(f"at most {MOST_BYTES} bytes", "more") from context.original_exception
