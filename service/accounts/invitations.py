"""Invitations: what is handed to a person who may register, set the password of a user that exists, or join an account.

The operator makes the first two kinds, an owner of an account the third (`service.accounts.joining`).

Guarantees: a token is 256 random bits, shown once, stored as a hash only, works once and for `LIFETIME_MS`.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, RowMapping, delete, insert, or_, select, update

from service.accounts.people import Role
from service.auth import authority
from service.auth.authority import Sifted
from service.auth.secrets import MasterKey
from service.db.models import invitations
from service.errors import ApiError

PREFIX: Final = "ci_"
TOKEN_BYTES: Final = 32
LIFETIME_MS: Final = 3 * 24 * 3_600_000
ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Into:
    """The account that an invitation is into, with which role, and the owner who gave it out."""

    account_id: int
    role: Role
    invited_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """One that was just used. `user_id`: whose password is to be set; None: a new user is to be made, or joins."""

    user_id: int | None
    into: Into | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One into an account that nobody used yet. `id`: the beginning of the token's hash, for taking it back."""

    id: str
    into: Into
    created_ms: int
    expires_ms: int


def create(c: Connection, user_id: int | None, *, into: Into | None = None, master: MasterKey, now_ms: int) -> str:
    """The token of a new invitation."""
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    row = {
        "token_hash": _hash(token),
        "user_id": user_id,
        "created_ms": now_ms,
        "expires_ms": now_ms + LIFETIME_MS,
        "used_ms": None,
        "account_id": None if into is None else into.account_id,
        "role": None if into is None else str(into.role),
        "invited_by": None if into is None else into.invited_by,
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
                return Invitation(user_id=row["user_id"], into=_into(row))
    raise ApiError("invitation_invalid", "this invitation is none, was used, or is too old")


def waiting(c: Connection, account_id: int, *, master: MasterKey, now_ms: int) -> Sifted[Waiting]:
    """The invitations into an account that still work, oldest first, and those whose MAC is wrong, which do not."""
    t = invitations
    mine = select(t).where(t.c.account_id == account_id, t.c.used_ms.is_(None), t.c.expires_ms > now_ms)

    def make(row: RowMapping) -> Waiting:
        authority.verify(master, t, row)
        into = _into(row)
        assert into is not None  # selected by its account
        return Waiting(
            id=_shown(row["token_hash"]), into=into, created_ms=row["created_ms"], expires_ms=row["expires_ms"]
        )

    mine = mine.order_by(t.c.created_ms, t.c.token_hash)
    return authority.sift(c, mine, table=t, id_=t.c.token_hash, make=make, called=_shown)


def take_back(c: Connection, account_id: int, *, id_: str) -> bool:
    """End an invitation into the account; whether there was one. It needs no MAC: it only takes away."""
    t = invitations
    mine = select(t.c.token_hash).where(t.c.account_id == account_id, t.c.used_ms.is_(None))
    for token_hash in c.execute(mine).scalars():
        if _shown(token_hash) == id_:
            return c.execute(delete(t).where(t.c.token_hash == token_hash, t.c.used_ms.is_(None))).rowcount == 1
    return False


def end_all_of(c: Connection, user_id: int) -> None:
    """End those that wait and that the user gave out, or that are for setting the user's password."""
    t = invitations
    c.execute(delete(t).where(or_(t.c.invited_by == user_id, t.c.user_id == user_id), t.c.used_ms.is_(None)))


def id_of(token: str) -> str:
    """What an invitation is called once its token is not at hand."""
    return _shown(_hash(token))


def _shown(token_hash: bytes) -> str:
    return bytes(token_hash)[:ID_BYTES].hex()


def _into(row: RowMapping) -> Into | None:
    if row["account_id"] is None:
        return None
    return Into(account_id=row["account_id"], role=Role(row["role"]), invited_by=row["invited_by"])


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
