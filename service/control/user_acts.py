"""Owner's acts on people: inviting them, who they are, and a way back for who lost authenticator and recovery codes.

Guarantees: an invitation is in the answer and nowhere else; it is stored as a hash. A reset is one unit of work with
its entries in the audit log of each account in which the user has a role, for its owners to see; it sets no password
and gives nobody a session, so that whoever talks the operator into one still needs the user's password, and a day.
"""

from typing import Any

from pydantic import Field
from sqlalchemy import Connection, select

from service.accounts import invitations, memberships, recovery, sessions, users
from service.accounts.users import Credential
from service.audit.acts import TOTP_RESET
from service.audit.appending import append
from service.audit.model import Actor, ActorKind, NewEntry, Subject
from service.auth.authority import Tampered
from service.build import Services
from service.control.params import NoParams, Params
from service.control.protocol import ActFailed
from service.db.models import users as user_rows


class InviteUser(Params):
    user: str | None = Field(default=None, max_length=64)


class NamedUser(Params):
    user: str = Field(max_length=64)


async def invite(services: Services, params: InviteUser) -> dict[str, Any]:
    """An invitation: for a new user, or to set the password of one that exists."""
    now_ms = services.clock.now_ms()

    def write(c: Connection) -> str:
        found = None if params.user is None else users.user_named(c, params.user)
        if params.user is not None and found is None:
            raise ActFailed(
                "unknown_user", f"there is no user {params.user!r}", hint="For a new user, invite without a name."
            )
        return invitations.create(c, None if found is None else found.id, master=services.master, now_ms=now_ms)

    token = await services.db.run(write)
    return {"user": params.user, "invitation": token, "expires_ms": now_ms + invitations.LIFETIME_MS}


async def list_(services: Services, params: NoParams) -> dict[str, Any]:
    """All users, with what they sign in with and their roles; never what proves it.

    `unusable` are those whose credentials are not as the service wrote them: they cannot sign in.
    """
    now_ms = services.clock.now_ms()

    def read(c: Connection) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        unusable: list[str] = []
        for row in c.execute(select(user_rows.c.id, user_rows.c.name).order_by(user_rows.c.id)).all():
            try:
                listed.append(_document(c, services, row.id, name=row.name, now_ms=now_ms))
            except Tampered:
                unusable.append(row.name)
        return {"users": listed, "unusable": unusable}

    return await services.db.read(read)


async def reset_totp(services: Services, params: NamedUser) -> dict[str, Any]:
    """Take the authenticator and the recovery codes of a user away who has neither any more."""
    now_ms, master = services.clock.now_ms(), services.master

    def write(c: Connection) -> tuple[int, Credential]:
        found = users.credential_named(c, params.user, master=master)
        if found is None:
            raise ActFailed("unknown_user", f"no user {params.user!r} can sign in", hint="cambist user list")
        if not found.has_totp:
            raise ActFailed(
                "no_authenticator",
                f"{params.user!r} has no authenticator in use",
                hint="For a lost password: cambist user invite NAME.",
            )
        ended = sessions.end_all(c, found.user_id, but=None)
        reset = users.reset_totp(c, found, master=master, now_ms=now_ms)
        details = {"user": params.user, "held_until_ms": reset.held_until_ms}
        mine = {one.account.id for one in memberships.accounts_of(c, found.user_id, master=master)}
        # In the order of the chains, as everyone locks them.
        for account_id in sorted(mine, reverse=True):
            entry = NewEntry(
                act=TOTP_RESET,
                actor=Actor(kind=ActorKind.OPERATOR),
                subject=Subject(kind="user", id=str(found.user_id)),
                account_id=account_id,
                details=details,
            )
            append(c, [entry], master=master, now_ms=now_ms, chain=account_id)
        return ended, reset

    ended, reset = await services.db.run(write)
    return {"user": params.user, "sessions": ended, "held_until_ms": reset.held_until_ms}


def _document(c: Connection, services: Services, user_id: int, *, name: str, now_ms: int) -> dict[str, Any]:
    credential = users.credential_of(c, user_id, master=services.master)
    held_ms = None if credential is None or credential.held_until_ms <= now_ms else credential.held_until_ms
    return {
        "user": name,
        "signs_in": credential is not None,
        "owns_installation": credential is not None and credential.owns_installation,
        "totp": credential is not None and credential.has_totp,
        "recovery_codes_left": recovery.left(c, user_id),
        "held_until_ms": held_ms,
        "accounts": [
            {"account": one.account.name, "role": str(one.role)}
            for one in memberships.accounts_of(c, user_id, master=services.master)
        ],
    }
