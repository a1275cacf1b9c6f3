"""Whoever has an owner's session and a code gains nothing within a day, and nobody who is new does: what they bring in
can be undone for that long, by an owner whom they cannot remove."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select, update

from service.accounts import invitations, people, sessions, users
from service.accounts.people import SEASONED_MS, Role
from service.db.models import audit_entries, memberships
from tests.service.api import code_of
from tests.service.approvals.scene import Scene, scene
from tests.service.auth.seed import DAY_MS


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    """Ann and Ben own the account, Cleo approves, Tom trades, Vic looks; Eve is nobody there."""
    async with scene(tmp_path) as made:
        yield made


async def change(
    at: Scene, method: str, whom: str, body: dict[str, Any] | None = None, *, by: str, coded: bool
) -> httpx.Response:
    """Another role or none, with a fresh code or without one."""
    whole = (body or {}) | ({"totp_code": at.code(by)} if coded else {})
    return await at.ask(method, f"/v1/members/{at.user_ids[whom]}", whole or None, by=by)


async def add(at: Scene, whom: str, role: str, *, by: str) -> httpx.Response:
    return await at.ask("POST", "/v1/members", {"user": whom, "role": role, "totp_code": at.code(by)}, by=by)


async def roles(at: Scene) -> dict[str, Role]:
    def read(c: Connection) -> dict[str, Role]:
        found = {one.user_id: one.role for one in people.members(c, at.account_id, master=at.master)}
        return {name: found[user_id] for name, user_id in at.user_ids.items() if user_id in found}

    return await at.service.services.db.read(read)


@pytest.mark.parametrize("victim", ["ann", "ben", "cleo"])
@pytest.mark.parametrize(("method", "body"), [("DELETE", None), ("PATCH", {"role": "viewer"})])
async def test_a_session_alone_takes_no_owner_or_approver_away(
    at: Scene, victim: str, method: str, body: dict[str, Any] | None
) -> None:
    before = await roles(at)
    assert code_of(await change(at, method, victim, body, by="ann", coded=False)) == "totp_required"
    assert await roles(at) == before
    assert (await change(at, method, victim, body, by="ann", coded=True)).status_code == 200
    assert await roles(at) != before


@pytest.mark.parametrize("victim", ["ann", "ben", "cleo"])
@pytest.mark.parametrize(("method", "body"), [("DELETE", None), ("PATCH", {"role": "viewer"})])
async def test_an_owner_of_less_than_a_day_takes_no_owner_or_approver_away(
    at: Scene, victim: str, method: str, body: dict[str, Any] | None
) -> None:
    assert (await add(at, "eve", "owner", by="ann")).status_code == 201
    assert code_of(await change(at, method, victim, body, by="eve", coded=True)) == "role_denied"
    assert (await roles(at))[victim] in (Role.OWNER, Role.APPROVER)
    at.service.clock.advance_ms(SEASONED_MS)
    assert (await change(at, method, victim, body, by="eve", coded=True)).status_code == 200


async def test_an_owner_of_less_than_a_day_lets_nobody_in_and_raises_nobody(at: Scene) -> None:
    assert (await add(at, "eve", "owner", by="ann")).status_code == 201
    await at.person("mal", None)
    assert code_of(await add(at, "mal", "viewer", by="eve")) == "role_denied"
    invite = {"role": "viewer", "totp_code": at.code("eve")}
    assert code_of(await at.ask("POST", "/v1/invitations", invite, by="eve")) == "role_denied"
    assert code_of(await change(at, "PATCH", "vic", {"role": "approver"}, by="eve", coded=True)) == "role_denied"
    assert "mal" not in await roles(at)


async def test_two_new_owners_together_are_no_more_than_one(at: Scene) -> None:
    for name in ("eve", "mal"):
        if name == "mal":
            await at.person(name, None)
        assert (await add(at, name, "owner", by="ann")).status_code == 201
    for by, victim in (("eve", "ann"), ("mal", "ben"), ("eve", "mal")):
        assert code_of(await change(at, "DELETE", victim, by=by, coded=True)) == "role_denied"
    withdrawal = await at.withdrawal(asked_by="eve")
    assert code_of(await at.approve(withdrawal.id, by="mal")) == "role_denied"


async def test_owners_do_not_hand_the_account_to_somebody_new(at: Scene) -> None:
    """With two codes and a session, whoever has them could else leave the account to one of theirs."""
    assert (await change(at, "DELETE", "ben", by="ann", coded=True)).status_code == 200
    assert (await add(at, "eve", "owner", by="ann")).status_code == 201
    for method, body in (("DELETE", None), ("PATCH", {"role": "viewer"})):
        assert code_of(await change(at, method, "ann", body, by="ann", coded=True)) == "last_owner"
    at.service.clock.advance_ms(SEASONED_MS)
    assert code_of(await change(at, "DELETE", "ann", by="ann", coded=False)) == "totp_required"
    assert (await change(at, "DELETE", "ann", by="ann", coded=True)).status_code == 200


async def test_a_new_member_is_removed_without_a_code_also_during_the_hold(at: Scene) -> None:
    """The owner who noticed and set another password must not have to wait until the new one has been there as long."""
    assert (await add(at, "eve", "owner", by="ann")).status_code == 201

    def hold(c: Connection) -> None:
        credential = users.credential_of(c, at.user_ids["ben"], master=at.master)
        assert credential is not None
        now_ms = at.service.clock.now_ms()
        [mine] = sessions.list_of(c, credential.user_id, master=at.master, now_ms=now_ms, idle_ms=DAY_MS).intact
        users.set_password(c, credential, password_hash="x", keep=mine.id, master=at.master, now_ms=now_ms)

    await at.service.services.db.run(hold)
    assert code_of(await change(at, "DELETE", "ann", by="ben", coded=True)) == "held"
    assert (await change(at, "DELETE", "eve", by="ben", coded=False)).status_code == 200
    assert "eve" not in await roles(at)


async def test_another_role_begins_the_day_anew(at: Scene) -> None:
    assert (await change(at, "PATCH", "vic", {"role": "owner"}, by="ann", coded=True)).status_code == 200
    assert code_of(await change(at, "DELETE", "ann", by="vic", coded=True)) == "role_denied"


@pytest.mark.parametrize("by", ["tom", "vic", "cleo"])
async def test_a_trader_viewer_or_approver_takes_nobody_away_and_leaves_freely(at: Scene, by: str) -> None:
    for victim in ("ann", "ben", "cleo", "tom", "vic"):
        if victim != by:
            assert code_of(await change(at, "DELETE", victim, by=by, coded=True)) == "role_denied"
    assert code_of(await change(at, "PATCH", by, {"role": "owner"}, by=by, coded=True)) == "role_denied"
    assert (await change(at, "DELETE", by, by=by, coded=False)).status_code == 200


async def test_owners_see_who_is_new_and_who_brought_them(at: Scene) -> None:
    now_ms = at.service.clock.now_ms() + 30_000
    assert (await add(at, "eve", "owner", by="ann")).status_code == 201
    found = (await at.ask("GET", "/v1/members", by="ben")).json()["members"]
    assert {one["user"]: one["new_until_ms"] for one in found}["eve"] == now_ms + SEASONED_MS
    assert {one["user"] for one in found if one["new_until_ms"] is None} >= {"ann", "ben", "cleo", "tom", "vic"}
    told = (await at.ask("GET", "/v1/audit", by="ben")).json()["entries"][0]
    assert (told["act"], told["actor"].partition(":")[0], told["subject"]) == (
        "member.add", "ann", str(at.user_ids["eve"])
    )  # fmt: skip


async def test_another_password_ends_the_invitations_that_somebody_gave_out_in_the_users_name(at: Scene) -> None:
    body = {"role": "owner", "totp_code": at.code("ann")}
    given = (await at.ask("POST", "/v1/invitations", body, by="ann")).json()["invitation"]
    others = (await at.ask("POST", "/v1/invitations", body | {"totp_code": at.code("ben")}, by="ben")).json()

    def set_password(c: Connection) -> None:
        now_ms = at.service.clock.now_ms()
        reset = invitations.create(c, at.user_ids["ann"], master=at.master, now_ms=now_ms)
        credential = users.credential_of(c, at.user_ids["ann"], master=at.master)
        assert credential is not None
        users.set_password(c, credential, password_hash="x", keep=None, master=at.master, now_ms=now_ms)
        with pytest.raises(Exception, match="none, was used, or is too old"):
            invitations.use(c, reset, master=at.master, now_ms=now_ms)

    await at.service.services.db.run(set_password)
    join = await at.ask("POST", "/v1/memberships", {"invitation": given}, by="eve")
    assert code_of(join) == "invitation_invalid"
    join = await at.ask("POST", "/v1/memberships", {"invitation": others["invitation"]}, by="eve")
    assert join.status_code == 201


async def test_a_refused_removal_leaves_no_entry_and_no_change(at: Scene) -> None:
    def count(c: Connection) -> int:
        acts = c.execute(select(audit_entries.c.act).where(audit_entries.c.chain == at.account_id)).scalars()
        return sum(act.startswith("member.") for act in acts)

    before = await at.service.services.db.read(count)
    assert code_of(await change(at, "DELETE", "ben", by="ann", coded=False)) == "totp_required"
    assert await at.service.services.db.read(count) == before


async def account_of(at: Scene, owner: str) -> int:
    """Another account, founded now by that person."""
    now_ms = at.service.clock.now_ms()
    made = await at.service.services.db.run(
        lambda c: people.ensure_account(c, "second", owner=owner, master=at.master, now_ms=now_ms)
    )
    return made.id


async def add_to_second(at: Scene, whom: str, role: str, *, by: str) -> httpx.Response:
    body = {"account": "second", "user": whom, "role": role, "totp_code": at.code(by)}
    return await at.ask("POST", "/v1/members", body, by=by)


async def test_who_founds_an_account_lets_somebody_in_on_the_first_day_and_who_is_let_in_nobody(at: Scene) -> None:
    """There is nobody whom the founder could stand against."""
    await account_of(at, "eve")

    assert (await add_to_second(at, "ben", "owner", by="eve")).status_code == 201
    invited = {"account": "second", "role": "viewer", "totp_code": at.code("eve")}
    assert (await at.ask("POST", "/v1/invitations", invited, by="eve")).status_code == 201
    refused = await add_to_second(at, "cleo", "approver", by="ben")
    assert (code_of(refused), "24 h more" in refused.json()["detail"]) == ("role_denied", True)
    listed = (await at.ask("GET", "/v1/members?account=second", by="eve")).json()["members"]
    assert [one["user"] for one in listed if one["new_until_ms"] is None] == ["eve"]
    # Whom the founder let in takes nobody away, and the founder does.
    assert (await add_to_second(at, "cleo", "approver", by="eve")).status_code == 201
    gone = {"account": "second", "role": "viewer", "totp_code": at.code("ben")}
    assert code_of(await at.ask("PATCH", f"/v1/members/{at.user_ids['cleo']}", gone, by="ben")) == "role_denied"
    path = f"/v1/members/{at.user_ids['cleo']}?account=second"
    assert code_of(await at.ask("DELETE", path, {"totp_code": at.code("ben")}, by="ben")) == "role_denied"
    assert (await at.ask("DELETE", path, by="eve")).status_code == 200


async def test_a_name_that_cannot_sign_in_stands_before_nobody(at: Scene) -> None:
    """`cambist init` makes an account of a name; who claims it is its first person."""
    account_id, clock = await account_of(at, "nobody"), at.service.clock
    clock.advance_ms(1)

    def write(c: Connection) -> None:
        user_id, now_ms = at.user_ids["eve"], clock.now_ms()
        people.add_member(c, user_id, account_id=account_id, role=Role.OWNER, master=at.master, now_ms=now_ms)

    await at.service.services.db.run(write)
    assert (await add_to_second(at, "ben", "viewer", by="eve")).status_code == 201


async def test_a_membership_that_was_altered_makes_nobody_the_first(at: Scene) -> None:
    account_id = await account_of(at, "ben")
    assert (await add_to_second(at, "eve", "owner", by="ben")).status_code == 201
    altered = update(memberships).where(memberships.c.account_id == account_id)
    ben = memberships.c.user_id == at.user_ids["ben"]
    await at.service.services.db.run(lambda c: c.execute(altered.where(ben).values(created_ms=2**52)))
    assert code_of(await add_to_second(at, "vic", "approver", by="eve")) == "role_denied"
