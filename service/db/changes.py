"""What this process's own commits tell those who remember what they read, so that no memory outlives its truth.

    unchanged_since(stamp)   nothing was committed here since `stamp`, and no commit is under way: on a database that is
                             exclusively ours, what was read then is what would be read now
    authority                counts commits that touched the rows that keys are judged by

Guarantees: a stamp taken before a read is of no use any more before anyone can see a commit made after that read: the
count moves before COMMIT is begun, and again when it is over, before its caller is answered.
Not guaranteed: anything about commits of other processes. On PostgreSQL nothing read may be remembered by a stamp.
"""

from typing import Any, Final

from sqlalchemy import Connection, Engine, UpdateBase, event

AUTHORITY: Final = frozenset({"api_keys", "wallets"})
"""Tables whose rows say what a key may do."""

_TOUCHED: Final = "cambist_touched_authority"


class Changes:
    """Written by whoever commits (one thread), read by the event loop."""

    def __init__(self) -> None:
        self._moves = 0
        self._under_way = 0
        self.authority = 0

    def stamp(self) -> int | None:
        """To be taken before a read; None while a commit is under way, when nothing read may be remembered."""
        return None if self._under_way else self._moves

    def unchanged_since(self, stamp: int) -> bool:
        return not self._under_way and self._moves == stamp

    def begin(self) -> None:
        """A commit is about to be made."""
        self._under_way += 1
        self._moves += 1

    def end(self, *, touched_authority: bool) -> None:
        """It is over, whatever came of it."""
        self._moves += 1
        self._under_way -= 1
        if touched_authority:
            self.authority += 1


def note_statements(engine: Engine) -> None:
    """Have the engine's connections remember when one of the `AUTHORITY` tables is written to."""
    event.listen(engine, "after_execute", _note)
    event.listen(engine, "after_cursor_execute", _note_by_hand)


def take_touched(connection: Connection) -> bool:
    """Whether one was, since this was last asked; before its commit."""
    return bool(connection.info.pop(_TOUCHED, False))


def _note(connection: Connection, clause: Any, *_: Any) -> None:
    if isinstance(clause, UpdateBase) and getattr(clause.table, "name", None) in AUTHORITY:
        connection.info[_TOUCHED] = True


def _note_by_hand(connection: Connection, _cursor: Any, statement: str, _params: Any, context: Any, _many: Any) -> None:
    """SQL that was written as text: whatever names the table, reading or not."""
    if context is not None and context.compiled is None and any(name in statement for name in AUTHORITY):
        connection.info[_TOUCHED] = True
