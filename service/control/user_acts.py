"""Owner's acts on people: inviting them.

Guarantees: the invitation is in the answer and nowhere else; it is stored as a hash.
"""

from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from service.accounts import invitations, users
from service.build import Services
from service.control.params import Params
from service.control.protocol import ActFailed


class InviteUser(Params):
    user: str | None = Field(default=None, max_length=64)


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
