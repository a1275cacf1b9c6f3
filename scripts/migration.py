"""Write an Alembic revision from the difference between the tables in `service/db/models/` and the last revision.

    python -m scripts.migration "why the schema changes"     a new revision
    python -m scripts.migration --first                      the first revision anew, while nothing was released

Read what it wrote before committing: Alembic does not see changed CHECK constraints (the schema test does), and
data migrations are written by hand.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Literal

from alembic.autogenerate import RevisionContext
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.db.engine import Database
from service.db.migrations.upgrade import alembic_config
from service.db.models import metadata

_VERSIONS: Final = Path(__file__).parent.parent / "service" / "db" / "migrations" / "versions"
_FIRST: Final = "0001"


def render_own_types(kind: str, thing: object, context: AutogenContext) -> str | Literal[False]:
    """Our column types by name, with the import they need."""
    if kind == "type" and type(thing).__module__ == "service.db.types":
        context.imports.add(f"from service.db.types import {type(thing).__name__}")
        return f"{type(thing).__name__}()"
    return False


def write_revision(connection: Connection, *, revision: str, message: str) -> None:
    config = alembic_config(connection)
    scripts = ScriptDirectory.from_config(config)
    revision_context = RevisionContext(
        config,
        scripts,
        {
            "message": message,
            "autogenerate": True,
            "sql": False,
            "head": "head",
            "splice": False,
            "branch_label": None,
            "version_path": None,
            "rev_id": revision,
            "depends_on": None,
        },
    )

    def retrieve(current: Any, migration_context: Any) -> list[Any]:
        revision_context.run_autogenerate(current, migration_context)
        return []

    with EnvironmentContext(config, scripts, fn=retrieve, template_args=revision_context.template_args) as environment:
        environment.configure(
            connection=connection,
            target_metadata=metadata,
            transactional_ddl=True,
            render_item=render_own_types,
            user_module_prefix="",
        )
        environment.run_migrations()
    list(revision_context.generate_scripts())


async def generate(message: str, *, first: Literal["first", "next"]) -> None:
    if first == "first":
        for old in _VERSIONS.glob(f"{_FIRST}_*.py"):
            old.unlink()
    known = len(list(_VERSIONS.glob("[0-9]*.py")))
    with tempfile.TemporaryDirectory() as directory:
        database = await Database.open(f"sqlite:///{directory}/empty.sqlite")
        try:
            if known:
                await database.migrate()
            await database.run(lambda c: write_revision(c, revision=f"{known + 1:04d}", message=message))
        finally:
            await database.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="write a schema revision from service/db/models/")
    parser.add_argument("message", nargs="?", default="first tables")
    parser.add_argument("--first", action="store_true", help="write the first revision anew")
    options = parser.parse_args()
    asyncio.run(generate(options.message, first="first" if options.first else "next"))
    for path in _VERSIONS.glob("[0-9]*.py"):
        # Alembic's "auto generated" banners.
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "# ###" not in line))
    ruff = Path(sys.executable).with_name("ruff")
    subprocess.run([ruff, "format", "--quiet", _VERSIONS], check=True)
    subprocess.run([ruff, "check", "--fix", "--quiet", _VERSIONS], check=True)
    print("\n".join(str(path.relative_to(Path.cwd())) for path in sorted(_VERSIONS.glob("[0-9]*.py"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
