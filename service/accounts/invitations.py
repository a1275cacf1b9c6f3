"""Invitations: what the operator hands to a person who may register, or set the password of a user that exists.

Guarantees: a token is 256 random bits, shown once, stored as a hash only, works once and for `LIFETIME_MS`.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, insert, select, update

from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import invitations
from service.errors import ApiError

PREFIX: Final = "ci_"
TOKEN_BYTES: Final = 32
LIFETIME_MS: Final = 3 * 24 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """One that was just used. `user_id`: whose password is to be set; None: a new user is to be made."""

    user_id: int | None


def create(c: Connection, user_id: int | None, *, master: MasterKey, now_ms: int) -> str:
    """The token of a new invitation."""
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    row = {
        "token_hash": _hash(token),
        "user_id": user_id,
        "created_ms": now_ms,
        "expires_ms": now_ms + LIFETIME_MS,
        "used_ms": None,
    }
    c.execute(insert(invitations), row | {"mac": authority.mac(master, invitations, row)})
    return token


def use(c: Connection, token: str, *, master: MasterKey, now_ms: int) -> Invitation:
    """Use it up. Raises: ApiError: invitation_invalid: it is none, was used, or is too old. authority.Tampered."""
    t = invitations
    row = c.execute(select(t).where(t.c.token_hash == _hash(token))).mappings().one_or_none()
    if row is not None:
        authority.verify(master, t, row)
        if row["used_ms"] is None and now_ms < row["expires_ms"]:
            mac = authority.mac(master, t, {**row, "used_ms": now_ms})
            mine = update(t).where(t.c.token_hash == row["token_hash"], t.c.used_ms.is_(None))
            if c.execute(mine.values(used_ms=now_ms, mac=mac)).rowcount == 1:
                return Invitation(user_id=row["user_id"])
    raise ApiError("invitation_invalid", "this invitation is none, was used, or is too old")


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
