"""The migrated schema is the one that the code's tables describe; unknown schemas are refused."""

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from service.db.engine import Database
from service.db.errors import SchemaOutdated, SchemaUnknown
from service.db.models import metadata

_SQLITE_SCHEMA = (
    "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE '%version%'"
)
_POSTGRES_COLUMNS = """
    SELECT table_name, column_name, data_type, is_nullable, column_default, character_maximum_length,
           numeric_precision, numeric_scale
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"""
_POSTGRES_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'"""
_POSTGRES_INDEXES = """
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version'"""


def sqlite_schema(c: Connection) -> set[tuple[str, ...]]:
    """Every table's and index's statement; the order of a table's columns and constraints does not matter."""
    found: set[tuple[str, ...]] = set()
    for kind, name, sql in c.execute(text(_SQLITE_SCHEMA)):
        # At every comma: SQLite writes a column that was added behind the last one, on its line.
        lines = sorted(part.strip() for line in sql.splitlines() for part in line.split(","))
        found.add((kind, name, "\n".join(line for line in lines if line)))
    return found


def postgres_schema(c: Connection) -> set[tuple[object, ...]]:
    queries = (_POSTGRES_COLUMNS, _POSTGRES_CONSTRAINTS, _POSTGRES_INDEXES)
    return {tuple(row) for query in queries for row in c.execute(text(query))}


async def test_on_sqlite_the_migrations_give_the_schema_of_the_models(tmp_path: Path) -> None:
    migrated = await Database.open(f"sqlite:///{tmp_path}/migrated.sqlite")
    created = await Database.open(f"sqlite:///{tmp_path}/created.sqlite")
    try:
        await migrated.migrate()
        await created.run_aside(metadata.create_all)
        ours, theirs = await migrated.read(sqlite_schema), await created.read(sqlite_schema)
    finally:
        await migrated.close()
        await created.close()
    assert ours == theirs, "run `python -m scripts.migration`"
    assert len([row for row in ours if row[0] == "table"]) == len(metadata.tables)


@pytest.mark.postgres
async def test_on_postgresql_the_migrations_give_the_schema_of_the_models(
    postgres_url: str, empty_postgres_url: str
) -> None:
    migrated = await Database.open(postgres_url)
    created = await Database.open(empty_postgres_url)
    try:
        await created.run_aside(metadata.create_all)
        ours, theirs = await migrated.read(postgres_schema), await created.read(postgres_schema)
    finally:
        await migrated.close()
        await created.close()
    assert ours == theirs, "run `python -m scripts.migration`"
    assert len(ours) > len(metadata.tables)


async def test_migrating_again_changes_nothing(db: Database) -> None:
    await db.migrate()
    await db.check_schema()


async def test_a_newer_schema_is_refused_before_anything_is_touched(db: Database) -> None:
    await db.run(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")).rowcount)
    with pytest.raises(SchemaUnknown, match=r"9999.*newer"):
        await db.migrate()
    with pytest.raises(SchemaUnknown):
        await db.check_schema()


async def test_an_empty_database_is_outdated_until_migrated(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/empty.sqlite")
    try:
        with pytest.raises(SchemaOutdated):
            await database.check_schema()
        await database.migrate()
        await database.check_schema()
    finally:
        await database.close()


async def test_an_interrupted_migration_leaves_nothing(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/cut.sqlite")

    def half(c: Connection) -> None:
        from service.db.migrations.upgrade import upgrade_to_head

        upgrade_to_head(c)
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            await database.run(half)
        assert await database.read(sqlite_schema) == set()
    finally:
        await database.close()


async def test_tables_without_a_revision_are_not_ours(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/strange.sqlite")
    try:
        await database.run_aside(metadata.create_all)
        with pytest.raises(SchemaUnknown, match="not made by"):
            await database.migrate()
    finally:
        await database.close()
