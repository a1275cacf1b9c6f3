"""PostgreSQL over asyncpg: each unit of work is one SERIALIZABLE transaction, each read one snapshot.

Why SERIALIZABLE: on SQLite all writes are serial, and code written there ("read the held amounts, then reserve")
must mean the same here. A conflict costs a repetition, a missed lock would cost money.

Guarantees: as `service.db.engine` says; a unit of work that met a conflict (SQLSTATE 40001, 40P01) is repeated while
no other writes, so that dozens of requests for one wallet all get through; what fails even then comes out as
`WriteConflict`. Any number of processes may have it open; who works on what is settled by leases
(`service.db.leases`).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import asyncpg
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chains.crashpoints import reach
from service.db.changes import Changes, note_statements, take_touched
from service.db.errors import (
    CommitFailed,
    CommitUnknown,
    DatabaseClosed,
    DatabaseError,
    DatabaseUnavailable,
    WriteConflict,
)
from service.db.guard import forbid_inner_commits, guarded

T = TypeVar("T")

POOL_SIZE: Final = 10
MAX_TRIES: Final = 4
"""Tries of one unit of work before its conflict is the caller's. From the second on it is alone."""
CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_MS: Final = 30_000
"""A statement that takes longer is broken off by the server."""
IDLE_IN_TRANSACTION_MS: Final = 5_000
"""The server ends the session of a process that stopped, or was cut off, in the middle of a transaction: its locks are
in the way of those who take it for dead (`service.workers.membership.TTL_S`), and of writers that have to be alone."""
IDLE_IN_MIGRATION_MS: Final = 60_000
"""As above, for a migration: between two statements it works out the next, on a busy machine for seconds."""
BESIDE_OTHERS: Final = "LOCK TABLE write_turns IN ROW EXCLUSIVE MODE"
"""The first statement of a writer. It takes no snapshot, so that a writer that waited sees what it waited for."""
ALONE: Final = "LOCK TABLE write_turns IN SHARE ROW EXCLUSIVE MODE"
"""That of one whose transaction was in another's way."""
COMMAND_TIMEOUT_S: Final = 40
"""A server that says nothing at all for so long is given up; its own statement timeout is shorter."""
MIGRATION_LOCK: Final = 0x63616D62697374
"""Advisory lock key: the bytes of `cambist`."""

_CONFLICTS: Final = frozenset({"40001", "40P01"})
_CANCELED: Final = "57014"
"""The statement timeout: a lock that others hold."""
_GONE: Final = ("08", "57P", "25P03")
"""No connection, a server that is ending, a session that it ended for idling in a transaction."""


class PostgresBackend:
    """A PostgreSQL database behind `Database`. Open it with `open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine: Final = engine
        self.changes: Final = Changes()
        self._closed = False

    @classmethod
    async def open(cls, url: URL) -> "PostgresBackend":
        """Connect. Raises: DatabaseError: it cannot be reached."""
        engine = create_async_engine(
            url.set(drivername="postgresql+asyncpg"),
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": COMMAND_TIMEOUT_S,
                "server_settings": {
                    "application_name": "cambist",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
                },
            },
        )
        forbid_inner_commits(engine.sync_engine)
        note_statements(engine.sync_engine)
        try:
            async with engine.connect():
                pass
        except (OSError, DBAPIError, asyncpg.PostgresError) as error:
            await engine.dispose()
            # `from None`: the driver's message may quote the address.
            raise DatabaseError(f"PostgreSQL cannot be reached ({type(error).__name__})") from None
        return cls(engine)

    async def run(self, work: Callable[[Connection], T]) -> T:
        try:
            return await self._once(work, isolation="SERIALIZABLE", turn=BESIDE_OTHERS)
        except WriteConflict:
            for _ in range(MAX_TRIES - 2):
                with contextlib.suppress(WriteConflict):
                    return await self._once(work, isolation="SERIALIZABLE", turn=ALONE)
            return await self._once(work, isolation="SERIALIZABLE", turn=ALONE)

    async def run_aside(self, work: Callable[[Connection], T]) -> T:
        return await self._once(work, isolation="READ COMMITTED", turn=None)

    async def read(self, work: Callable[[Connection], T]) -> T:
        self._check_open()
        async with self._connected() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin() as transaction:
                result = await connection.run_sync(lambda c: guarded(work, c))
                await transaction.rollback()
                return result

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        def alone(connection: Connection) -> None:
            connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {IDLE_IN_MIGRATION_MS}"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            upgrade(connection)

        # READ COMMITTED: what a migration sees after the wait must be what the one before it committed.
        await self._once(alone, isolation="READ COMMITTED", turn=None)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._engine.dispose()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed("the database was closed")

    async def _once(self, work: Callable[[Connection], T], *, isolation: str, turn: str | None) -> T:
        self._check_open()
        committed: list[T] = []
        try:
            async with self._connected() as connection:
                committed.append(
                    await _transaction(connection, work, isolation=isolation, turn=turn, changes=self.changes)
                )
        except DatabaseUnavailable:
            # Lost after the commit, on its way back to the pool: it holds.
            if not committed:
                raise
        return committed[0]

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; what the driver raises about it comes out as ours.

        Raises: WriteConflict, DatabaseUnavailable: nothing was written.
        """
        try:
            async with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            state = _sqlstate(error)
            if state in _CONFLICTS:
                raise WriteConflict("another transaction changed the same rows; nothing was written") from error
            if state == _CANCELED:
                raise WriteConflict("others were in the way for too long; nothing was written") from error
            if error.connection_invalidated or (state is not None and state.startswith(_GONE)):
                raise DatabaseUnavailable("the connection to PostgreSQL was lost; nothing was written") from error
            raise
        except (OSError, TimeoutError, PoolTimeout, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            # `from None` would hide a bug; the address is in none of these.
            raise DatabaseUnavailable(f"PostgreSQL cannot be reached ({type(error).__name__})") from error


async def _transaction(
    connection: AsyncConnection, work: Callable[[Connection], T], *, isolation: str, turn: str | None, changes: Changes
) -> T:
    await connection.execution_options(isolation_level=isolation)
    # Left open on purpose when `work` raises: closing the connection rolls back.
    await connection.begin()
    if turn is not None:
        await connection.execute(text(turn))
    result = await connection.run_sync(lambda c: guarded(work, c))
    # Shielded: a caller that goes away must not turn a commit on its way into an unknown one.
    await asyncio.shield(_commit(connection, changes))
    return result


async def _commit(connection: AsyncConnection, changes: Changes) -> None:
    touched = connection.sync_connection is not None and take_touched(connection.sync_connection)
    reach("K20")
    changes.begin()
    try:
        await connection.commit()
    except DBAPIError as error:
        state = _sqlstate(error)
        if state in _CONFLICTS:
            raise WriteConflict("another transaction changed the same rows; nothing was written") from error
        # Class 08 is a lost connection, 57 a server that is ending: no answer to COMMIT. Any other is one, and says no.
        if state is not None and not state.startswith(("08", "57")):
            raise CommitFailed("the database refused the commit; nothing was written") from error
        raise CommitUnknown("the connection was lost during the commit; its outcome is unknown") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommitUnknown("the server did not answer the commit; its outcome is unknown") from error
    finally:
        changes.end(touched_authority=touched)
    reach("K21")


def _sqlstate(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
