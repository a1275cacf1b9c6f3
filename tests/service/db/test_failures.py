"""What callers are told when the database itself fails: the outcome, or that it is not known."""

import asyncio
import threading
import time

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import OperationalError

from service.db import postgres
from service.db.engine import Database
from service.db.errors import CommitFailed, CommitUnknown, DatabaseClosed, DatabaseError
from service.db.models import users
from service.db.sqlite import MAX_GROUP, SqliteBackend
from tests.service.db.test_engine import add_user, names

ORPHAN = text("INSERT INTO request_nonces (key_id, nonce, timestamp_ms) VALUES ('nobody', 'n', 1)")


def set_page_limit(c: Connection, pages: int) -> None:
    c.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


async def test_on_a_full_disk_answers_are_true_and_later_work_goes_on(sqlite_db: Database) -> None:
    pages: int = await sqlite_db.run(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await sqlite_db.run(lambda c: set_page_limit(c, pages))

    def fill(c: Connection, number: int) -> None:
        many = [{"name": f"{number}-{n}-" + "x" * 50, "created_ms": 1} for n in range(200)]
        c.execute(insert(users), many)

    async def attempt(number: int) -> str:
        try:
            await sqlite_db.run(lambda c: fill(c, number))
        except (OperationalError, CommitFailed):
            return "refused"
        return "done"

    answers = await asyncio.gather(*(attempt(number) for number in range(6)))
    assert "refused" in answers
    assert len(await sqlite_db.read(names)) == 200 * answers.count("done")
    await sqlite_db.run(lambda c: set_page_limit(c, pages + 1_000))
    await sqlite_db.run(lambda c: add_user(c, "ada"))
    assert "ada" in await sqlite_db.read(names)


async def test_a_commit_that_sqlite_refuses_is_a_known_failure(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        c.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        c.execute(ORPHAN)

    with pytest.raises(CommitFailed):
        await sqlite_db.run(work)
    await sqlite_db.run(lambda c: add_user(c, "ada"))
    assert await sqlite_db.read(names) == {"ada"}


async def test_a_writer_that_dies_tells_everybody(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await Database.open(sqlite_url)

    def die(_self: SqliteBackend, _group: object) -> object:
        raise MemoryError

    monkeypatch.setattr(SqliteBackend, "_write", die)
    waiting = [database.run(lambda c: add_user(c, "ada")) for _ in range(MAX_GROUP + 5)]
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(answer) for answer in answers} <= {CommitUnknown, DatabaseClosed}
    with pytest.raises(DatabaseClosed):
        await database.run(names)
    await database.close()


async def test_a_cancelled_call_that_had_not_begun_does_nothing(sqlite_db: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(_c: Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    first = asyncio.create_task(sqlite_db.run(wait))
    await asyncio.to_thread(begun.wait, 10)
    second = asyncio.create_task(sqlite_db.run(lambda c: add_user(c, "ada")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go_on.set()
    await first
    await sqlite_db.run(lambda c: add_user(c, "bob"))
    assert await sqlite_db.read(names) == {"bob"}


@pytest.fixture
async def postgres_db(postgres_url: str) -> Database:
    return await Database.open(postgres_url)


async def at_commit(database: Database, statement: str) -> None:
    """Make the server do something in the moment of COMMIT, whenever a user is added."""

    def install(c: Connection) -> None:
        c.execute(text(f"CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement} END $$"))
        c.execute(
            text(
                "CREATE CONSTRAINT TRIGGER boom AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION boom()"
            )
        )

    await database.run(install)


@pytest.mark.postgres
async def test_a_commit_that_postgresql_refuses_is_a_known_failure(postgres_db: Database) -> None:
    try:
        await at_commit(postgres_db, "RAISE EXCEPTION 'no'; ")
        with pytest.raises(CommitFailed):
            await postgres_db.run(lambda c: add_user(c, "ada"))
        assert await postgres_db.read(names) == set()
    finally:
        await postgres_db.close()


@pytest.mark.postgres
async def test_a_connection_lost_at_commit_is_an_unknown_outcome(postgres_db: Database) -> None:
    try:
        await at_commit(postgres_db, "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; ")
        with pytest.raises(CommitUnknown):
            await postgres_db.run(lambda c: add_user(c, "ada"))
        assert await postgres_db.read(names) == set()
    finally:
        await postgres_db.close()


@pytest.mark.postgres
async def test_a_connection_lost_before_commit_is_a_known_failure(postgres_db: Database) -> None:
    def work(c: Connection) -> None:
        add_user(c, "ada")
        c.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    try:
        with pytest.raises(CommitFailed):
            await postgres_db.run(work)
        assert await postgres_db.read(names) == set()
    finally:
        await postgres_db.close()


@pytest.mark.postgres
@pytest.mark.parametrize("where", ["between statements", "before the commit"])
async def test_a_process_that_stops_in_a_transaction_loses_it_and_knows_when_it_returns(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(postgres, "IDLE_IN_TRANSACTION_MS", 200)
    stopped, other = await Database.open(postgres_url), await Database.open(postgres_url)

    def work(c: Connection) -> None:
        add_user(c, "ada")
        time.sleep(0.8)  # as SIGSTOP does: the loop and its sockets stand still
        if where == "between statements":
            add_user(c, "bob")

    try:
        with pytest.raises(DatabaseError):
            await stopped.run(work)
        assert await other.read(names) == set()
        await stopped.run(lambda c: add_user(c, "eve"))
        assert await other.read(names) == {"eve"}
    finally:
        await stopped.close()
        await other.close()
