"""How fast passwords and codes can be guessed: counters in the database, by account and address.

    pair      one name from one address    5 free, then 1 s, 2 s, 4 s ... 15 minutes
    address   any name from one address    20 free, then the same: several people may share an address
    account   one name from everywhere     50 free, then up to 5 minutes; not for addresses that signed in with it
                                           within 90 days, so that nobody keeps the owner out from elsewhere

Guarantees: an attempt is counted before its password is looked at, in a unit of work of its own, so that attempts at
once get no guesses for free; one that is refused is neither looked at nor counted; a name that does not exist counts as
one that does; counters forget after 24 hours without a wrong attempt. Rows have no names in them (what is typed there
may be a password), and are bounded.
Not guaranteed: that a row deleted in the database is missed. A row here only takes away, so it has no MAC.
"""

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from service.auth.keys import IpAddress
from service.auth.secrets import MasterKey
from service.db.models import sign_in_counters
from service.errors import ApiError

FORGET_MS: Final = 24 * 3_600_000
KNOWN_MS: Final = 90 * FORGET_MS
"""How long an address counts as one of the account's after it signed in from there."""
MAX_ROWS: Final = 100_000
"""Beyond, the ones untouched for longest go."""
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60 * _SECOND_MS


class Scope(StrEnum):
    PAIR = "pair"
    ADDRESS = "address"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """So many attempts without waiting, then twice as long each time."""

    free: int
    longest_ms: int

    def wait_ms(self, attempts: int) -> int:
        """How long nobody may try after that many wrong attempts."""
        over = attempts - self.free
        return 0 if over < 0 else min(self.longest_ms, _SECOND_MS << min(over, 32))


RULES: Final = {
    Scope.PAIR: Rule(free=5, longest_ms=15 * _MINUTE_MS),
    Scope.ADDRESS: Rule(free=20, longest_ms=15 * _MINUTE_MS),
    Scope.ACCOUNT: Rule(free=50, longest_ms=5 * _MINUTE_MS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One that was counted. `rows` are the counters it stands in."""

    rows: tuple[tuple[Scope, str], ...]


def begin(c: Connection, name: str, *, address: IpAddress | None, master: MasterKey, now_ms: int) -> Attempt:
    """Count an attempt to sign in with a name, or to prove who one is.

    Raises:
        ApiError: sign_in_locked: too many wrong ones before; with the time to wait.
    """
    place = network_of(address)
    rows = tuple(
        (scope, _subject(master, scope, text))
        for scope, text in ((Scope.PAIR, f"{name}\0{place}"), (Scope.ADDRESS, place), (Scope.ACCOUNT, name))
    )
    found = {scope: _row(c, scope, subject) for scope, subject in rows}
    pair = found[Scope.PAIR]
    is_known = pair is not None and pair["good_ms"] is not None and now_ms - pair["good_ms"] < KNOWN_MS
    waits = [
        row["locked_until_ms"] - now_ms
        for scope, row in found.items()
        if row is not None and not (scope is Scope.ACCOUNT and is_known)
    ]
    if (wait_ms := max(waits, default=0)) > 0:
        seconds = -(-wait_ms // _SECOND_MS)
        raise ApiError(
            "sign_in_locked", f"too many wrong attempts; the next one counts in {seconds} s", retry_after_s=seconds
        )
    for scope, subject in rows:
        _count(c, scope, subject, row=found[scope], now_ms=now_ms)
    _prune(c, now_ms=now_ms)
    return Attempt(rows=rows)


def succeed(c: Connection, attempt: Attempt, *, now_ms: int) -> None:
    """It was right, all of it: the pair begins anew, the others lose this one attempt."""
    for scope, subject in attempt.rows:
        row = _row(c, scope, subject)
        if row is None:
            continue
        failures = 0 if scope is Scope.PAIR else max(0, row["failures"] - 1)
        good_ms = now_ms if scope is Scope.PAIR else row["good_ms"]
        changed = {"failures": failures, "locked_until_ms": 0, "good_ms": good_ms}
        c.execute(update(sign_in_counters).where(*_is(scope, subject)).values(changed))


def network_of(address: IpAddress | None) -> str:
    """What counts as one address: one IPv6 host has a whole /64 to choose from."""
    if address is None:
        return "unknown"
    return str(address) if address.version == 4 else f"{address.packed[:8].hex()}/64"


def _count(c: Connection, scope: Scope, subject: str, *, row: Any, now_ms: int) -> None:
    if row is None:
        made = {"scope": str(scope), "subject": subject, "good_ms": None}
        wait_ms = RULES[scope].wait_ms(1)
        c.execute(
            insert(sign_in_counters), made | {"failures": 1, "last_ms": now_ms, "locked_until_ms": now_ms + wait_ms}
        )
        return
    failures = 1 + (row["failures"] if now_ms - row["last_ms"] < FORGET_MS else 0)
    changed = {
        "failures": failures,
        "last_ms": now_ms,
        "locked_until_ms": now_ms + RULES[scope].wait_ms(failures),
    }
    c.execute(update(sign_in_counters).where(*_is(scope, subject)).values(changed))


def _prune(c: Connection, *, now_ms: int) -> None:
    t = sign_in_counters
    c.execute(delete(t).where(t.c.last_ms < now_ms - KNOWN_MS))
    c.execute(delete(t).where(t.c.last_ms < now_ms - FORGET_MS, t.c.good_ms.is_(None)))
    beyond = c.execute(select(t.c.last_ms).order_by(t.c.last_ms.desc()).offset(MAX_ROWS).limit(1)).scalar()
    if beyond is not None:
        c.execute(delete(t).where(t.c.last_ms <= beyond, t.c.good_ms.is_(None)))


def _row(c: Connection, scope: Scope, subject: str) -> Any:
    return c.execute(select(sign_in_counters).where(*_is(scope, subject))).mappings().one_or_none()


def _is(scope: Scope, subject: str) -> tuple[Any, Any]:
    t = sign_in_counters
    return t.c.scope == str(scope), t.c.subject == subject


def _subject(master: MasterKey, scope: Scope, text: str) -> str:
    return hmac.digest(master.subkey("lockout"), f"{scope}\0{text}".encode(), "sha256").hex()
