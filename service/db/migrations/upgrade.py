"""Brings a database to the schema of this version, inside a transaction that the caller commits.

Guarantees: all revisions or none (DDL is transactional on both databases); a revision that this version does not
know is refused before anything is touched. Not guaranteed: a way back; restore the backup instead.
"""

import threading
from functools import cache
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from chains.crashpoints import reach
from service.db.errors import SchemaOutdated, SchemaUnknown

_SCRIPTS: Final = Path(__file__).parent
# Alembic keeps the running environment in module globals.
_one_at_a_time: Final = threading.Lock()


def alembic_config(connection: Connection | None) -> Config:
    """Alembic's configuration without a file."""
    config = Config()
    # Alembic reads the option with configparser, to which a % in the path would be an interpolation.
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade_to_head(connection: Connection) -> None:
    """Apply what is missing. Raises: SchemaUnknown."""
    if _revision(connection) == _head():
        return
    with _one_at_a_time:
        command.upgrade(alembic_config(connection), "head")
        reach("K15")


def check_revision(connection: Connection) -> None:
    """Raises: SchemaUnknown, SchemaOutdated."""
    if _revision(connection) != _head():
        raise SchemaOutdated("the database's schema is older than this version: run `cambist init` to migrate it")


@cache
def _scripts() -> ScriptDirectory:
    """The revisions of this version; read once, since each is a module."""
    return ScriptDirectory(str(_SCRIPTS))


def _head() -> str:
    head = _scripts().get_current_head()
    assert head is not None  # the package holds at least the first revision
    return head


def _revision(connection: Connection) -> str | None:
    """The database's revision, None when it is empty. Raises: SchemaUnknown."""
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaUnknown(
            f"the database has schema revision {revision}, which this version does not know: it was made by a newer"
            " Cambist; install that version, or restore the backup from before its upgrade"
        )
    if revision is None and inspect(connection).has_table("api_keys"):
        raise SchemaUnknown("the database has tables but no schema revision: it was not made by Cambist's migrations")
    return revision
