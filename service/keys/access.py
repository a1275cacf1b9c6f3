"""Which keys a person may see, and which they may manage, by their role in the key's account.

    owner      makes, changes, activates, rotates and revokes every key; one with withdraw that somebody else made,
               which asks and approves as that person, is narrowed, renamed, rotated and revoked only
    trader     those with read and trade that they made themselves
    others     see them

Guarantees: a key of an account in which the person has no role is answered as one that does not exist; whatever a key
with withdraw may do was confirmed by a code of the person whom it stands for, so that nobody brings a second person
along by making a key in a session of theirs; who is new in the account does no more to such keys of others, and of the
host, than narrow and revoke them.
"""

from sqlalchemy import Connection

from service.accounts import memberships, people
from service.accounts.people import Role
from service.auth import keys
from service.auth.keys import ApiKey, Permission
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.errors import ApiError


def seen(c: Connection, caller: SessionCaller, key_id: str, *, master: MasterKey) -> tuple[ApiKey, Role]:
    """A key, and the caller's role in its account. Raises: ApiError: key_not_found. authority.Tampered."""
    key = keys.load_key(c, key_id, master=master)
    role = None if key is None else memberships.role_in(c, caller.user_id, key.account_id, master=master)
    if key is None or role is None:
        raise ApiError("key_not_found", "there is no such key")
    return key, role


def managed(c: Connection, caller: SessionCaller, key_id: str, *, master: MasterKey) -> tuple[ApiKey, Role]:
    """A key that the caller may change and end. Raises: ApiError: session_ended, key_not_found, role_denied."""
    caller.check_open(c)
    key, role = seen(c, caller, key_id, master=master)
    own = key.made_by == caller.user_id and Permission.WITHDRAW not in key.permissions
    if role is not Role.OWNER and not (role is Role.TRADER and own):
        raise ApiError("role_denied", f"this needs the role owner in the key's account; yours is {role}")
    return key, role


def check_activates(caller: SessionCaller, key: ApiKey) -> None:
    """Raises: ApiError: role_denied: with withdraw it would act as somebody who gave no code."""
    if Permission.WITHDRAW in key.permissions and key.made_by != caller.user_id:
        raise ApiError("role_denied", "a key with withdraw is activated by who made it, as whom it acts")


def check_widens(
    c: Connection,
    caller: SessionCaller,
    key: ApiKey,
    permissions: frozenset[Permission],
    *,
    master: MasterKey,
    now_ms: int,
) -> None:
    """`permissions`: those that it has afterwards. Raises: ApiError: role_denied."""
    if Permission.WITHDRAW not in permissions or key.made_by == caller.user_id:
        return
    if key.made_by is not None:
        raise ApiError("role_denied", "a key with withdraw is widened by who made it, as whom it acts; rotate it")
    _require_seasoned(c, caller, key, master=master, now_ms=now_ms)


def check_not_new(c: Connection, caller: SessionCaller, key: ApiKey, *, master: MasterKey, now_ms: int) -> None:
    """For what somebody does to a key with withdraw that is not theirs. Raises: ApiError: role_denied."""
    if Permission.WITHDRAW in key.permissions and key.made_by != caller.user_id:
        _require_seasoned(c, caller, key, master=master, now_ms=now_ms)


def _require_seasoned(c: Connection, caller: SessionCaller, key: ApiKey, *, master: MasterKey, now_ms: int) -> None:
    found = people.membership_of(c, caller.user_id, account_id=key.account_id, master=master)
    assert found is not None  # `managed` saw it, in this unit of work
    memberships.require_seasoned(c, found, master=master, now_ms=now_ms)


def may_keep(role: Role | None, permissions: frozenset[Permission]) -> bool:
    """Whether a key that somebody made stays in force with the role that they have now."""
    return role is Role.OWNER or (role is Role.TRADER and Permission.WITHDRAW not in permissions)


def check_may_give(role: Role, permissions: frozenset[Permission]) -> None:
    """Raises: ApiError: role_denied: this role gives nobody such permissions."""
    if role is not Role.OWNER and Permission.WITHDRAW in permissions:
        raise ApiError("role_denied", f"a key with withdraw needs the role owner; yours is {role}")
