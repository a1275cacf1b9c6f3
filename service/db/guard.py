"""Stops a unit of work from ending its own transaction, which would commit the others of its group halfway."""

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, event

T = TypeVar("T")

_WORKING: Final = "cambist_working"


def forbid_inner_commits(engine: Engine) -> None:
    """Make `c.commit()` and a root `c.rollback()` raise while `guarded` runs on the connection."""
    event.listen(engine, "commit", _refuse)
    event.listen(engine, "rollback", _refuse)


def guarded(work: Callable[[Connection], T], connection: Connection) -> T:
    """Call `work` with commits forbidden."""
    connection.info[_WORKING] = True
    try:
        return work(connection)
    finally:
        # The pool drops `info` with a connection that was lost meanwhile; then there is nothing to clear.
        if not connection.invalidated:
            connection.info.pop(_WORKING, None)


def _refuse(connection: Connection) -> None:
    if not connection.invalidated and connection.info.get(_WORKING):
        raise RuntimeError("a unit of work does not commit or roll back: return to commit, raise to roll back")
