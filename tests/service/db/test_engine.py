"""Units of work on both databases."""

import asyncio
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.db.engine import Database
from service.db.errors import DatabaseClosed, DatabaseInUse, DatabaseUrlInvalid, WriteConflict
from service.db.models import accounts, users


class Refused(Exception):
    pass


def add_user(c: Connection, name: str) -> int:
    new_id: int = c.execute(insert(users).values(name=name, created_ms=1).returning(users.c.id)).scalar_one()
    return new_id


def names(c: Connection) -> set[str]:
    return set(c.scalars(select(users.c.name)))


async def test_what_a_unit_of_work_did_is_there_after_it_returned(db: Database) -> None:
    user_id = await db.run(lambda c: add_user(c, "ada"))
    assert await db.read(lambda c: c.scalar(select(users.c.name).where(users.c.id == user_id))) == "ada"


async def test_a_raise_leaves_nothing_behind_and_comes_out_as_itself(db: Database) -> None:
    def work(c: Connection) -> None:
        add_user(c, "ada")
        raise Refused

    with pytest.raises(Refused):
        await db.run(work)
    assert await db.read(names) == set()


async def test_a_constraint_error_comes_out_and_the_next_unit_of_work_goes_on(db: Database) -> None:
    await db.run(lambda c: add_user(c, "ada"))
    with pytest.raises(IntegrityError):
        await db.run(lambda c: add_user(c, "ada"))
    await db.run(lambda c: add_user(c, "bob"))
    assert await db.read(names) == {"ada", "bob"}


async def test_of_many_at_once_only_those_that_raise_are_undone(db: Database) -> None:
    def work(c: Connection, number: int) -> int:
        add_user(c, f"user-{number}")
        if number % 3 == 0:
            raise Refused
        return number

    results = await asyncio.gather(
        *(db.run(lambda c, n=n: work(c, n)) for n in range(200)),  # type: ignore[misc]
        return_exceptions=True,
    )
    for number, result in enumerate(results):
        assert isinstance(result, Refused) if number % 3 == 0 else result == number
    assert await db.read(names) == {f"user-{n}" for n in range(200) if n % 3}


async def test_counting_up_from_many_tasks_loses_no_step(db: Database) -> None:
    account_id = await db.run(
        lambda c: c.execute(insert(accounts).values(name="a", created_ms=1).returning(accounts.c.id)).scalar_one()
    )

    def step(c: Connection) -> None:
        seq = c.execute(select(accounts.c.event_seq).where(accounts.c.id == account_id).with_for_update()).scalar_one()
        c.execute(accounts.update().where(accounts.c.id == account_id).values(event_seq=seq + 1))

    async def until_done() -> None:
        while True:
            try:
                return await db.run(step)
            except WriteConflict:
                continue

    await asyncio.gather(*(until_done() for _ in range(20)))
    assert await db.read(lambda c: c.scalar(select(accounts.c.event_seq))) == 20


async def test_what_was_decided_on_a_read_is_not_overtaken_by_another_writer(db: Database) -> None:
    def spend(c: Connection) -> bool:
        """No lock and no guard: the check and the write must be one."""
        spent = c.execute(select(func.count()).select_from(users)).scalar_one()
        if spent >= 5:
            return False
        add_user(c, f"payment-{uuid.uuid4()}")
        return True

    async def until_done() -> bool:
        while True:
            try:
                return await db.run(spend)
            except WriteConflict:
                continue

    assert sum(await asyncio.gather(*(until_done() for _ in range(15)))) == 5
    assert len(await db.read(names)) == 5


async def test_a_read_cannot_write(db: Database) -> None:
    with pytest.raises(DBAPIError):
        await db.read(lambda c: add_user(c, "ada"))
    assert await db.read(names) == set()


async def test_a_read_keeps_its_snapshot_while_others_commit(db: Database) -> None:
    first_read, written = threading.Event(), threading.Event()

    def slow_read(c: Connection) -> tuple[int, int]:
        before = c.execute(select(func.count()).select_from(users)).scalar_one()
        first_read.set()
        if db.dialect == "sqlite":
            assert written.wait(10)
        return before, c.execute(select(func.count()).select_from(users)).scalar_one()

    reading = asyncio.create_task(db.read(slow_read))
    if db.dialect == "sqlite":
        # On PostgreSQL the function runs on the event loop and nothing can come in between.
        await asyncio.to_thread(first_read.wait, 10)
        await db.run(lambda c: add_user(c, "ada"))
        written.set()
    assert await reading == (0, 0)


async def test_a_unit_of_work_may_not_commit_by_itself(db: Database) -> None:
    def work(c: Connection) -> None:
        add_user(c, "ada")
        c.commit()

    with pytest.raises(RuntimeError, match="does not commit"):
        await db.run(work)
    assert await db.read(names) == set()
    await db.run(lambda c: add_user(c, "bob"))
    assert await db.read(names) == {"bob"}


async def test_an_inner_savepoint_survives_a_failed_statement(db: Database) -> None:
    def work(c: Connection) -> None:
        add_user(c, "ada")
        with pytest.raises(IntegrityError), c.begin_nested():
            add_user(c, "ada")
        add_user(c, "bob")

    await db.run(work)
    assert await db.read(names) == {"ada", "bob"}


async def test_foreign_keys_hold(db: Database) -> None:
    statement = text("INSERT INTO request_nonces (key_id, nonce, timestamp_ms) VALUES ('nobody', 'n', 1)")
    with pytest.raises(IntegrityError):
        await db.run(lambda c: c.execute(statement).rowcount)


async def test_after_close_nothing_runs(database_url: str) -> None:
    database = await Database.open(database_url)
    await database.close()
    await database.close()
    with pytest.raises(DatabaseClosed):
        await database.run(names)
    with pytest.raises(DatabaseClosed):
        await database.read(names)


async def test_close_finishes_what_waits(database_url: str) -> None:
    database = await Database.open(database_url)
    waiting = [asyncio.create_task(database.run(lambda c, n=n: add_user(c, f"u{n}"))) for n in range(5)]  # type: ignore[misc]
    if database.dialect == "sqlite":
        await asyncio.sleep(0)
        await database.close()
        assert len(await asyncio.gather(*waiting)) == 5
    else:
        await asyncio.gather(*waiting)
        await database.close()


async def test_a_second_opening_of_a_file_is_refused_and_says_why(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    try:
        with pytest.raises(DatabaseInUse, match="stop it first"):
            await Database.open(sqlite_url)
    finally:
        await database.close()
    again = await Database.open(sqlite_url)
    await again.close()


@pytest.mark.postgres
async def test_a_second_opening_of_a_server_sees_what_the_first_wrote(postgres_url: str) -> None:
    first, second = await Database.open(postgres_url), await Database.open(postgres_url)
    try:
        await first.run(lambda c: c.execute(users.insert().values(name="ada", created_ms=1)))
        assert await second.read(lambda c: c.execute(select(users.c.name)).scalar_one()) == "ada"
    finally:
        await first.close()
        await second.close()


async def test_another_process_is_refused_and_told_who_has_it(sqlite_url: str) -> None:
    database = await Database.open(sqlite_url)
    try:
        program = f"import asyncio; from service.db.engine import Database; asyncio.run(Database.open({sqlite_url!r}))"
        other = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=150
        )
        assert other.returncode != 0
        assert f"DatabaseInUse: process {os.getpid()} has" in other.stderr
    finally:
        await database.close()


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/new/cambist.sqlite")
    try:
        await database.migrate()
        modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "new").iterdir()}
    finally:
        await database.close()
    assert set(modes.values()) == {0}, modes
    assert "cambist.sqlite-wal" in modes


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:hunter2@h/d"])
async def test_other_addresses_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid) as refused:
        await Database.open(url)
    assert "hunter2" not in str(refused.value)


async def test_a_work_that_kills_the_transaction_fails_its_group_and_the_next_goes_on(sqlite_db: Database) -> None:
    def destroy(c: Connection) -> None:
        add_user(c, "lost")
        # What SQLite does by itself on a full disk: the transaction is gone, savepoints included.
        c.connection.cursor().execute("ROLLBACK")
        raise Refused

    results = await asyncio.gather(
        sqlite_db.run(lambda c: add_user(c, "ada")), sqlite_db.run(destroy), return_exceptions=True
    )
    kept = await sqlite_db.read(names)
    # Whether both were in one group is the writer's business; an answer that says "done" must be true.
    assert ("ada" in kept) == isinstance(results[0], int)
    assert "lost" not in kept
    assert isinstance(results[1], Exception)
    await sqlite_db.run(lambda c: add_user(c, "bob"))
    assert "bob" in await sqlite_db.read(names)
