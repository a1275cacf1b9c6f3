"""Who belongs to an account, over HTTP: every role, what each change needs, and what it takes away."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, select, update

from service.accounts import invitations, joining, people, users
from service.accounts.memberships import widens
from service.accounts.people import SEASONED_MS, Role
from service.accounts.wallets import list_wallets
from service.auth import keys
from service.auth.keys import Permission
from service.db.models import audit_entries, memberships
from tests.service.accounts.test_sign_in_api import PASSWORD
from tests.service.addresses.scene import Scene, scene
from tests.service.api import code_of
from tests.service.auth.seed import new_key


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path, registration="open") as found:
        yield found


async def add(ada: Scene, user: str, role: str, **more: Any) -> Any:
    body = {"user": user, "role": role, "totp_code": ada.service.totp_code(), **more}
    return await ada.ask("POST", "/v1/members", {k: v for k, v in body.items() if v is not None})


async def roles(ada: Scene) -> dict[str, str]:
    found = (await ada.ask("GET", "/v1/members?account=main")).json()
    return {one["user"]: one["role"] for one in found["members"]}


async def id_of(ada: Scene, name: str) -> int:
    return await ada.service.services.db.read(lambda c: joining.user_id_of(c, name))


async def acts(ada: Scene) -> list[str]:
    def read(c: Connection) -> list[str]:
        mine = select(audit_entries.c.act).where(audit_entries.c.chain == 1).order_by(audit_entries.c.seq)
        return [act for act in c.execute(mine).scalars() if act.startswith("member.")]

    return await ada.service.services.db.read(read)


async def key_by(ada: Scene, user_id: int, label: str, *permissions: Permission) -> str:
    """A key of the account that this user made."""
    services = ada.service.services

    def write(c: Connection) -> str:
        [wallet] = list_wallets(c, 1, master=services.master)
        new = replace(new_key(wallet, *permissions, label=label), made_by=user_id, expires_ms=None)
        if Permission.WITHDRAW in permissions:
            new = replace(new, expires_ms=services.clock.now_ms() + 3_600_000)
        return keys.create_key(c, new, master=services.master, now_ms=services.clock.now_ms()).key.id

    return await services.db.run(write)


async def revoked(ada: Scene) -> set[str]:
    services = ada.service.services
    found = await services.db.read(lambda c: keys.list_keys(c, 1, master=services.master))
    return {key.id for key in found if key.revoked_ms is not None and key.label != "revoked"}


async def test_a_member_is_added_by_name_with_a_code(ada: Scene) -> None:
    await ada.person("bob")
    assert code_of(await add(ada, "bob", "viewer", totp_code=None)) == "totp_required"
    assert code_of(await add(ada, "bob", "viewer", totp_code="000000")) == "totp_code_wrong"
    made = await add(ada, "bob", "viewer")
    assert made.status_code == 201, made.text
    assert (made.json()["user"], made.json()["role"], made.json()["is_you"]) == ("bob", "viewer", False)
    assert await roles(ada) == {"ada": "owner", "bob": "viewer"}
    assert code_of(await add(ada, "bob", "owner")) == "member_exists"
    assert code_of(await add(ada, "nobody", "viewer")) == "user_not_found"
    assert await acts(ada) == ["member.add"]


async def test_a_role_that_allows_more_needs_a_code_and_so_does_one_that_takes_a_watch(ada: Scene) -> None:
    changes, watch = 0, {Role.OWNER, Role.APPROVER}
    for before in Role:
        for after in Role:
            name = f"{before}-{after}"
            await ada.person(name, role=before)
            path = f"/v1/members/{await id_of(ada, name)}"
            answer = await ada.ask("PATCH", path, {"role": str(after)})
            if widens(before, after) or (before in watch and after is not before):
                assert code_of(answer) == "totp_required"
                assert (await roles(ada))[name] == before
                answer = await ada.ask("PATCH", path, {"role": str(after), "totp_code": ada.service.totp_code()})
            assert answer.status_code == 200, answer.text
            assert (await roles(ada))[name] == after
            changes += before is not after
    assert await acts(ada) == ["member.change"] * changes


def test_a_role_allows_more_than_another_or_not() -> None:
    narrower = [(a, b) for a in Role for b in Role if a is not b and not widens(a, b)]
    assert set(narrower) == {
        *((Role.OWNER, other) for other in (Role.TRADER, Role.APPROVER, Role.VIEWER)),
        (Role.TRADER, Role.VIEWER),
        (Role.APPROVER, Role.VIEWER),
    }
    assert all(widens(None, role) for role in Role)


async def test_a_removed_members_keys_end_and_nobody_elses(ada: Scene) -> None:
    bob = await ada.person("bob", role=Role.OWNER)
    bob_id = await id_of(ada, "bob")
    mine = await key_by(ada, await id_of(ada, "ada"), "adas", Permission.TRADE)
    theirs = {
        await key_by(ada, bob_id, "trades", Permission.TRADE),
        await key_by(ada, bob_id, "withdraws", Permission.WITHDRAW),
    }
    answer = await ada.ask("DELETE", f"/v1/members/{bob_id}", {"totp_code": ada.service.totp_code()})
    assert set(answer.json()["revoked_keys"]) == theirs == await revoked(ada)
    assert mine not in await revoked(ada)
    assert code_of(await ada.ask("GET", "/v1/members?account=main", token=bob)) == "account_not_found"
    assert await acts(ada) == ["member.remove"]


@pytest.mark.parametrize(
    ("role", "ended"),
    [("trader", {"withdraws"}), ("approver", {"trades", "withdraws"}), ("viewer", {"trades", "withdraws"})],
)
async def test_a_lower_role_ends_the_keys_that_it_does_not_allow(ada: Scene, role: str, ended: set[str]) -> None:
    await ada.person("bob", role=Role.OWNER)
    bob_id = await id_of(ada, "bob")
    made = {
        "trades": await key_by(ada, bob_id, "trades", Permission.TRADE),
        "withdraws": await key_by(ada, bob_id, "withdraws", Permission.WITHDRAW),
    }
    body = {"role": role, "totp_code": ada.service.totp_code()}
    answer = await ada.ask("PATCH", f"/v1/members/{bob_id}", body)
    assert answer.status_code == 200, answer.text
    assert await revoked(ada) == {made[name] for name in ended} == set(answer.json()["revoked_keys"])


async def test_an_account_keeps_an_owner_who_can_sign_in(ada: Scene) -> None:
    ada_id = await id_of(ada, "ada")
    services = ada.service.services

    def name_only(c: Connection) -> None:
        user = users.insert_user(c, "ghost", now_ms=1)
        people.add_member(c, user.id, account_id=1, role=Role.OWNER, master=services.master, now_ms=1)

    await services.db.run(name_only)
    assert code_of(await ada.ask("DELETE", f"/v1/members/{ada_id}")) == "last_owner"
    assert code_of(await ada.ask("PATCH", f"/v1/members/{ada_id}", {"role": "viewer"})) == "last_owner"
    code = {"totp_code": ada.service.totp_code()}
    await ada.person("bob", role=Role.OWNER, joined_ago_ms=SEASONED_MS - 1)
    assert code_of(await ada.ask("DELETE", f"/v1/members/{ada_id}", code)) == "last_owner"
    ada.service.clock.advance_ms(1)
    assert (await ada.ask("DELETE", f"/v1/members/{ada_id}", code)).status_code == 200


@pytest.mark.parametrize("role", list(Role))
async def test_every_member_sees_only_owners_change_and_anyone_leaves(ada: Scene, role: Role) -> None:
    bob = await ada.person("bob", role=role)
    await ada.person("cleo", role=Role.VIEWER)
    cleo, own = await id_of(ada, "cleo"), await id_of(ada, "bob")
    seen = await ada.ask("GET", "/v1/members", token=bob)
    assert {one["user"] for one in seen.json()["members"]} == {"ada", "bob", "cleo"}
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", "/v1/members", {"user": "dan", "role": "viewer"}),
        ("PATCH", f"/v1/members/{cleo}", {"role": "trader"}),
        ("POST", "/v1/invitations", {"role": "viewer"}),
        ("DELETE", "/v1/invitations/0123456789abcdef", None),
        ("DELETE", f"/v1/members/{cleo}", None),
    ]
    passing = {"user_not_found", "totp_required", "invitation_not_found", None}
    for method, path, body in calls:
        answer = await ada.ask(method, path, body, token=bob)
        code = code_of(answer) if answer.is_error else None
        assert code in passing if role is Role.OWNER else code == "role_denied", (method, path, code)
    left = await ada.ask("DELETE", f"/v1/members/{own}", token=bob)
    # An owner takes a watch away from the account with that, and Bob has no authenticator.
    assert code_of(left) == "totp_required" if role is Role.OWNER else left.status_code == 200
    assert ("bob" in await roles(ada)) is (role is Role.OWNER)


async def test_another_account_is_answered_as_if_it_did_not_exist(ada: Scene) -> None:
    eve = await ada.person("eve")
    ada_id = await id_of(ada, "ada")
    for account in ("main", "nothing"):
        for method, path, body in (
            ("GET", f"/v1/members?account={account}", None),
            ("DELETE", f"/v1/members/{ada_id}?account={account}", None),
            ("PATCH", f"/v1/members/{ada_id}", {"role": "viewer", "account": account}),
        ):
            assert code_of(await ada.ask(method, path, body, token=eve)) == "account_not_found"
    # In Eve's own account Ada is no member, as nobody is.
    for user_id in (ada_id, 999_999):
        assert code_of(await ada.ask("DELETE", f"/v1/members/{user_id}", token=eve)) == "member_not_found"


async def invited(ada: Scene, role: str = "trader") -> dict[str, Any]:
    body = {"role": role, "totp_code": ada.service.totp_code()}
    answer = await ada.ask("POST", "/v1/invitations", body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_user_joins_with_an_invitation_once(ada: Scene) -> None:
    eve, dan = await ada.person("eve"), await ada.person("dan")
    token = {"invitation": (await invited(ada))["invitation"]}
    [waiting] = (await ada.ask("GET", "/v1/members")).json()["invitations"]
    assert (waiting["role"], waiting["id"]) == ("trader", invitations.id_of(token["invitation"]))
    assert (await ada.ask("POST", "/v1/memberships", token, token=eve)).json() == {"account": "main", "role": "trader"}
    assert code_of(await ada.ask("POST", "/v1/memberships", token, token=dan)) == "invitation_invalid"
    assert await roles(ada) == {"ada": "owner", "eve": "trader"}
    assert (await ada.ask("GET", "/v1/members")).json()["invitations"] == []
    assert await acts(ada) == ["member.invite", "member.join"]


async def register(ada: Scene, name: str, invitation: str) -> Any:
    body = orjson.dumps({"name": name, "password": PASSWORD, "invitation": invitation})
    headers = {"content-type": "application/json"}
    return await ada.service.client.post("/v1/auth/register", content=body, headers=headers)


async def test_who_registers_with_an_invitation_belongs_to_that_account_alone(ada: Scene) -> None:
    made = await register(ada, "zoe", (await invited(ada, "viewer"))["invitation"])
    assert made.status_code == 201, made.text
    assert (await roles(ada))["zoe"] == "viewer"
    zoe = await ada.person("zoe")
    me = (await ada.ask("GET", "/v1/auth/me", token=zoe)).json()
    assert me["accounts"] == [{"account": "main", "role": "viewer"}]


async def test_an_invitation_taken_back_or_of_somebody_who_is_no_owner_any_more_does_not_work(ada: Scene) -> None:
    eve = await ada.person("eve")
    first = await invited(ada)
    shown = invitations.id_of(first["invitation"])
    assert (await ada.ask("DELETE", f"/v1/invitations/{shown}")).status_code == 200
    assert code_of(await ada.ask("POST", "/v1/memberships", {"invitation": first["invitation"]}, token=eve)) == (
        "invitation_invalid"
    )
    second = await invited(ada, "owner")
    await ada.person("bob", role=Role.OWNER)
    body = {"role": "viewer", "totp_code": ada.service.totp_code()}
    assert (await ada.ask("PATCH", f"/v1/members/{await id_of(ada, 'ada')}", body)).status_code == 200
    answer = await ada.ask("POST", "/v1/memberships", {"invitation": second["invitation"]}, token=eve)
    assert code_of(answer) == "invitation_invalid"
    assert "eve" not in await roles(ada)


async def test_an_invitation_to_register_makes_nobody_a_member(ada: Scene) -> None:
    services, eve = ada.service.services, await ada.person("eve")
    now_ms = services.clock.now_ms()
    token = await services.db.run(lambda c: invitations.create(c, None, master=services.master, now_ms=now_ms))
    assert code_of(await ada.ask("POST", "/v1/memberships", {"invitation": token}, token=eve)) == "invitation_invalid"
    # It was not used up by that.
    assert (await register(ada, "yan", token)).status_code == 201


async def test_members_invitations_and_accounts_of_a_user_are_bounded(
    ada: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ada.person("bob")
    for limit in ("MAX_MEMBERS", "MAX_ACCOUNTS"):
        with monkeypatch.context() as patch:
            patch.setattr(joining, limit, 1)
            assert code_of(await add(ada, "bob", "viewer")) == "too_many"
    monkeypatch.setattr(joining, "MAX_INVITATIONS", 1)
    await invited(ada)
    body = {"role": "viewer", "totp_code": ada.service.totp_code()}
    assert code_of(await ada.ask("POST", "/v1/invitations", body)) == "too_many"


@pytest.mark.parametrize("forged", [{"role": "owner"}, {"user_id": 1}])
async def test_a_membership_edited_or_copied_in_the_database_grants_nothing(ada: Scene, forged: dict[str, Any]) -> None:
    """F79."""
    eve = await ada.person("eve")
    eve_id = await id_of(ada, "eve")
    if "user_id" in forged:
        forged = {"user_id": eve_id, "account_id": 1} | {"role": "owner"}

        def copy(c: Connection) -> None:
            c.execute(memberships.delete().where(memberships.c.user_id == eve_id))
            row = dict(c.execute(select(memberships)).mappings().one())
            c.execute(memberships.insert(), row | forged)

        await ada.service.services.db.run(copy)
    else:
        await ada.person("eve", role=Role.VIEWER)
        mine = (memberships.c.user_id == eve_id, memberships.c.account_id == 1)

        def edit(c: Connection) -> None:
            c.execute(update(memberships).where(*mine).values(forged))

        await ada.service.services.db.run(edit)
    answer = await ada.ask("GET", "/v1/members?account=main", token=eve)
    assert code_of(answer) == "record_tampered"
