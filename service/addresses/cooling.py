"""How long a new entry of an account's address book waits before withdrawals may go to it; and as long, what a key that
was made in a session may call anew: a contract that is called may keep what it is sent.

    24 h, until the owner says otherwise     longer: at once     shorter: once the time of before has passed
                                             longer, taken back within 24 h: once the time before it has passed

Guarantees: a row without its MAC is refused; no time is kept in memory, so that a restart loses none; an entry's end of
cooling is fixed when it is added, and counts from the newest time that the audit log has seen where the clock stands
before it, so that a clock that was set back while an entry was added does not shorten its cooling.
Not guaranteed: that a clock that is set forward is noticed. Where the log has seen such a time, entries added after it
was set right cool for longer.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import audit_entries, book_rules
from service.errors import ApiError

HOUR_MS: Final = 3_600_000
DEFAULT_MS: Final = 24 * HOUR_MS
MAX_MS: Final = 90 * 24 * HOUR_MS
TAKEN_BACK_MS: Final = 24 * HOUR_MS
"""For how long after a time was made longer that is taken back without waiting for the longer one, which somebody with
an owner's session and a code could have asked for to keep the account's funds where they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The cooling time now; `next_ms` is a shorter one that comes in force at `next_from_ms`."""

    cooling_ms: int
    next_ms: int | None
    next_from_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The time in force before it was made longer, until when that counts; none: it was not, lately.

    Made longer twice it is the first one's, and counts no later: neither the wait nor the time to take it back grows.
    """

    before_ms: int | None
    until_ms: int | None


def _known(row: Any, *, now_ms: int) -> _Known:
    until_ms = row["before_until_ms"]
    # One that was made shorter since, and is in force, is what the account has now.
    shortened = row["next_from_ms"] is not None and row["next_from_ms"] <= now_ms
    if until_ms is None or until_ms <= now_ms or shortened:
        return _Known(before_ms=None, until_ms=None)
    return _Known(before_ms=row["before_ms"], until_ms=until_ms)


def rule_of(c: Connection, account_id: int, *, now_ms: int, master: MasterKey) -> Rule:
    """Raises: authority.Tampered."""
    row = _row(c, account_id, master)
    if row is None:
        return Rule(cooling_ms=DEFAULT_MS, next_ms=None, next_from_ms=None)
    if row["next_from_ms"] is not None and row["next_from_ms"] <= now_ms:
        return Rule(cooling_ms=row["next_cooling_ms"], next_ms=None, next_from_ms=None)
    return Rule(cooling_ms=row["cooling_ms"], next_ms=row["next_cooling_ms"], next_from_ms=row["next_from_ms"])


def set_cooling(c: Connection, account_id: int, *, cooling_ms: int, now_ms: int, master: MasterKey) -> Rule:
    """Ask for another cooling time: a longer one, or the same one, is in force at once and ends a wait for a shorter.

    A shorter one waits as long as the one of before; down to the one that was made longer within `TAKEN_BACK_MS`, as
    long as that one.

    Raises:
        ApiError: invalid_parameters: over `MAX_MS`. try_again: changed at the same moment.
        authority.Tampered.
    """
    if not 0 <= cooling_ms <= MAX_MS:
        raise ApiError("invalid_parameters", f"a cooling time is at most {MAX_MS // HOUR_MS} hours")
    now_ms = latest_ms(c, now_ms)
    stands = _row(c, account_id, master)
    before = rule_of(c, account_id, now_ms=now_ms, master=master).cooling_ms
    shorter = cooling_ms < before
    known = _Known(before_ms=None, until_ms=None) if stands is None else _known(stands, now_ms=now_ms)
    if cooling_ms > before and known.before_ms is None:
        known = _Known(before_ms=before, until_ms=now_ms + TAKEN_BACK_MS)
    waits_ms = known.before_ms if known.before_ms is not None and cooling_ms >= known.before_ms else before
    row = {
        "account_id": account_id,
        "cooling_ms": before if shorter else cooling_ms,
        "next_cooling_ms": cooling_ms if shorter else None,
        "next_from_ms": now_ms + waits_ms if shorter else None,
        "changed_ms": now_ms,
        "before_ms": known.before_ms,
        "before_until_ms": known.until_ms,
    }
    stored = row | {"mac": authority.mac(master, book_rules, row)}
    if stands is None:
        try:
            with c.begin_nested():
                c.execute(insert(book_rules), stored)
        except IntegrityError:
            raise ApiError("try_again", "the cooling time was set at the same moment") from None
    else:
        mine = update(book_rules).where(book_rules.c.account_id == account_id, book_rules.c.mac == stands["mac"])
        if c.execute(mine.values(stored)).rowcount != 1:
            raise ApiError("try_again", "the cooling time was changed at the same moment")
    return rule_of(c, account_id, now_ms=now_ms, master=master)


def end_of(c: Connection, account_id: int, *, now_ms: int, master: MasterKey) -> int:
    """When what is added to the account now has cooled. Raises: authority.Tampered."""
    return latest_ms(c, now_ms) + rule_of(c, account_id, now_ms=now_ms, master=master).cooling_ms


def latest_ms(c: Connection, now_ms: int) -> int:
    """The clock's time, or the newest time that the audit log has seen where the clock stands before it."""
    seen = c.execute(select(func.max(audit_entries.c.time_ms))).scalar()
    return now_ms if seen is None else max(now_ms, seen)


def _row(c: Connection, account_id: int, master: MasterKey) -> Any:
    row = c.execute(select(book_rules).where(book_rules.c.account_id == account_id)).mappings().one_or_none()
    if row is not None:
        authority.verify(master, book_rules, row)
    return row
