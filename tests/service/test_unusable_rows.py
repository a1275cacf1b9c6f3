"""F79 in lists: a row that somebody altered in the database grants nothing, is named, and hides none of the others."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, insert, select, text, update

from service.accounts import sessions
from service.accounts.people import Role
from service.addresses.storage import NewEntry, insert_entry, sift_entries
from service.auth import keys
from service.auth.authority import Tampered
from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import Operator
from service.db import models as m
from tests.service.api import code_of
from tests.service.approvals.scene import Scene, scene
from tests.service.books_seed import ETHEREUM, address_of

OPERATOR = Operator(name="root", uid=0)
ALTERED_KEYS = [
    "UPDATE api_keys SET expires_ms = expires_ms + 1 WHERE id = :id",
    "UPDATE api_keys SET ip_allowlist = 'no JSON' WHERE id = :id",
    "UPDATE api_keys SET created_ms = 1.5 WHERE id = :id",
    "UPDATE api_keys SET created_ms = 'when' WHERE id = :id",
    "UPDATE api_keys SET mac = 'text' WHERE id = :id",
    "UPDATE api_keys SET mac = 7 WHERE id = :id",
    "UPDATE api_keys SET label = 'another' WHERE id = :id",
]


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    """Ann and Ben own the account, Cleo approves, Tom trades, Vic looks."""
    async with scene(tmp_path) as made:
        yield made


async def sql(at: Scene, statement: str, **values: Any) -> None:
    await at.service.services.db.run(lambda c: c.execute(text(statement), values) and None)


async def audited(at: Scene) -> list[tuple[int, str, str]]:
    """Chain, table and name of the rows that the log tells of."""
    services = at.service.services
    await services.refusals.flush(services.db, services.master)

    def read(c: Connection) -> list[tuple[int, str, str]]:
        t = m.audit_entries.c
        found = select(t.chain, t.subject_kind, t.subject).where(t.act == "record.tampered").order_by(t.chain, t.seq)
        return [tuple(row) for row in c.execute(found)]

    return await services.db.read(read)


async def ids(at: Scene, target: str = "/v1/keys?account=main", *, by: str = "ann") -> tuple[set[str], list[str]]:
    answer = await at.ask("GET", target, by=by)
    assert answer.status_code == 200, answer.text
    return {one["key"] for one in answer.json()["keys"]}, answer.json()["unusable"]


@pytest.mark.parametrize("altered", ALTERED_KEYS)
async def test_an_altered_key_is_named_and_the_others_are_listed(at: Scene, altered: str) -> None:
    good, bad = await at.key("good", made_by="ann"), await at.key("bad", made_by="ann")
    await sql(at, altered, id=bad)
    listed, unusable = await ids(at)
    assert good in listed
    assert bad not in listed
    assert unusable == [bad]
    assert (await at.ask("GET", "/v1/key", by="good", key=True)).status_code == 200
    refused = await at.ask("GET", "/v1/key", by="bad", key=True)
    assert refused.status_code in (401, 500), refused.text
    await ids(at)
    assert await audited(at) == [(at.account_id, "api_keys", bad)]


async def test_a_key_with_an_altered_destination_is_unusable_as_a_whole(at: Scene) -> None:
    good, bad = await at.key("good", made_by="ann"), await at.key("bad", made_by="ann")
    await sql(at, "UPDATE key_destinations SET created_ms = 1 WHERE key_id = :id", id=bad)
    listed, unusable = await ids(at)
    assert good in listed
    assert unusable == [bad]


async def test_with_an_altered_key_there_keys_are_made_and_members_removed(at: Scene) -> None:
    bad, toms = await at.key("bad", made_by="ann"), await at.key("toms", made_by="tom")
    await sql(at, ALTERED_KEYS[0], id=bad)
    made = await at.ask("POST", "/v1/keys", {"label": "new", "permissions": ["read"]}, by="ann")
    assert made.status_code == 201, made.text
    removed = await at.ask("DELETE", f"/v1/members/{at.user_ids['tom']}", by="ann")
    assert (removed.status_code, removed.json()["revoked_keys"]) == (200, [toms])


async def test_the_operator_lists_revokes_and_pauses_with_an_altered_key_there(at: Scene) -> None:
    good, bad = await at.key("good", made_by=None), await at.key("bad", made_by=None)
    await sql(at, ALTERED_KEYS[1], id=bad)
    services = at.service.services
    listed = await perform(services, "key.list", {}, OPERATOR)
    assert good in {one["key"] for one in listed["keys"]}
    assert listed["unusable"] == [bad]
    with pytest.raises(ActFailed) as refused:
        await perform(services, "key.revoke", {"key": bad}, OPERATOR)
    assert refused.value.code == "record_tampered"
    assert (await perform(services, "key.revoke", {"key": "good"}, OPERATOR))["key"] == good
    paused = await perform(services, "panic.on", {"key": bad, "reason": "altered"}, OPERATOR)
    assert (paused["scope"], paused["subject"]) == ("key", bad)


async def test_an_altered_entry_is_no_destination_and_the_others_are(at: Scene) -> None:
    def add(c: Connection) -> list[int]:
        return [
            insert_entry(
                c,
                NewEntry(
                    account_id=at.account_id,
                    chain_id=ETHEREUM,
                    address=address_of(number),
                    name=f"n{number}",
                    is_contract=False,
                    added_by=None,
                    created_ms=1,
                    in_force_ms=1,
                ),
                master=at.master,
            ).id
            for number in (1_000, 2_000)
        ]

    good, bad = await at.service.services.db.run(add)
    await sql(at, "UPDATE book_entries SET address = :to WHERE id = :id", id=bad, to=bytes(19) + b"7")
    book = (await at.ask("GET", "/v1/addresses?account=main", by="ann")).json()
    assert [one["id"] for one in book["addresses"]] == [good]
    assert book["unusable"] == [str(bad)]
    found = await at.service.services.db.read(lambda c: sift_entries(c, at.account_id, master=at.master))
    assert [entry.address for entry in found.intact] == [address_of(1_000)]
    assert await audited(at) == [(at.account_id, "book_entries", str(bad))]


async def test_an_altered_membership_grants_nothing_and_hides_nobody(at: Scene) -> None:
    vic = at.user_ids["vic"]
    await sql(at, "UPDATE memberships SET role = 'owner' WHERE user_id = :id", id=vic)
    found = (await at.ask("GET", "/v1/members", by="ann")).json()
    assert {one["user"] for one in found["members"]} >= {"ann", "ben", "cleo", "tom"}
    assert "vic" not in {one["user"] for one in found["members"]}
    assert found["unusable"] == [str(vic)]
    for target in ("/v1/members", "/v1/members?account=main"):
        assert code_of(await at.ask("GET", target, by="vic")) == "record_tampered"
    assert (at.account_id, "memberships", str(vic)) in await audited(at)


async def test_an_altered_owner_does_not_count_as_the_one_who_stays(at: Scene) -> None:
    await sql(at, "UPDATE memberships SET created_ms = created_ms - 1 WHERE user_id = :id", id=at.user_ids["ben"])
    code = {"totp_code": at.code("ann")}
    left = await at.ask("DELETE", f"/v1/members/{at.user_ids['ann']}", code, by="ann")
    assert code_of(left) == "last_owner"


async def test_who_has_an_altered_membership_of_two_uses_the_other_by_its_name_alone(at: Scene) -> None:
    tom = at.user_ids["tom"]

    def second(c: Connection) -> None:
        sessions_of = m.accounts.insert().returning(m.accounts.c.id)
        account_id = c.execute(sessions_of, {"name": "second", "event_seq": 0, "created_ms": 1}).scalar_one()
        row = c.execute(select(m.memberships).where(m.memberships.c.user_id == tom)).mappings().one()
        c.execute(insert(m.memberships), dict(row) | {"account_id": account_id})

    await at.service.services.db.run(second)
    assert (await at.ask("GET", "/v1/members?account=main", by="tom")).status_code == 200
    assert code_of(await at.ask("GET", "/v1/members", by="tom")) == "account_required"
    assert code_of(await at.ask("GET", "/v1/members?account=second", by="tom")) == "record_tampered"
    me = (await at.ask("GET", "/v1/auth/me", by="tom")).json()
    assert me["accounts"] == [{"account": "main", "role": "trader"}]


async def test_an_altered_session_works_nowhere_is_listed_and_can_be_ended(at: Scene) -> None:
    await at.person("zoe", Role.VIEWER)
    zoe, token = at.user_ids["zoe"], at.tokens["zoe"]
    now_ms = at.service.clock.now_ms()

    def another(c: Connection) -> None:
        made, _ = sessions.create(
            c,
            "01936f2c-7d1e-7a52-9c40-2b9d1f0e5a77",
            user_id=zoe,
            carrier=sessions.Carrier.BEARER,
            lifetimes=sessions.Lifetimes(absolute_ms=10**9, idle_ms=10**9),
            client_ip="127.0.0.1",
            agent="",
            master=at.master,
            now_ms=now_ms,
        )
        c.execute(update(m.sessions).where(m.sessions.c.id == made.id).values(expires_ms=10**15))

    await at.service.services.db.run(another)
    headers = {"authorization": f"Bearer {token}"}
    listed = (await at.service.client.get("/v1/auth/sessions", headers=headers)).json()
    assert [one["current"] for one in listed["sessions"]] == [True]
    [altered] = listed["unusable"]
    assert await audited(at) == [(0, "sessions", altered)]
    ended = await at.service.client.delete(f"/v1/auth/sessions/{altered}", headers=headers)
    assert (ended.status_code, ended.json()["unusable"]) == (200, [])


async def test_an_altered_invitation_is_told_of_and_does_not_work(at: Scene) -> None:
    tokens = []
    for _ in range(2):
        body = {"role": "viewer", "totp_code": at.code("ann")}
        tokens.append((await at.ask("POST", "/v1/invitations", body, by="ann")).json()["invitation"])
    before = (await at.ask("GET", "/v1/members", by="ann")).json()["invitations"]
    first = bytes.fromhex(before[0]["id"])
    await sql(at, "UPDATE invitations SET role = 'owner' WHERE substr(token_hash, 1, 8) = :id", id=first)
    found = (await at.ask("GET", "/v1/members", by="ann")).json()
    assert [one["id"] for one in found["invitations"]] == [before[1]["id"]]
    assert found["unusable"] == [before[0]["id"]]
    assert (await at.ask("GET", "/v1/members", by="vic")).json()["unusable"] == []
    codes = [(await at.ask("POST", "/v1/memberships", {"invitation": one}, by="eve")).status_code for one in tokens]
    assert sorted(codes) == [201, 500]


async def test_an_altered_approval_hides_no_other_one(at: Scene) -> None:
    bad, good = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann")
    await sql(at, "UPDATE clearances SET usd = 1 WHERE withdrawal_id = :id", id=bad.id)
    found = (await at.ask("GET", "/v1/approvals", by="ben")).json()
    assert [one["id"] for one in found["approvals"]] == [good.id]
    assert found["unusable"] == [str(bad.id)]
    assert code_of(await at.ask("GET", f"/v1/approvals/{bad.id}", by="ben")) == "record_tampered"


ALTERED_APPROVALS = [
    "UPDATE clearances SET usd = 1 WHERE withdrawal_id = :id",
    "UPDATE clearances SET binding = '0x' || substr(binding, 4) || '0' WHERE withdrawal_id = :id",
    "UPDATE clearances SET why = 'none' WHERE withdrawal_id = :id",
    "UPDATE clearances SET requester_id = NULL WHERE withdrawal_id = :id",
    "UPDATE withdrawals SET amount = '1' WHERE id = :id",
    "UPDATE withdrawals SET destination = '0x388C818CA8B9251b393131C08a736A67ccB19297' WHERE id = :id",
    "UPDATE withdrawals SET destination = 'nowhere' WHERE id = :id",
    "UPDATE withdrawals SET amount_is = 'some' WHERE id = :id",
    "UPDATE api_keys SET label = 'payroll' WHERE id = (SELECT key_id FROM withdrawals WHERE id = :id)",
]


@pytest.mark.parametrize("altered", ALTERED_APPROVALS)
async def test_what_was_altered_is_shown_to_nobody_as_something_to_approve(at: Scene, altered: str) -> None:
    bad, good = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann")
    await sql(at, altered, id=bad.id)
    found = (await at.ask("GET", "/v1/approvals", by="ben")).json()
    assert ([one["id"] for one in found["approvals"]], found["unusable"]) == ([good.id], [str(bad.id)])
    operators = await perform(at.service.services, "approval.list", {}, OPERATOR)
    assert [one["withdrawal"] for one in operators["pending"]] == [good.id]
    assert operators["unusable"] == [str(bad.id)]
    alone = await at.ask("GET", f"/v1/approvals/{bad.id}", by="ben")
    if alone.status_code == 200:
        assert (alone.json()["intact"], alone.json()["may_approve"]) == (False, False)


async def test_what_an_altered_key_asked_for_is_rejected_all_the_same(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    await sql(at, "UPDATE api_keys SET label = 'payroll' WHERE id = :id", id=made.key_id)
    assert code_of(await at.approve(made.id, by="ben")) == "record_tampered"
    rejected = await at.ask("POST", f"/v1/approvals/{made.id}/reject", {}, by="ben")
    assert (rejected.status_code, rejected.json()["state"], rejected.json()["key_label"]) == (200, "rejected", "?")


async def test_a_withdrawal_that_ended_and_is_set_back_waits_for_nobody(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    binding = await at.binding(made.id, by="ben")
    assert (await at.ask("DELETE", f"/v1/withdrawals/{made.id}", by="ben")).status_code == 200
    await sql(at, "UPDATE withdrawals SET state = 'awaiting_approval', reason = NULL WHERE id = :id", id=made.id)
    await sql(at, "UPDATE intents SET state = 'accepted', reject_reason = NULL WHERE plan_id = :id", id=made.plan_id)
    assert (await at.ask("GET", "/v1/approvals", by="ben")).json() == {"approvals": [], "unusable": []}
    assert (await perform(at.service.services, "approval.list", {}, OPERATOR))["pending"] == []
    alone = (await at.ask("GET", f"/v1/approvals/{made.id}", by="ben")).json()
    assert (alone["state"], alone["may_approve"]) == ("closed", False)
    body = {"binding": binding, "totp_code": at.code("ben")}
    assert code_of(await at.ask("POST", f"/v1/approvals/{made.id}/approve", body, by="ben")) == "approval_closed"


async def test_a_key_is_still_refused_when_it_is_loaded_alone(at: Scene) -> None:
    bad = await at.key("bad", made_by="ann")
    await sql(at, ALTERED_KEYS[0], id=bad)
    with pytest.raises(Tampered):
        await at.service.services.db.read(lambda c: keys.load_key(c, bad, master=at.master))


async def test_a_refusal_for_an_altered_row_is_in_the_audit_log(at: Scene) -> None:
    bad = await at.key("bad", made_by="ann")
    await sql(at, ALTERED_KEYS[0], id=bad)
    assert code_of(await at.ask("GET", "/v1/key", by="bad", key=True)) == "record_tampered"
    services = at.service.services
    await services.refusals.flush(services.db, services.master)

    def read(c: Connection) -> list[tuple[str, str, Any]]:
        t = m.audit_entries.c
        rows = c.execute(select(t.code, t.subject, t.details).where(t.act == "request.refused"))
        return [(row.code, row.subject, orjson.loads(row.details)["count"]) for row in rows]

    assert await services.db.read(read) == [("record_tampered", bad, 1)]


async def test_the_operator_lists_users_and_wallets_with_an_altered_one_there(at: Scene) -> None:
    services = at.service.services
    await sql(
        at,
        "UPDATE user_credentials SET owns_installation = 0, held_until_ms = 1 WHERE user_id = :id",
        id=at.user_ids["ben"],
    )
    found = await perform(services, "user.list", {}, OPERATOR)
    assert found["unusable"] == ["ben"]
    assert {"ann", "cleo"} <= {one["user"] for one in found["users"]}
    await sql(at, "UPDATE wallets SET signer = 'kms' WHERE id = :id", id=at.wallet.id)
    listed = await perform(services, "wallet.list", {}, OPERATOR)
    assert (listed["wallets"], listed["unusable"]) == ([], [str(at.wallet.id)])
    # A key of that wallet is of no use either, and its owner is told so.
    key_id = await at.key("bot", made_by="ann")
    keys_listed, unusable = await ids(at)
    assert key_id in unusable
    assert keys_listed == set()
