"""The database as a runner of units of work: `await db.run(fn)` commits what the synchronous `fn` did, or nothing.

    run(fn) ──> SQLite: one writer thread, waiting functions grouped, one COMMIT a group   (service.db.sqlite)
            └─> PostgreSQL: a SERIALIZABLE transaction over asyncpg, `fn` under run_sync   (service.db.postgres)

Guarantees: when `run` returns, the commit is durable; when `fn` raises, nothing it did is left, and its own
exception comes out. Errors of the commit itself are `CommitFailed` or `CommitUnknown`, never confused with `fn`'s.
Since `fn` is synchronous, nothing can await the network inside a transaction. `read` sees one consistent snapshot
of committed state and cannot write. A second process on the same SQLite file is refused.

Rules for `fn`: it may be called more than once (PostgreSQL repeats it after a serialization conflict), so it has no
effect but through its connection; it never commits or rolls back; a statement that may fail and is to be survived
is wrapped in `c.begin_nested()` (PostgreSQL aborts the whole transaction otherwise) or written ON CONFLICT.

Not guaranteed: that a `run` whose caller was cancelled did not commit; a work that has begun is finished.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import ArgumentError

from service.db.changes import Changes
from service.db.errors import DatabaseUrlInvalid
from service.db.migrations.upgrade import check_revision, upgrade_to_head
from service.db.sqlite import SqliteBackend

T = TypeVar("T")

Dialect = Literal["sqlite", "postgresql"]


class Backend(Protocol):
    """One kind of database behind `Database`."""

    @property
    def changes(self) -> Changes: ...

    async def run(self, work: Callable[[Connection], T]) -> T: ...

    async def run_aside(self, work: Callable[[Connection], T]) -> T: ...

    async def read(self, work: Callable[[Connection], T]) -> T: ...

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Run a schema change alone and atomically."""
        ...

    async def close(self) -> None: ...


class Database:
    """A `chains.tx.store.UnitOfWork[Connection]`. Open it with `Database.open`, end it with `close`."""

    def __init__(self, backend: Backend, *, dialect: Dialect) -> None:
        self._backend: Final = backend
        self.dialect: Final = dialect

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Open `sqlite:///path` or `postgresql://...` and take its lock; the schema is not looked at.

        Raises:
            DatabaseUrlInvalid: neither of the two, an in-memory SQLite, or the `postgres` extra is missing.
            DatabaseInUse: another process has it.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            # `from None`: the parser's message quotes the address, password included.
            raise DatabaseUrlInvalid("the database URL is not one: use sqlite:///path or postgresql://...") from None
        match parsed.get_backend_name():
            case "sqlite":
                if not parsed.database or parsed.database == ":memory:":
                    raise DatabaseUrlInvalid("an in-memory SQLite keeps nothing: name a file, sqlite:///path")
                return cls(await SqliteBackend.open(Path(parsed.database)), dialect="sqlite")
            case "postgresql":
                try:
                    from service.db.postgres import PostgresBackend  # asyncpg is an extra
                except ImportError as missing:
                    raise DatabaseUrlInvalid("PostgreSQL needs an extra: pip install 'cambist[postgres]'") from missing
                return cls(await PostgresBackend.open(parsed), dialect="postgresql")
            case other:
                raise DatabaseUrlInvalid(f"{other} is not supported: use sqlite:///path or postgresql://...")

    @property
    def changes(self) -> Changes:
        """What was committed by this process, for those who remember what they read."""
        return self._backend.changes

    @property
    def is_exclusive(self) -> bool:
        """No other process can have it open: an SQLite file is locked."""
        return self.dialect == "sqlite"

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Execute `work` and commit durably; roll back and re-raise what it raises.

        Raises:
            WriteConflict: PostgreSQL only, after several tries; call again.
            DatabaseUnavailable: PostgreSQL only; nothing was committed.
            CommitFailed: nothing was committed.
            CommitUnknown: it may or may not have been committed.
            DatabaseClosed: after `close`.
        """
        return await self._backend.run(work)

    async def run_aside(self, work: Callable[[Connection], T]) -> T:
        """As `run`, without waiting for other writers: for rows that nobody else's work depends on (signs of life).

        On PostgreSQL it sees what is committed statement by statement.
        """
        return await self._backend.run_aside(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Execute `work` on a consistent snapshot of committed state; a write in it raises."""
        return await self._backend.read(work)

    async def migrate(self) -> None:
        """Bring the schema to this version, atomically; nothing happens when it is there already.

        Raises:
            SchemaUnknown: made by a newer version of Cambist, or not ours.
        """
        await self._backend.migrate(upgrade_to_head)

    async def check_schema(self) -> None:
        """Raises: SchemaUnknown, SchemaOutdated."""
        await self._backend.read(check_revision)

    async def close(self) -> None:
        """Finish what is queued, then let go of the database. Calling it again does nothing."""
        await self._backend.close()
