"""Users, accounts, and who may do what in an account: the queries, each inside the caller's unit of work.

Guarantees: a membership is answered only if its MAC is right, so that a row written or edited in the database grants
nothing. Not guaranteed: that a user is signed in; that is authentication's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select

from service.accounts import names
from service.auth import authority
from service.auth.authority import Sifted
from service.auth.secrets import MasterKey
from service.db.models import accounts, memberships, users

SEASONED_MS: Final = 24 * 3_600_000
"""How long somebody has a role before it counts against others in the account: before they approve what leaves, or add
or remove whoever watches over it. As long as an address cools, so that bringing a second person along is no quicker
way to the same end; time for an owner to see it and to undo it."""


class Role(StrEnum):
    OWNER = "owner"
    TRADER = "trader"
    APPROVER = "approver"
    VIEWER = "viewer"


class NotTheOwner(Exception):
    """An account of that name exists, and the user does not own it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who signs in."""

    id: int
    name: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Owns wallets, keys, orders and books."""

    id: int
    name: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A user's role in an account, had since `created_ms`: another role begins anew."""

    user_id: int
    account_id: int
    role: Role
    created_ms: int

    @property
    def new_until_ms(self) -> int:
        """Until then it does not count against others (`SEASONED_MS`)."""
        return self.created_ms + SEASONED_MS

    def is_seasoned(self, now_ms: int) -> bool:
        return now_ms >= self.new_until_ms


def ensure_account(c: Connection, name: str, *, owner: str, master: MasterKey, now_ms: int) -> Account:
    """The account of that name, owned by the user of that name; what is missing is made. Repeating it changes nothing.

    Raises:
        NotTheOwner: the account exists and the user does not own it: nobody becomes an owner by asking twice.
        InvalidName: one of the names.
    """
    user = _ensure_user(c, names.checked(owner), now_ms=now_ms)
    found = account_by_name(c, name)
    if found is not None:
        if role_of(c, user.id, account_id=found.id, master=master) is not Role.OWNER:
            raise NotTheOwner(f"account {name!r} exists and is not owned by {owner!r}")
        return found
    row = c.execute(
        insert(accounts).returning(accounts.c.id),
        {"name": names.checked(name), "event_seq": 0, "created_ms": now_ms},
    ).one()
    add_member(c, user.id, account_id=row.id, role=Role.OWNER, master=master, now_ms=now_ms)
    return Account(id=row.id, name=name, created_ms=now_ms)


def get_account(c: Connection, account_id: int) -> Account | None:
    return _account(c, accounts.c.id == account_id)


def account_by_name(c: Connection, name: str) -> Account | None:
    return _account(c, accounts.c.name == name)


def list_accounts(c: Connection) -> Sequence[Account]:
    """All accounts of the installation, oldest first."""
    columns = (accounts.c.id, accounts.c.name, accounts.c.created_ms)
    return [Account(**row) for row in c.execute(select(*columns).order_by(accounts.c.id)).mappings()]


def add_member(
    c: Connection, user_id: int, *, account_id: int, role: Role, master: MasterKey, now_ms: int
) -> Membership:
    """Give a user a role in an account where the user has none."""
    row = {"user_id": user_id, "account_id": account_id, "role": str(role), "created_ms": now_ms}
    c.execute(insert(memberships), {**row, "mac": authority.mac(master, memberships, row)})
    return Membership(user_id=user_id, account_id=account_id, role=role, created_ms=now_ms)


def members(c: Connection, account_id: int, *, master: MasterKey) -> Sequence[Membership]:
    """All memberships of an account; none whose MAC is wrong: it grants nothing."""
    return sift_members(c, account_id, master=master).intact


def sift_members(c: Connection, account_id: int, *, master: MasterKey) -> Sifted[Membership]:
    """The same, and the ids of the users whose membership has a wrong MAC."""
    t = memberships
    mine = select(t).where(t.c.account_id == account_id).order_by(t.c.user_id)
    return authority.sift(c, mine, table=t, id_=t.c.user_id, make=lambda row: _membership(row, master))


def role_of(c: Connection, user_id: int, *, account_id: int, master: MasterKey) -> Role | None:
    """The user's role in the account. Raises: the authority's error for a row whose MAC is wrong."""
    found = membership_of(c, user_id, account_id=account_id, master=master)
    return None if found is None else found.role


def membership_of(c: Connection, user_id: int, *, account_id: int, master: MasterKey) -> Membership | None:
    """The user's membership in the account. Raises: the authority's error for a row whose MAC is wrong."""
    mine = (memberships.c.user_id == user_id, memberships.c.account_id == account_id)
    row = c.execute(select(memberships).where(*mine)).mappings().one_or_none()
    return None if row is None else _membership(row, master)


def _ensure_user(c: Connection, name: str, *, now_ms: int) -> User:
    row = c.execute(select(users).where(users.c.name == name)).mappings().one_or_none()
    if row is None:
        made = {"name": name, "created_ms": now_ms}
        row = c.execute(insert(users).returning(users), made).mappings().one()
    return User(**row)


def _account(c: Connection, where: ColumnElement[bool]) -> Account | None:
    columns = (accounts.c.id, accounts.c.name, accounts.c.created_ms)
    row = c.execute(select(*columns).where(where)).mappings().one_or_none()
    return None if row is None else Account(**row)


def _membership(row: RowMapping, master: MasterKey) -> Membership:
    authority.verify(master, memberships, row)
    return Membership(
        user_id=row["user_id"], account_id=row["account_id"], role=Role(row["role"]), created_ms=row["created_ms"]
    )
