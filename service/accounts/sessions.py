"""Sessions: who is signed in, from where and until when.

Guarantees: a token is 256 random bits, answered once and stored as a hash only; a session ends for good with its row,
by itself after a fixed time and earlier when it is not used; rows without their MAC are refused (`authority.Tampered`);
a user has at most `MAX_A_USER`, the one unused for longest makes room. A token that came in a cookie works in no other
place, and one that did not works in no cookie.
Not guaranteed: that `last_seen_ms` is exact; it is written once in `SEEN_EVERY_MS`.
"""

import secrets
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from service.auth import authority
from service.auth.authority import Sifted
from service.auth.secrets import MasterKey
from service.db.models import sessions

TOKEN_BYTES: Final = 32
PREFIX: Final = "cs_"
"""So that a token is recognized where it should not be."""
MAX_A_USER: Final = 32
SEEN_EVERY_MS: Final = 60_000
MAX_AGENT: Final = 128


class Carrier(StrEnum):
    """Where a session's token is."""

    COOKIE = "cookie"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long a session lasts, and how long unused."""

    absolute_ms: int
    idle_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A stored session whose MAC was right."""

    id: str
    user_id: int
    carrier: Carrier
    created_ms: int
    last_seen_ms: int
    expires_ms: int
    client_ip: str
    agent: str

    def is_over(self, now_ms: int, *, idle_ms: int) -> bool:
        return now_ms >= self.expires_ms or now_ms - self.last_seen_ms >= idle_ms


def create(
    c: Connection,
    session_id: str,
    *,
    user_id: int,
    carrier: Carrier,
    lifetimes: Lifetimes,
    client_ip: str,
    agent: str,
    master: MasterKey,
    now_ms: int,
) -> tuple[Session, str]:
    """A new session and its token."""
    _make_room(c, user_id, now_ms=now_ms, idle_ms=lifetimes.idle_ms)
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    row = {
        "id": session_id,
        "user_id": user_id,
        "token_hash": token_hash(token),
        "carrier": str(carrier),
        "created_ms": now_ms,
        "last_seen_ms": now_ms,
        "expires_ms": now_ms + lifetimes.absolute_ms,
        "client_ip": client_ip,
        "agent": agent_label(agent),
    }
    stored = row | {"mac": authority.mac(master, sessions, row)}
    c.execute(insert(sessions), stored)
    found = by_token(c, token, master=master)
    assert found is not None  # written above, in this unit of work
    return found, token


def by_token(c: Connection, token: str, *, master: MasterKey) -> Session | None:
    """Found by its hash: what a comparison's time tells is nothing about a token. Raises: authority.Tampered."""
    row = c.execute(select(sessions).where(sessions.c.token_hash == token_hash(token))).mappings().one_or_none()
    return None if row is None else _session(row, master)


def is_open(c: Connection, session_id: str) -> bool:
    return c.execute(select(sessions.c.id).where(sessions.c.id == session_id)).first() is not None


def touch(c: Connection, session_id: str, *, master: MasterKey, now_ms: int) -> None:
    """Note that it was used; nothing where it ended meanwhile."""
    row = c.execute(select(sessions).where(sessions.c.id == session_id)).mappings().one_or_none()
    if row is None or now_ms - row["last_seen_ms"] < SEEN_EVERY_MS:
        return
    authority.verify(master, sessions, row)
    mac = authority.mac(master, sessions, {**row, "last_seen_ms": now_ms})
    c.execute(
        update(sessions).where(sessions.c.id == session_id, sessions.c.mac == row["mac"]).values(
            last_seen_ms=now_ms, mac=mac
        )
    )  # fmt: skip


def list_of(c: Connection, user_id: int, *, master: MasterKey, now_ms: int, idle_ms: int) -> Sifted[Session]:
    """A user's sessions that are not over, newest first, and the ids of those whose MAC is wrong: they work nowhere,
    and can be ended."""
    t = sessions
    mine = select(t).where(t.c.user_id == user_id).order_by(t.c.created_ms.desc(), t.c.id.desc())
    found = authority.sift(c, mine, table=t, id_=t.c.id, make=lambda row: _session(row, master))
    return replace(found, intact=[one for one in found.intact if not one.is_over(now_ms, idle_ms=idle_ms)])


def end(c: Connection, session_id: str, *, user_id: int) -> bool:
    """Whether the user had that session."""
    mine = (sessions.c.id == session_id, sessions.c.user_id == user_id)
    return c.execute(delete(sessions).where(*mine)).rowcount == 1


def end_all(c: Connection, user_id: int, *, but: str | None) -> int:
    """All of a user's, but that one; how many."""
    mine = delete(sessions).where(sessions.c.user_id == user_id)
    return c.execute(mine if but is None else mine.where(sessions.c.id != but)).rowcount


def token_hash(token: str) -> bytes:
    """Plain SHA-256: the token is random, and longer than any guess."""
    return sha256(token.encode()).digest()


def agent_label(text: str) -> str:
    """What a client says it is, in printable ASCII and cut: it is shown to people."""
    return "".join(one for one in text if one.isascii() and one.isprintable())[:MAX_AGENT]


def _make_room(c: Connection, user_id: int, *, now_ms: int, idle_ms: int) -> None:
    mine = sessions.c.user_id == user_id
    c.execute(delete(sessions).where(mine, sessions.c.expires_ms <= now_ms))
    c.execute(delete(sessions).where(mine, sessions.c.last_seen_ms <= now_ms - idle_ms))
    oldest_first = select(sessions.c.id).where(mine).order_by(sessions.c.last_seen_ms, sessions.c.id)
    ids = list(c.execute(oldest_first).scalars())
    if surplus := ids[: max(0, len(ids) - MAX_A_USER + 1)]:
        c.execute(delete(sessions).where(sessions.c.id.in_(surplus)))


def _session(row: RowMapping, master: MasterKey) -> Session:
    authority.verify(master, sessions, row)
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        carrier=Carrier(row["carrier"]),
        created_ms=row["created_ms"],
        last_seen_ms=row["last_seen_ms"],
        expires_ms=row["expires_ms"],
        client_ip=row["client_ip"],
        agent=row["agent"],
    )
