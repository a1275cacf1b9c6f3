"""PostgreSQL over asyncpg: each unit of work is one SERIALIZABLE transaction, each read one snapshot.

Why SERIALIZABLE: on SQLite all writes are serial, and code written there ("read the held amounts, then reserve")
must mean the same here. A conflict costs a repetition, a missed lock would cost money.

Guarantees: as `service.db.engine` says; conflicts (SQLSTATE 40001, 40P01) are repeated a few times, then come out as
`WriteConflict`. Any number of processes may have it open; who works on what is settled by leases (`service.db.leases`).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final, TypeVar

import asyncpg
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.db.errors import CommitFailed, CommitUnknown, DatabaseClosed, DatabaseError, WriteConflict
from service.db.guard import forbid_inner_commits, guarded

T = TypeVar("T")

POOL_SIZE: Final = 10
MAX_TRIES: Final = 8
"""Tries of one unit of work before its conflict is the caller's."""
RETRY_BASE_S: Final = 0.002
"""First pause after a conflict, doubled each time with jitter: 8 tries take at most some 0.25 s."""
CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_MS: Final = 30_000
"""A statement that takes longer is broken off by the server."""
MIGRATION_LOCK: Final = 0x63616D62697374
"""Advisory lock key: the bytes of `cambist`."""

_CONFLICTS: Final = frozenset({"40001", "40P01"})


class PostgresBackend:
    """A PostgreSQL database behind `Database`. Open it with `open`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine: Final = engine
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
                "server_settings": {"application_name": "cambist", "statement_timeout": str(STATEMENT_TIMEOUT_MS)},
            },
        )
        forbid_inner_commits(engine.sync_engine)
        try:
            async with engine.connect():
                pass
        except (OSError, DBAPIError, asyncpg.PostgresError) as error:
            await engine.dispose()
            # `from None`: the driver's message may quote the address.
            raise DatabaseError(f"PostgreSQL cannot be reached ({type(error).__name__})") from None
        return cls(engine)

    async def run(self, work: Callable[[Connection], T]) -> T:
        pause_s = RETRY_BASE_S
        for _ in range(MAX_TRIES - 1):
            try:
                return await self._once(work, isolation="SERIALIZABLE")
            except WriteConflict:
                await asyncio.sleep(pause_s * (1 + random.random()))
                pause_s *= 2
        return await self._once(work, isolation="SERIALIZABLE")

    async def read(self, work: Callable[[Connection], T]) -> T:
        self._check_open()
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin() as transaction:
                result = await connection.run_sync(lambda c: guarded(work, c))
                await transaction.rollback()
                return result

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        def alone(connection: Connection) -> None:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            upgrade(connection)

        # READ COMMITTED: what a migration sees after the wait must be what the one before it committed.
        await self._once(alone, isolation="READ COMMITTED")

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._engine.dispose()

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed("the database was closed")

    async def _once(self, work: Callable[[Connection], T], *, isolation: str) -> T:
        self._check_open()
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level=isolation)
            try:
                # Left open on purpose when `work` raises: closing the connection rolls back.
                await connection.begin()
                result = await connection.run_sync(lambda c: guarded(work, c))
            except DBAPIError as error:
                if _sqlstate(error) in _CONFLICTS:
                    raise WriteConflict("another transaction changed the same rows; nothing was written") from error
                if error.connection_invalidated:
                    raise CommitFailed("the connection was lost before the commit; nothing was written") from error
                raise
            # Shielded: a caller that goes away must not turn a commit on its way into an unknown one.
            await asyncio.shield(_commit(connection))
            return result


async def _commit(connection: AsyncConnection) -> None:
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


def _sqlstate(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
