"""Who belongs to an account, in the database of both kinds; and the first user of an installation."""

import asyncio
from pathlib import Path

import httpx
import orjson
import pytest
from sqlalchemy import Connection

from service.accounts import invitations, joining, memberships, people, users
from service.accounts.people import SEASONED_MS, Role, ensure_account
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.errors import ApiError
from tests.service.accounts.test_sign_in_api import PASSWORD, token_of
from tests.service.api import Api, api, code_of
from tests.service.books_seed import NOW_MS

MASTER = MasterKey()
LATER_MS = NOW_MS + SEASONED_MS


def two_owners(c: Connection) -> tuple[int, list[int]]:
    """An account and its owners, who can sign in."""
    account = ensure_account(c, "main", owner="ada", master=MASTER, now_ms=NOW_MS)
    ids: list[int] = []
    for name in ("ada", "bob"):
        user = users.user_named(c, name) or users.insert_user(c, name, now_ms=NOW_MS)
        users.make_credential(c, user, password_hash="none", master=MASTER, now_ms=NOW_MS)
        ids.append(user.id)
    people.add_member(c, ids[1], account_id=account.id, role=Role.OWNER, master=MASTER, now_ms=NOW_MS)
    return account.id, ids


async def test_of_two_owners_who_leave_at_once_one_stays(db: Database) -> None:
    account_id, ids = await db.run(two_owners)

    def leave(user_id: int) -> object:
        return db.run(lambda c: joining.remove(c, account_id, user_id=user_id, master=MASTER, now_ms=LATER_MS))

    done = await asyncio.gather(*(leave(one) for one in ids), return_exceptions=True)  # type: ignore[call-overload]
    refused = [one for one in done if isinstance(one, ApiError)]
    assert [one.code for one in refused] == ["last_owner"]
    left = await db.read(lambda c: people.members(c, account_id, master=MASTER))
    assert [one.role for one in left] == [Role.OWNER]


async def test_accounts_of_a_user_are_those_with_a_role(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        account_id, [ada, bob] = two_owners(c)
        other = ensure_account(c, "second", owner="eve", master=MASTER, now_ms=NOW_MS)
        joining.set_role(c, account_id, user_id=bob, role=Role.VIEWER, master=MASTER, now_ms=LATER_MS)
        joining.add(c, other.id, user_id=bob, role=Role.APPROVER, master=MASTER, now_ms=NOW_MS)
        found = memberships.accounts_of(c, bob, master=MASTER)
        assert [(one.account.name, one.role) for one in found] == [("main", Role.VIEWER), ("second", Role.APPROVER)]
        assert memberships.role_in(c, ada, account_id, master=MASTER) is Role.OWNER
        assert memberships.role_in(c, ada, other.id, master=MASTER) is None

    await sqlite_db.run(work)


async def register(service: Api, name: str, invitation: str | None) -> httpx.Response:
    body = {"name": name, "password": PASSWORD} | ({} if invitation is None else {"invitation": invitation})
    headers = {"content-type": "application/json"}
    return await service.client.post("/v1/auth/register", content=orjson.dumps(body), headers=headers)


async def by_operator(service: Api) -> str:
    services = service.services
    return await services.db.run(
        lambda c: invitations.create(c, None, master=services.master, now_ms=services.clock.now_ms())
    )


async def accounts_of(service: Api, name: str) -> list[dict[str, str]]:
    token = await token_of(service, name=name)
    headers = {"authorization": f"Bearer {token}"}
    return list((await service.client.get("/v1/auth/me", headers=headers)).json()["accounts"])


async def test_the_first_user_whom_the_operator_invites_owns_the_account_with_the_wallets(tmp_path: Path) -> None:
    """`main` and its wallet were made by the operator; Ada is its owner by name, and cannot sign in."""
    async with api(tmp_path) as service:
        made = await register(service, "zoe", await by_operator(service))
        assert made.json()["owns_installation"] is True
        assert await accounts_of(service, "zoe") == [{"account": "main", "role": "owner"}]
        # The second has an account of their own, and nothing of the first.
        await register(service, "yan", await by_operator(service))
        assert await accounts_of(service, "yan") == [{"account": "yan", "role": "owner"}]


async def test_whoever_comes_first_without_an_invitation_gets_no_account_of_others(tmp_path: Path) -> None:
    async with api(tmp_path, registration="open") as service:
        await register(service, "eve", None)
        assert await accounts_of(service, "eve") == [{"account": "eve", "role": "owner"}]
        await register(service, "zoe", await by_operator(service))
        assert await accounts_of(service, "zoe") == [{"account": "zoe", "role": "owner"}]


@pytest.mark.parametrize(("rule", "expected"), [("invited", "registration_closed"), ("open", None)])
async def test_an_account_owners_invitation_registers_users_where_that_is_open(
    tmp_path: Path, rule: str, expected: str | None
) -> None:
    async with api(tmp_path, registration=rule) as service:
        services = service.services

        def into(c: Connection, inviter: str) -> str:
            mine = joining.user_id_of(c, inviter)
            account = memberships.accounts_of(c, mine, master=services.master)[0].account
            into = invitations.Into(account_id=account.id, role=Role.VIEWER, invited_by=mine)
            return joining.invite(c, into, master=services.master, now_ms=services.clock.now_ms())

        await register(service, "zoe", await by_operator(service))
        await register(service, "yan", await by_operator(service))
        answer = await register(service, "new", await services.db.run(lambda c: into(c, "yan")))
        assert (code_of(answer) if answer.is_error else None) == expected
        # The installation's owner invites in either case.
        answer = await register(service, "newer", await services.db.run(lambda c: into(c, "zoe")))
        assert answer.status_code == 201, answer.text
