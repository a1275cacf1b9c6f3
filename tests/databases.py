"""SQLite in tests: a migrated file to copy, made once a process, and statements compiled once a process.

Migrating takes longer than most tests, and so does compiling: every test has engines of its own, and an engine knows
only what it compiled itself.
"""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from service.db.engine import Database
from service.db.strict import STRICT


class RememberingDialect(SQLiteDialect_pysqlite):
    """SQLite as it is, all of whose engines have one memory of compiled statements.

    A statement is remembered with its dialect; that of one engine compiles as that of any other.
    """

    # As its parent's; SQLAlchemy looks for it in the class itself.
    supports_statement_cache = True
    # What is remembered of a statement includes how its answer is read: as strictly as the service's own engines do.
    colspecs = {**SQLiteDialect_pysqlite.colspecs, **STRICT}  # noqa: RUF012 - as its parent has it

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=_compiled())


def remember_compiled_statements() -> None:
    """From now on, in this process."""
    for name in ("sqlite", "sqlite.pysqlite"):
        registry.register(name, __name__, RememberingDialect.__name__)


async def place_migrated(path: Path) -> None:
    """An empty database of the newest schema at `path`, whose directory is made where it is missing."""
    template = Path(_directory().name) / "cambist.sqlite"
    if not template.exists():
        database = await Database.open(f"sqlite:///{template}")
        try:
            await database.migrate()
        finally:
            await database.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template, path)


@cache
def _compiled() -> dict[Any, Any]:
    return {}


@cache
def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="cambist-template-")
