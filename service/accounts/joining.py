"""Changing who belongs to an account, and as what: adding, another role, leaving, invitations. Inside a unit of work.

Guarantees: an account always has an owner who can sign in and has been one for `SEASONED_MS`, also when two of them
leave at once (changes of one account are made one after the other, under its row's lock), so that it is not handed over
within the time that an owner has to notice; a role given to somebody who has one already is no addition; an
invitation into an account works while whoever gave it out is still an owner there, and gives what it says, to one user.
Not here: confirming what widens with a code (`confirming`), the keys of a member who may less (`service.keys.ending`),
the audit entry; these are the routes'.
"""

from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from service.accounts import invitations, memberships, people
from service.accounts.invitations import Into
from service.accounts.people import SEASONED_MS, Account, Membership, Role
from service.auth import authority
from service.auth.secrets import MasterKey
from service.db.models import accounts as account_rows
from service.db.models import memberships as rows
from service.db.models import user_credentials, users
from service.errors import ApiError

MAX_MEMBERS: Final = 64
"""Of one account."""
MAX_ACCOUNTS: Final = 64
"""That one user has a role in."""
MAX_INVITATIONS: Final = 32
"""Into one account, that wait to be used."""


def add(c: Connection, account_id: int, *, user_id: int, role: Role, master: MasterKey, now_ms: int) -> Membership:
    """Give a user a role where the user has none. Raises: ApiError: member_exists, too_many. authority.Tampered."""
    _lock(c, account_id)
    if memberships.role_in(c, user_id, account_id, master=master) is not None:
        raise ApiError("member_exists", "this user has a role in the account")
    if _count(c, rows.c.account_id == account_id) >= MAX_MEMBERS:
        raise ApiError("too_many", f"an account has at most {MAX_MEMBERS} members")
    if _count(c, rows.c.user_id == user_id) >= MAX_ACCOUNTS:
        raise ApiError("too_many", f"a user is a member of at most {MAX_ACCOUNTS} accounts")
    return people.add_member(c, user_id, account_id=account_id, role=role, master=master, now_ms=now_ms)


def set_role(
    c: Connection, account_id: int, *, user_id: int, role: Role, master: MasterKey, now_ms: int
) -> tuple[Membership, Membership]:
    """What the membership was, and is: another role is had since now.

    Raises: ApiError: member_not_found, last_owner. authority.Tampered.
    """
    _lock(c, account_id)
    member = _member(c, account_id, user_id=user_id, master=master)
    if member.role is Role.OWNER and role is not Role.OWNER:
        _check_another_owner(c, account_id, user_id=user_id, master=master, now_ms=now_ms)
    if role is member.role:
        return member, member
    # Who is made an approver now must wait as one who joins as an approver now (`service.approvals.deciding`).
    row = {"user_id": user_id, "account_id": account_id, "role": str(role), "created_ms": now_ms}
    mine = update(rows).where(rows.c.user_id == user_id, rows.c.account_id == account_id)
    c.execute(mine.values(row | {"mac": authority.mac(master, rows, row)}))
    return member, _member(c, account_id, user_id=user_id, master=master)


def remove(c: Connection, account_id: int, *, user_id: int, master: MasterKey, now_ms: int) -> Membership:
    """Take the role away; what it was. Raises: ApiError: member_not_found, last_owner. authority.Tampered."""
    _lock(c, account_id)
    member = _member(c, account_id, user_id=user_id, master=master)
    if member.role is Role.OWNER:
        _check_another_owner(c, account_id, user_id=user_id, master=master, now_ms=now_ms)
    c.execute(delete(rows).where(rows.c.user_id == user_id, rows.c.account_id == account_id))
    return member


def invite(c: Connection, into: Into, *, master: MasterKey, now_ms: int) -> str:
    """The token of a new invitation into an account. Raises: ApiError: too_many."""
    _lock(c, into.account_id)
    waiting = invitations.waiting(c, into.account_id, master=master, now_ms=now_ms)
    if len(waiting.intact) + len(waiting.unusable) >= MAX_INVITATIONS:
        raise ApiError("too_many", f"at most {MAX_INVITATIONS} invitations into an account wait to be used")
    return invitations.create(c, None, into=into, master=master, now_ms=now_ms)


def join(c: Connection, into: Into, *, user_id: int, master: MasterKey, now_ms: int) -> Membership:
    """Take up an invitation that was just used.

    Raises:
        ApiError: invitation_invalid: whoever gave it out is no owner there any more. member_exists, too_many.
        authority.Tampered.
    """
    if memberships.role_in(c, into.invited_by, into.account_id, master=master) is not Role.OWNER:
        raise ApiError("invitation_invalid", "whoever gave this invitation out may not any more")
    return add(c, into.account_id, user_id=user_id, role=into.role, master=master, now_ms=now_ms)


def unclaimed(c: Connection) -> Account | None:
    """The oldest account, while nobody can sign in: `cambist init` made it, and its owner is a name only."""
    if c.execute(select(func.count()).select_from(user_credentials)).scalar_one():
        return None
    return next(iter(people.list_accounts(c)), None)


def user_id_of(c: Connection, name: str) -> int:
    """Raises: ApiError: user_not_found."""
    found = c.execute(select(users.c.id).where(users.c.name == name)).scalar_one_or_none()
    if found is None:
        raise ApiError("user_not_found", f"there is no user {name!r}")
    return int(found)


def _member(c: Connection, account_id: int, *, user_id: int, master: MasterKey) -> Membership:
    found = people.membership_of(c, user_id, account_id=account_id, master=master)
    if found is None:
        raise ApiError("member_not_found", "the account has no such member")
    return found


def _check_another_owner(c: Connection, account_id: int, *, user_id: int, master: MasterKey, now_ms: int) -> None:
    """One who can sign in (a name without a password looks after nothing), and has been an owner for long enough."""
    found = people.members(c, account_id, master=master)
    owners = {one.user_id for one in found if one.role is Role.OWNER and one.is_seasoned(now_ms)}
    owners.discard(user_id)
    able = select(func.count()).select_from(user_credentials).where(user_credentials.c.user_id.in_(owners))
    if not c.execute(able).scalar_one():
        hours = SEASONED_MS // 3_600_000
        raise ApiError("last_owner", f"no other owner of this account can sign in and has been one for {hours} h")


def _count(c: Connection, where: ColumnElement[bool]) -> int:
    return c.execute(select(func.count()).select_from(rows).where(where)).scalar_one()


def _lock(c: Connection, account_id: int) -> None:
    c.execute(select(account_rows.c.id).where(account_rows.c.id == account_id).with_for_update())
