"""People of a `Stack`: who signs in, with a role in its account and an authenticator."""

from dataclasses import dataclass
from typing import Final

import httpx
from sqlalchemy import Connection

from service.accounts import sessions, totp, users
from service.accounts.people import Role, User, add_member, membership_of
from service.accounts.sessions import Carrier, Lifetimes
from service.auth.secrets import MasterKey
from service.ids import new_id
from tests.e2e.harness import Stack

HOUR_MS: Final = 3_600_000


@dataclass(slots=True, kw_only=True)
class Person:
    """Somebody with a session, and the seed of an authenticator that is in use."""

    stack: Stack
    user_id: int
    token: str
    seed: bytes
    used_step: int = 0

    async def ask(self, method: str, target: str, *, body: bytes = b"") -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        if body:
            headers["content-type"] = "application/json"
        return await self.stack.client.request(method, target, content=body, headers=headers)

    def totp_code(self) -> str:
        """A code that was not used. Of the next step, then of the one after the last used: within the window twice."""
        self.used_step = max(self.used_step + 1, totp.step_at(self.stack.services.clock.now_ms()))
        return totp.code_at(self.seed, self.used_step)


def signed_in(
    c: Connection, user: User, *, session_id: str, lasts_ms: int, master: MasterKey, now_ms: int
) -> tuple[str, bytes]:
    """A session's token, and the seed of the authenticator; the hold after setting that up is long over."""
    long_ago_ms = now_ms - 3 * users.HOLD_MS
    credential = users.credential_of(c, user.id, master=master)
    if credential is None:
        credential = users.make_credential(c, user, password_hash="none", master=master, now_ms=long_ago_ms)
    seed = users.begin_totp(c, credential, master=master, now_ms=long_ago_ms)
    begun = users.credential_of(c, user.id, master=master)
    assert begun is not None
    code = totp.code_at(seed, totp.step_at(long_ago_ms))
    users.confirm_totp(c, begun, code=code, keep="", master=master, now_ms=long_ago_ms)
    _, token = sessions.create(
        c,
        session_id,
        user_id=user.id,
        carrier=Carrier.BEARER,
        lifetimes=Lifetimes(absolute_ms=lasts_ms, idle_ms=lasts_ms),
        client_ip="127.0.0.1",
        agent="",
        master=master,
        now_ms=now_ms,
    )
    return token, seed


async def person(stack: Stack, name: str = "tester", role: Role = Role.OWNER) -> Person:
    """That user with the role in the stack's account, signed in, the hold after setting up long over."""
    services, master = stack.services, stack.services.master
    now_ms, session_id = services.clock.now_ms(), new_id(services.clock)

    def write(c: Connection) -> tuple[int, str, bytes]:
        user = users.user_named(c, name) or users.insert_user(c, name, now_ms=now_ms)
        if membership_of(c, user.id, account_id=stack.wallet.account_id, master=master) is None:
            add_member(
                c, user.id, account_id=stack.wallet.account_id, role=role, master=master, now_ms=now_ms
            )  # fmt: skip
        token, seed = signed_in(c, user, session_id=session_id, lasts_ms=HOUR_MS, master=master, now_ms=now_ms)
        return user.id, token, seed

    user_id, token, seed = await services.db.run(write)
    return Person(stack=stack, user_id=user_id, token=token, seed=seed)
