"""What a person may do in an account: by the role of the membership, one place for all that sessions do.

    owner      everything: members, keys of all, address book, approving
    trader     sees; makes keys with read and trade for themself
    approver   sees; approves what somebody else asked for
    viewer     sees

Guarantees: a role counts only if its row's MAC is right; an account in which the user has no membership is answered as
one that does not exist; a role is read in the unit of work that acts on it, so that one taken away counts at once.
Not guaranteed: that the session is still open (`SessionCaller.check_open`) or a code was given (`confirming`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, func, select

from service.accounts.people import Account, Membership, Role, membership_of, sift_members
from service.auth.authority import Tampered
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.db.models import accounts, memberships, user_credentials, users
from service.errors import ApiError

OWNERS: Final = frozenset({Role.OWNER})
TRADERS: Final = frozenset({Role.OWNER, Role.TRADER})
APPROVERS: Final = frozenset({Role.OWNER, Role.APPROVER})
ANYONE: Final = frozenset(Role)
"""Whoever has a membership sees."""
_MAY: Final[Mapping[Role, frozenset[str]]] = MappingProxyType(
    {
        Role.OWNER: frozenset({"see", "trade", "approve", "manage"}),
        Role.TRADER: frozenset({"see", "trade"}),
        Role.APPROVER: frozenset({"see", "approve"}),
        Role.VIEWER: frozenset({"see"}),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Belonging:
    """An account in which a user has a role."""

    account: Account
    role: Role
    is_own: bool
    """The user owns it since it, or since the user, is there: nobody gave them this role unasked."""


def widens(before: Role | None, after: Role) -> bool:
    """Whether somebody with the role `after` may do what they could not with `before`."""
    return not _MAY[after] <= (frozenset() if before is None else _MAY[before])


def takes_watch(before: Role, after: Role | None) -> bool:
    """Whether somebody who watches over what leaves (an owner or approver) may do less of it with the role `after`."""
    return before in APPROVERS and not _MAY[before] <= (frozenset() if after is None else _MAY[after])


def counts(c: Connection, membership: Membership, *, master: MasterKey, now_ms: int) -> bool:
    """Whether the role counts against others: had for long enough, or the owner's whom nobody in the account precedes.

    Who founds an account has nobody to stand against: whoever comes later is newer for as long as it matters. A name
    that cannot sign in precedes nobody, and a membership whose MAC is wrong may be of anybody.
    """
    if membership.is_seasoned(now_ms):
        return True
    if membership.role is not Role.OWNER:
        return False
    found = sift_members(c, membership.account_id, master=master)
    before = {one.user_id for one in found.intact if one.created_ms <= membership.created_ms}
    before.discard(membership.user_id)
    able = select(func.count()).select_from(user_credentials).where(user_credentials.c.user_id.in_(before))
    return not found.unusable and not c.execute(able).scalar_one()


def why_too_new(c: Connection, membership: Membership, *, master: MasterKey, now_ms: int) -> ApiError | None:
    """The refusal of what somebody whose role does not count yet may not do; None: it counts.

    Asked before what it is about is changed: who is removed or gets another role precedes nobody afterwards.
    """
    if counts(c, membership, master=master, now_ms=now_ms):
        return None
    hours = -(-(membership.new_until_ms - now_ms) // 3_600_000)
    return ApiError("role_denied", f"who joined the account or got another role lately waits: {hours} h more at most")


def require_seasoned(c: Connection, membership: Membership, *, master: MasterKey, now_ms: int) -> None:
    """Raises: ApiError: role_denied: the role is too new to count against others."""
    if (refusal := why_too_new(c, membership, master=master, now_ms=now_ms)) is not None:
        raise refusal


def role_in(c: Connection, user_id: int, account_id: int, *, master: MasterKey) -> Role | None:
    """The user's role in the account. Raises: authority.Tampered."""
    found = membership_of(c, user_id, account_id=account_id, master=master)
    return None if found is None else found.role


def accounts_of(c: Connection, user_id: int, *, master: MasterKey) -> Sequence[Belonging]:
    """The accounts in which the user has a role, oldest first; not by a membership whose MAC is wrong."""
    return sift_accounts(c, user_id, master=master)[0]


def sift_accounts(c: Connection, user_id: int, *, master: MasterKey) -> tuple[Sequence[Belonging], Sequence[Account]]:
    """The same, and the accounts of memberships whose MAC is wrong."""
    columns = (accounts.c.id, accounts.c.name, accounts.c.created_ms)
    mine = select(*columns).join(memberships).where(memberships.c.user_id == user_id).order_by(accounts.c.id)
    began_ms = c.execute(select(users.c.created_ms).where(users.c.id == user_id)).scalar_one_or_none()
    roles: list[Belonging] = []
    unusable: list[Account] = []
    for row in c.execute(mine).mappings().all():
        account = Account(**row)
        try:
            found = membership_of(c, user_id, account_id=account.id, master=master)
        except Tampered:
            unusable.append(account)
            continue
        if found is not None:
            is_own = found.role is Role.OWNER and found.created_ms in (account.created_ms, began_ms)
            roles.append(Belonging(account=account, role=found.role, is_own=is_own))
    return roles, unusable


def require_role(
    c: Connection, caller: SessionCaller, account: str | None, *, one_of: frozenset[Role], master: MasterKey
) -> Membership:
    """The caller's membership in the account of that name; where none is named in the only one, or the caller's own.

    Roles that others give, which takes no consent, change nothing about which account is meant.

    Raises:
        ApiError: account_not_found: there is none, or none of the caller's. account_required: the caller has several,
            and none or more than one of them is their own.
            role_denied: the caller's role there is another one.
        authority.Tampered.
    """
    mine, unusable = sift_accounts(c, caller.user_id, master=master)
    if account is None and len(mine) + len(unusable) > 1:
        own = [one.account.name for one in mine if one.is_own]
        # One that was altered leaves open no less which of several is meant.
        if unusable or len(own) != 1:
            raise ApiError("account_required", "you are a member of several accounts; name one as `account`")
        account = own[0]
    for one in mine:
        if account is None or one.account.name == account:
            return _allowed(c, caller, one, one_of=one_of, master=master)
    if any(account in (None, one.name) for one in unusable):
        raise Tampered(memberships)
    raise ApiError("account_not_found", "there is no such account")


def _allowed(
    c: Connection, caller: SessionCaller, one: Belonging, *, one_of: frozenset[Role], master: MasterKey
) -> Membership:
    if one.role not in one_of:
        needed = " or ".join(sorted(one_of))
        raise ApiError("role_denied", f"this needs the role {needed} in the account; yours is {one.role}")
    found = membership_of(c, caller.user_id, account_id=one.account.id, master=master)
    assert found is not None  # read above, in this unit of work
    return found
