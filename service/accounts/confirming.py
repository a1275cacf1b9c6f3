"""Confirming with a code of the authenticator, in a session, whatever widens what somebody or something may do.

    offered = await offer(services, caller, body.totp_code)     the attempt is counted, in a unit of work of its own
    confirm(c, caller, offered, master=..., now_ms=...)         in the unit of work that widens, after its other checks

Guarantees: of a session ended meanwhile, of a user without an authenticator, during the hold after a change of password
or authenticator, and without a right code that was not used, nothing is confirmed; the code is used up in the unit of
work that widens, so that it never confirms two things, and a refusal of that unit of work leaves it unused; guesses are
bounded as those of signing in are (`lockout`), whatever becomes of the unit of work.
Not here: what is widening. Narrowing, revoking and removing need none of this, only `caller.check_open`.
"""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from sqlalchemy import Connection

from service.accounts import lockout, users
from service.accounts.lockout import Attempt
from service.auth.secrets import MasterKey
from service.auth.session_caller import SessionCaller
from service.build import Services
from service.errors import ApiError

TotpCode = Annotated[str, Field(pattern=r"^[0-9]{6}$", examples=["492039"])]
"""The form of `totp_code` in a body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A code whose attempt is counted, and that nobody has looked at yet."""

    attempt: Attempt
    code: str = field(repr=False)


async def offer(services: Services, caller: SessionCaller, code: str | None) -> Offered | None:
    """Count the attempt; None where no code is given, or none will be looked at. Raises: ApiError: sign_in_locked."""
    now_ms = services.clock.now_ms()
    if code is None or now_ms < caller.held_until_ms or not caller.has_totp:
        # `confirm` refuses whatever the code is: nothing can be guessed, and who is right must not be locked out.
        return None
    attempt = await services.db.run(
        lambda c: lockout.begin(c, caller.name, address=caller.client_ip, master=services.master, now_ms=now_ms)
    )
    return Offered(attempt=attempt, code=code)


def confirm(
    c: Connection,
    caller: SessionCaller,
    offered: Offered | None,
    *,
    master: MasterKey,
    now_ms: int,
    what: str = "this",
) -> None:
    """Use the code up. The row is read here: what the caller was when the request came may have changed.

    `what` is what needs it, for the person who is asked for a code.

    Raises:
        ApiError: session_ended, totp_required, held, totp_code_wrong.
    """
    caller.check_open(c)
    credential = users.credential_of(c, caller.user_id, master=master)
    if credential is None or not credential.has_totp:
        raise ApiError("totp_required", f"{what} needs an authenticator, and none is set up")
    credential.check_not_held(now_ms)
    if offered is None:
        raise ApiError("totp_required", f"{what} needs the authenticator's code in `totp_code`")
    try:
        users.use_totp(c, credential, code=offered.code, master=master, now_ms=now_ms)
    except ApiError as exc:
        # Not 401: the session is right, and a client must not sign out for it.
        raise ApiError("totp_code_wrong", "the code is wrong, or was used") from exc
    lockout.succeed(c, offered.attempt, now_ms=now_ms)
