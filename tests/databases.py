"""A migrated SQLite file to copy, made once a process: migrating takes longer than most tests."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from service.db.engine import Database


async def place_migrated(path: Path) -> None:
    """An empty database of the newest schema at `path`, whose directory is made where it is missing."""
    template = Path(_directory().name) / "cambist.sqlite"
    if not template.exists():
        database = await Database.open(f"sqlite:///{template}")
        try:
            await database.migrate()
        finally:
            await database.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template, path)


@cache
def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="cambist-template-")
