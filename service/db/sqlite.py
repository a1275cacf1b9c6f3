"""SQLite with one writer thread and grouped commits, and a few reader threads.

    run(fn) -> waiting jobs -> writer: BEGIN IMMEDIATE; (SAVEPOINT fn RELEASE)*; COMMIT; then all answers
    read(fn) -> reader threads, each BEGIN; fn; ROLLBACK with query_only on

Why one thread: SQLite has one writer at a time, and with `synchronous=FULL` a commit costs an fsync. A commit a
statement through an async driver reaches some 150-490 a second; groups from one thread reach thousands
(measured, see the project's performance notes).

Guarantees: an answer is given after the COMMIT that contains it; a function that raises loses its own savepoint
only; the file is readable by its owner alone; a lock file beside it keeps a second process out (`flock`, so a
process that dies leaves no stale lock).
Not guaranteed: fairness between callers beyond first in, first out.
"""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from chains.crashpoints import reach
from service.db.changes import Changes, note_statements, take_touched
from service.db.errors import CommitFailed, CommitUnknown, DatabaseClosed, DatabaseError, DatabaseInUse
from service.db.guard import forbid_inner_commits, guarded
from service.db.strict import make_strict

T = TypeVar("T")

MAX_GROUP: Final = 128
"""Functions in one commit: a group at about a millisecond each keeps the first answer under some 0.1 s."""
MAX_WAITING: Final = 2_048
"""Functions waiting for the writer; further callers wait before they are queued, so memory stays bounded."""
READERS: Final = 4
"""Reader threads; they hold the GIL while mapping rows, so more would not read faster."""
BUSY_TIMEOUT_MS: Final = 10_000
"""How long to wait for another program's lock on the file (a backup, the sqlite3 shell)."""

_BEFORE_COMMIT: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    work: Callable[[Connection], Any]
    future: "Future[Any]"


class _GroupFailed(Exception):
    """The open transaction is gone; `error` says what its functions are told."""

    def __init__(self, error: DatabaseError) -> None:
        super().__init__(str(error))
        self.error = error


class SqliteBackend:
    """A SQLite file behind `Database`. Open it with `open`."""

    def __init__(self, path: Path, *, lock_file: int) -> None:
        url = URL.create("sqlite+pysqlite", database=str(path))
        self.changes: Final = Changes()
        self._lock_file: int | None = lock_file
        self._write_engine: Final = _engine(url, begin="BEGIN IMMEDIATE", read_only="OFF", pool_size=1)
        self._read_engine: Final = _engine(url, begin="BEGIN", read_only="ON", pool_size=READERS)
        self._readers: Final = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._wakeup: Final = threading.Condition()
        self._waiting: Final[deque[_Job]] = deque()
        self._room: Final = asyncio.Semaphore(MAX_WAITING)
        self._closing = False
        self._writer: Final = threading.Thread(target=self._write_loop, name="db-write", daemon=True)

    @classmethod
    async def open(cls, path: Path) -> "SqliteBackend":
        """Create the file if needed (0600), lock it and start the threads. Raises: DatabaseInUse."""
        backend = cls(path, lock_file=await asyncio.to_thread(_take_lock, path))
        backend._writer.start()
        try:
            await backend.run(_check_pragmas)
        except BaseException:
            await backend.close()
            raise
        return backend

    async def run(self, work: Callable[[Connection], T]) -> T:
        async with self._room:
            future: Future[T] = Future()
            with self._wakeup:
                if self._closing:
                    raise DatabaseClosed("the database was closed")
                self._waiting.append(_Job(work=work, future=future))
                self._wakeup.notify()
            return await asyncio.wrap_future(future)

    async def run_aside(self, work: Callable[[Connection], T]) -> T:
        return await self.run(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._closing:
            raise DatabaseClosed("the database was closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        await self.run(upgrade)

    async def close(self) -> None:
        with self._wakeup:
            self._closing = True
            self._wakeup.notify()
        await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._writer.join()
        self._readers.shutdown()
        self._read_engine.dispose()
        self._write_engine.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)  # closing the descriptor releases the lock
            self._lock_file = None

    def _read(self, work: Callable[[Connection], T]) -> T:
        with self._read_engine.connect() as connection, connection.begin() as transaction:
            result = guarded(work, connection)
            transaction.rollback()
            return result

    # -- the writer thread ---------------------------------------------------------------------------

    def _write_loop(self) -> None:
        while group := self._next_group():
            # A failed group leaves the functions it had not come to; they get a transaction of their own.
            while group:
                group = self._write_or_give_up(group)

    def _write_or_give_up(self, group: Sequence[_Job]) -> Sequence[_Job]:
        """As `_write`. On an error that nobody foresaw, everybody is told and nothing is written any more: a writer
        that died in silence would leave its callers waiting for ever."""
        try:
            return self._write(group)
        except BaseException as error:  # noqa: BLE001 - it is told to every caller
            with self._wakeup:
                self._closing = True
                orphans = [*group, *self._waiting]
                self._waiting.clear()
            told = CommitUnknown(f"the writer failed ({type(error).__name__}); the outcome is unknown")
            told.__cause__ = error
            for job in orphans:
                if not job.future.done():
                    job.future.set_exception(told)
            return ()

    def _next_group(self) -> Sequence[_Job]:
        """The next waiting functions; empty once the database is closing and nothing waits."""
        with self._wakeup:
            self._wakeup.wait_for(lambda: self._waiting or self._closing)
            return [self._waiting.popleft() for _ in range(min(MAX_GROUP, len(self._waiting)))]

    def _write(self, group: Sequence[_Job]) -> Sequence[_Job]:
        """Run a group in one transaction and answer it. What is returned was not begun."""
        done: list[tuple[_Job, Any]] = []
        left = deque(group)
        try:
            with self._write_engine.connect() as connection, _dropped_on_failure(connection):
                _guard_group(connection.begin)
                while left:
                    job = left.popleft()
                    if job.future.set_running_or_notify_cancel():
                        _run_in_savepoint(connection, job, done)
                touched = take_touched(connection)
                reach("K20")
                self.changes.begin()
                try:
                    _commit(connection)
                finally:
                    self.changes.end(touched_authority=touched)
        except _GroupFailed as failed:
            for job, _ in done:
                job.future.set_exception(failed.error)
            if len(left) == len(group):  # BEGIN itself failed, and nothing will go better for the others
                for job in left:
                    if job.future.set_running_or_notify_cancel():
                        job.future.set_exception(failed.error)
                return ()
            return tuple(left)
        reach("K21")
        for job, result in done:
            job.future.set_result(result)
        return ()


def _run_in_savepoint(connection: Connection, job: _Job, done: list[tuple[_Job, Any]]) -> None:
    """Run one function; its result goes to `done`, or it is answered with what it raised, its effects undone.

    Raises: _GroupFailed: the whole transaction is gone.
    """
    savepoint = _guard_group(connection.begin_nested)
    try:
        result = guarded(job.work, connection)
    except BaseException as error:
        job.future.set_exception(
            RuntimeError("a unit of work raised StopIteration") if isinstance(error, StopIteration) else error
        )
        if not (_in_transaction(connection) and savepoint.is_active):
            # SQLite itself rolled back (disk full, I/O error, out of memory), or the function tried to commit: the
            # work of those before it is gone too.
            raise _GroupFailed(CommitFailed(f"nothing was written: {_cause(error)}")) from error
        _guard_group(savepoint.rollback)
        return
    done.append((job, result))
    _guard_group(savepoint.commit)


@contextmanager
def _dropped_on_failure(connection: Connection) -> Iterator[None]:
    """Close the driver's connection when its transaction failed: SQLAlchemy may be wrong about its state then."""
    try:
        yield
    except _GroupFailed:
        connection.invalidate()
        raise


def _guard_group(step: Callable[[], T]) -> T:
    """A step before COMMIT: its failure means that nothing was committed."""
    try:
        return step()
    except SQLAlchemyError as error:
        raise _GroupFailed(CommitFailed(f"nothing was written: {_cause(error)}")) from error


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except SQLAlchemyError as error:
        code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
        # These come before the commit frame is written. After any other (a failed fsync), recovery may find the frame
        # or may not.
        if code is not None and code & 0xFF in _BEFORE_COMMIT:
            raise _GroupFailed(CommitFailed(f"nothing was written: {_cause(error)}")) from error
        raise _GroupFailed(CommitUnknown(f"the commit's outcome is unknown: {_cause(error)}")) from error


def _in_transaction(connection: Connection) -> bool:
    return bool(connection.connection.dbapi_connection.in_transaction)  # type: ignore[union-attr]


def _cause(error: BaseException) -> str:
    """The driver's words, without the statement and its parameters."""
    return str(error.orig) if isinstance(error, DBAPIError) else type(error).__name__


def _engine(url: URL, *, begin: str, read_only: str, pool_size: int) -> Engine:
    # A connection moves between reader threads, one at a time: hence check_same_thread off.
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=pool_size, max_overflow=0, connect_args={"check_same_thread": False}
    )

    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # None switches off pysqlite's own BEGINs (it starts transactions late and commits before DDL).
        connection.isolation_level = None
        # Text that is none, which only another program writes, must not spoil the answer: one column does it for all
        # rows. What is read in its place has no MAC.
        connection.text_factory = _text
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"query_only={read_only}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    make_strict(engine)
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", start)
    forbid_inner_commits(engine)
    note_statements(engine)
    return engine


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")


def _check_pragmas(connection: Connection) -> None:
    """A file system without shared memory silently keeps the old journal mode: refuse it here."""
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    if mode != "wal":
        raise DatabaseError(f"SQLite could not switch to WAL (it is {mode}); put the data directory on a local disk")


def _take_lock(path: Path) -> int:
    """Create and lock `<path>.lock`, and create the database file for its owner alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock_file, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock_file)
        raise DatabaseInUse(
            f"process {holder} has {path} open: talk to that server, or stop it first; two would sign over each other"
        ) from None
    os.ftruncate(lock_file, 0)
    os.write(lock_file, str(os.getpid()).encode())
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return lock_file
