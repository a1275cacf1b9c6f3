"""Where the databases of trials are: a file each, or a database each of one PostgreSQL server, from a migrated one.

Migrating takes longer than most trials.
"""

import asyncio
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.db.engine import Database
from tests.crash.promises import Rows, read_rows

TEMPLATE: Final = "cambist_crash_template"


class Databases(Protocol):
    def make(self, folder: Path) -> str:
        """An empty migrated database, by its URL; `folder` is the trial's data directory, made here."""
        ...

    def drop(self, url: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteFiles:
    """Each in its trial's own folder."""

    template: Path

    def make(self, folder: Path) -> str:
        folder.mkdir(mode=0o700)
        path = folder / "cambist.sqlite"
        shutil.copyfile(self.template, path)
        return f"sqlite:///{path}"

    def drop(self, url: str) -> None:
        """With its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresDatabases:
    """Of a server, by its URL."""

    server: str
    template: str = TEMPLATE
    """A migrated, empty one; `make_template` makes it."""

    def make(self, folder: Path) -> str:
        folder.mkdir(mode=0o700)
        name = f"crash_{uuid.uuid4().hex}"
        asyncio.run(self._execute(f"CREATE DATABASE {name} TEMPLATE {self.template}"))
        return make_url(self.server).set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        asyncio.run(self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))

    def make_template(self) -> None:
        """Once a server."""
        asyncio.run(self._execute(f"CREATE DATABASE {self.template}"))
        url = make_url(self.server).set(database=self.template).render_as_string(hide_password=False)
        asyncio.run(migrate(url))

    async def _execute(self, statement: str) -> None:
        engine = create_async_engine(
            make_url(self.server).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT", pool_size=1
        )
        try:
            async with engine.connect() as connection:
                await connection.execute(text(statement))
        finally:
            await engine.dispose()


async def migrate(url: str) -> None:
    database = await Database.open(url)
    try:
        await database.migrate()
    finally:
        await database.close()


def rows_of(url: str) -> Rows:
    """All that the oracle looks at, read past the product's own code."""
    if url.startswith("sqlite"):
        engine = create_engine(url)
        try:
            with engine.connect() as c:
                return read_rows(c)
        finally:
            engine.dispose()
    return asyncio.run(_rows_of_server(url))


async def _rows_of_server(url: str) -> Rows:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), pool_size=1)
    try:
        async with engine.connect() as connection:

            def read(c: Connection) -> Rows:
                return read_rows(c)

            return await connection.run_sync(read)
    finally:
        await engine.dispose()
