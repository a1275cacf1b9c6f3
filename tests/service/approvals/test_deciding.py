"""Who approves and rejects, what they see, and that it binds to the exact withdrawal."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from chains.tx.model import IntentState, PlanId
from chains.tx.store import PreSignRefused
from chains.types import ChainId
from contracts.assets import AssetId
from service.accounts import users
from service.accounts.people import SEASONED_MS, Role
from service.accounts.wallets import insert_wallet
from service.approvals.expiring import expire_late
from service.approvals.model import EXPIRES_MS
from service.auth import keys
from service.auth.keys import Permission
from service.auth.restrictions import Restrictions
from service.db import models as m
from service.db.txstore import SqlTxStore
from service.withdrawals.storage import withdrawal_of_account
from service.workers.presign import PreSign
from tests.service.api import code_of
from tests.service.approvals.scene import AMOUNT, Scene, scene
from tests.service.books_seed import address_of
from tests.service.trading_seed import ASSETS, BOB, DEPLOYMENTS, USDC


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


async def state(at: Scene, withdrawal_id: int) -> tuple[str, str | None, set[IntentState]]:
    """Of the withdrawal, its reason, and of its plan's intents."""

    def read(c: Connection) -> tuple[str, str | None, set[IntentState]]:
        found = withdrawal_of_account(c, withdrawal_id, account_id=at.account_id)
        assert found is not None
        plan = SqlTxStore().plan(c, found.plan_id)
        assert plan is not None
        return found.state.value, found.reason, {intent.state for intent in plan.intents}

    return await at.service.services.db.read(read)


async def acts(at: Scene) -> list[str]:
    chain = select(m.audit_entries.c.act).order_by(m.audit_entries.c.seq)
    return list(await at.service.services.db.read(lambda c: c.execute(chain).scalars().all()))


async def sign(at: Scene, withdrawal_id: int) -> None:
    """The last look before a signature. Raises: PreSignRefused."""
    services = at.service.services
    check = PreSign(
        db=services.db, assets=ASSETS, deployments=DEPLOYMENTS, master=services.master, clock=services.clock
    )

    def read(c: Connection) -> Any:
        plan_id = c.execute(select(m.withdrawals.c.plan_id).where(m.withdrawals.c.id == withdrawal_id)).scalar_one()
        return SqlTxStore().plan(c, PlanId(plan_id))

    plan = await services.db.read(read)
    await check.check(plan.intents[0])


async def edit(at: Scene, table: Any, **values: Any) -> None:
    await at.service.services.db.run(lambda c: c.execute(update(table).values(**values)))


async def test_another_owner_sees_it_decoded_and_approves_it_with_a_code(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    [seen] = (await at.ask("GET", "/v1/approvals", by="ben")).json()["approvals"]
    assert (seen["id"], seen["state"], seen["may_approve"], seen["intact"]) == (made.id, "pending", True, True)
    assert (seen["asset"], seen["amount"], seen["address"]) == ("USDC", "25000", BOB)
    assert (seen["usd"], seen["requester"], seen["why"]) == ("25000", "ann", "over_usd")
    assert seen["max_fee"] == {"asset": "ETH", "amount": "0.001"}
    with pytest.raises(PreSignRefused):
        await sign(at, made.id)
    approved = await at.approve(made.id, by="ben")
    assert (approved.status_code, approved.json()["state"], approved.json()["decided_by"]) == (200, "approved", "ben")
    assert await state(at, made.id) == ("processing", None, {IntentState.QUEUED})
    assert await at.held() == {USDC.id: AMOUNT}
    await sign(at, made.id)
    assert "approval.approve" in await acts(at)


async def test_an_approver_approves_what_a_key_of_the_host_asked_for_and_no_owner_does(at: Scene) -> None:
    made = await at.withdrawal(asked_by=None)
    for owner in ("ann", "ben"):
        assert code_of(await at.approve(made.id, by=owner)) == "own_request"
    assert (await at.approve(made.id, by="cleo")).status_code == 200


async def test_nobody_approves_their_own_request(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    assert code_of(await at.approve(made.id, by="ann")) == "own_request"
    assert (await state(at, made.id))[0] == "awaiting_approval"


@pytest.mark.parametrize(
    ("who", "code"), [("tom", "role_denied"), ("vic", "role_denied"), ("eve", "account_not_found")]
)
async def test_whoever_has_no_such_role_decides_nothing(at: Scene, who: str, code: str) -> None:
    made = await at.withdrawal(asked_by="ann")
    assert code_of(await at.approve(made.id, by=who)) == code
    assert code_of(await at.ask("POST", f"/v1/approvals/{made.id}/reject", {}, by=who)) == code
    assert (await state(at, made.id))[0] == "awaiting_approval"


async def test_traders_and_viewers_see_what_waits_and_strangers_nothing(at: Scene) -> None:
    await at.withdrawal(asked_by="ann")
    for who in ("tom", "vic"):
        [seen] = (await at.ask("GET", "/v1/approvals", by=who)).json()["approvals"]
        assert seen["may_approve"] is False
    assert code_of(await at.ask("GET", "/v1/approvals", by="eve")) == "account_not_found"


async def test_who_joined_a_moment_ago_approves_nothing_yet(at: Scene) -> None:
    await at.person("new", Role.APPROVER, joined_ago_ms=0)
    made = await at.withdrawal(asked_by="ann")
    assert code_of(await at.approve(made.id, by="new")) == "role_denied"


async def test_who_was_made_an_approver_a_moment_ago_approves_nothing_yet(at: Scene) -> None:
    body = {"role": "approver", "totp_code": at.code("ann")}
    changed = await at.ask("PATCH", f"/v1/members/{at.user_ids['tom']}", body, by="ann")
    assert changed.status_code == 200, changed.text
    made = await at.withdrawal(asked_by="ann")
    assert code_of(await at.approve(made.id, by="tom")) == "role_denied"
    at.service.clock.advance_ms(SEASONED_MS)
    later = await at.withdrawal(asked_by="ann")
    assert (await at.approve(later.id, by="tom")).status_code == 200


async def test_an_approval_needs_a_right_code_that_was_not_used(at: Scene) -> None:
    first, second = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann")
    assert code_of(await at.approve(first.id, by="ben", totp_code=None)) == "totp_required"
    assert code_of(await at.approve(first.id, by="ben", totp_code="000000")) == "totp_code_wrong"
    code = at.code("ben")
    assert (await at.approve(first.id, by="ben", totp_code=code)).status_code == 200
    assert code_of(await at.approve(second.id, by="ben", totp_code=code)) == "totp_code_wrong"
    assert (await state(at, second.id))[0] == "awaiting_approval"


async def test_what_is_approved_is_what_was_seen(at: Scene) -> None:
    first, second = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann")
    other = await at.binding(second.id, by="ben")
    assert code_of(await at.approve(first.id, by="ben", binding=other)) == "approval_differs"
    assert (await state(at, first.id))[0] == "awaiting_approval"


async def test_a_key_decides_for_the_person_who_made_it(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    for label, maker, expected in (("own", "ann", "own_request"), ("toms", "tom", "role_denied")):
        await at.key(label, made_by=maker)
        body = {"binding": await at.binding(made.id, by="ben")}
        answer = await at.ask("POST", f"/v1/approvals/{made.id}/approve", body, by=label, key=True)
        assert code_of(answer) == expected
    await at.key("host", made_by=None)
    assert code_of(await at.ask("GET", "/v1/approvals", by="host", key=True)) == "role_denied"
    await at.key("bens", made_by="ben")
    answer = await at.ask("POST", f"/v1/approvals/{made.id}/approve", body, by="bens", key=True)
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")


async def test_a_key_of_somebody_on_hold_approves_nothing(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    await at.key("bens", made_by="ben")
    now_ms = at.service.clock.now_ms()

    def change_password(c: Connection) -> None:
        credential = users.credential_of(c, at.user_ids["ben"], master=at.master)
        assert credential is not None
        users.set_password(c, credential, password_hash="another", keep=None, master=at.master, now_ms=now_ms)

    await at.service.services.db.run(change_password)
    path, body = f"/v1/approvals/{made.id}/approve", {"binding": await at.binding(made.id, by="ann")}
    assert code_of(await at.ask("POST", path, body, by="bens", key=True)) == "held"
    assert await state(at, made.id) == ("awaiting_approval", None, {IntentState.ACCEPTED})


async def test_a_key_that_an_owner_rotated_for_another_acts_for_who_has_its_secret(at: Scene) -> None:
    key_id = await at.key("anns", made_by="ann")
    rotated = await at.ask("POST", f"/v1/keys/{key_id}/rotate", {}, by="ben")
    assert rotated.status_code == 201, rotated.text
    successor = rotated.json()["key"]["key"]
    loaded = await at.service.services.db.read(lambda c: keys.load_key(c, successor, master=at.master))
    assert loaded is not None
    assert loaded.made_by == at.user_ids["ben"]


async def test_a_key_approves_nothing_that_it_is_not_for(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    key_id = await at.key("bens", made_by="ben")

    def narrow(c: Connection) -> None:
        key = keys.load_key(c, key_id, master=at.master)
        assert key is not None
        rights = replace(key.rights, restrictions=Restrictions(chains=frozenset({ChainId(137)})))
        now_ms = at.service.clock.now_ms()
        keys.change_key(c, key, label=key.label, rights=rights, master=at.master, now_ms=now_ms)

    await at.service.services.db.run(narrow)
    path, body = f"/v1/approvals/{made.id}/approve", {"binding": await at.binding(made.id, by="ann")}
    assert code_of(await at.ask("POST", path, body, by="bens", key=True)) == "key_restricted"


async def test_a_key_sees_and_rejects_only_what_it_is_for(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    whole, narrow = "/v1/approvals?pending=false", Restrictions(chains=frozenset({ChainId(137)}))
    for label, limits in (
        ("elsewhere", narrow),
        ("other-asset", Restrictions(assets=frozenset({AssetId("eip155:1/slip44:60")}))),
    ):
        await at.key(label, made_by="ben", restrictions=limits)
        assert (await at.ask("GET", whole, by=label, key=True)).json() == {"approvals": [], "unusable": []}
        assert code_of(await at.ask("GET", f"/v1/approvals/{made.id}", by=label, key=True)) == "approval_not_found"
        rejected = await at.ask("POST", f"/v1/approvals/{made.id}/reject", {}, by=label, key=True)
        assert code_of(rejected) == "key_restricted"
    await at.key("right", made_by="ben", restrictions=Restrictions(chains=frozenset({ChainId(1)})))
    [seen] = (await at.ask("GET", whole, by="right", key=True)).json()["approvals"]
    assert seen["id"] == made.id
    assert (await at.ask("POST", f"/v1/approvals/{made.id}/reject", {}, by="right", key=True)).status_code == 200


async def test_a_key_of_another_wallet_of_the_account_sees_and_decides_nothing_of_it(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    first = at.wallet
    at.wallet = await at.service.services.db.run(
        lambda c: insert_wallet(
            c,
            account_id=at.account_id,
            address=address_of(0x5EC0),
            label="second",
            signer="keystore",
            master=at.master,
            now_ms=at.service.clock.now_ms(),
        )
    )
    await at.key("second", made_by="ben")
    at.wallet = first
    assert (await at.ask("GET", "/v1/approvals", by="second", key=True)).json() == {"approvals": [], "unusable": []}
    assert code_of(await at.ask("GET", f"/v1/approvals/{made.id}", by="second", key=True)) == "approval_not_found"
    for act, body in (("approve", {"binding": await at.binding(made.id, by="ben")}), ("reject", {})):
        refused = await at.ask("POST", f"/v1/approvals/{made.id}/{act}", body, by="second", key=True)
        assert code_of(refused) == "key_restricted"
    cancelled = await at.ask("DELETE", f"/v1/withdrawals/{made.id}", by="second", key=True)
    assert code_of(cancelled) == "withdrawal_not_found"


async def test_a_key_cancels_no_withdrawal_of_a_chain_or_asset_that_it_is_not_for(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    await at.key("elsewhere", made_by="ben", restrictions=Restrictions(chains=frozenset({ChainId(137)})))
    gas_only = Restrictions(assets=frozenset({AssetId("eip155:1/slip44:60")}))
    await at.key("other-asset", made_by="ben", restrictions=gas_only)
    for label in ("elsewhere", "other-asset"):
        refused = await at.ask("DELETE", f"/v1/withdrawals/{made.id}", by=label, key=True)
        assert code_of(refused) == "key_restricted"
    assert (await state(at, made.id))[0] == "awaiting_approval"


async def test_a_key_without_withdraw_decides_nothing(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    await at.key("reader", made_by="ben", permissions=(Permission.READ, Permission.TRADE))
    answer = await at.ask("POST", f"/v1/approvals/{made.id}/reject", {}, by="reader", key=True)
    assert code_of(answer) == "permission_denied"


async def test_rejecting_ends_it_with_its_reason_and_frees_its_funds(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    rejected = await at.ask("POST", f"/v1/approvals/{made.id}/reject", {"reason": "not ours"}, by="cleo")
    assert (rejected.status_code, rejected.json()["state"]) == (200, "rejected")
    assert await state(at, made.id) == ("rejected", "approval_rejected: not ours", {IntentState.REJECTED})
    assert await at.held() == {}
    assert code_of(await at.approve(made.id, by="ben")) == "approval_closed"
    with pytest.raises(PreSignRefused):
        await sign(at, made.id)


async def test_it_is_decided_once(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    assert (await at.approve(made.id, by="ben")).status_code == 200
    assert code_of(await at.approve(made.id, by="cleo")) == "approval_closed"
    late = await at.ask("POST", f"/v1/approvals/{made.id}/reject", {}, by="cleo")
    assert code_of(late) == "approval_closed"


async def test_what_nobody_approves_in_time_is_rejected_and_its_funds_are_free(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    assert await expire_late(at.service.services) == 0
    at.service.clock.advance_ms(EXPIRES_MS)
    # Whether the loop has run or not.
    assert code_of(await at.approve(made.id, by="ben")) == "approval_closed"
    seen = await at.ask("GET", f"/v1/approvals/{made.id}", by="ben")
    assert (seen.json()["state"], seen.json()["may_approve"]) == ("expired", False)
    assert (await at.ask("GET", "/v1/approvals", by="ben")).json() == {"approvals": [], "unusable": []}
    assert await expire_late(at.service.services) == 1
    assert await expire_late(at.service.services) == 0
    assert (await state(at, made.id))[0] == "rejected"
    assert await at.held() == {}
    assert (await acts(at)).count("approval.expire") == 1


async def test_a_revoked_key_takes_what_waits_for_its_approval_along(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    assert (await at.approve(made.id, by="ben")).status_code == 200
    master, now_ms = at.master, at.service.clock.now_ms()
    await at.service.services.db.run(lambda c: keys.revoke_key(c, made.key_id, master=master, now_ms=now_ms))
    with pytest.raises(PreSignRefused, match="revoked"):
        await sign(at, made.id)


async def test_its_client_cancels_what_waits_for_an_approval(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    cancelled = await at.ask("DELETE", f"/v1/withdrawals/{made.id}", by="bot-1", key=True)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert await state(at, made.id) == ("cancelled", "cancelled", {IntentState.REJECTED})
    assert await at.held() == {}
    assert code_of(await at.approve(made.id, by="ben")) == "approval_closed"
    assert (await at.ask("GET", f"/v1/approvals/{made.id}", by="ben")).json()["state"] == "closed"


async def test_an_owner_cancels_in_a_session_and_nobody_else(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    for who, code in (("cleo", "role_denied"), ("tom", "role_denied"), ("eve", "account_not_found")):
        assert code_of(await at.ask("DELETE", f"/v1/withdrawals/{made.id}", by=who)) == code
    assert (await at.ask("DELETE", f"/v1/withdrawals/{made.id}", by="ben")).json()["state"] == "cancelled"
    assert code_of(await at.ask("DELETE", "/v1/withdrawals/999", by="ben")) == "withdrawal_not_found"


@pytest.mark.parametrize(
    "values",
    [{"amount": AMOUNT + 1}, {"destination": "0x388C818CA8B9251b393131C08a736A67ccB19297"}, {"max_fee_wei": 10**18}],
)
async def test_an_edited_withdrawal_is_neither_approved_nor_signed(at: Scene, values: dict[str, Any]) -> None:
    made, other = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann")
    assert (await at.approve(other.id, by="ben")).status_code == 200
    await edit(at, m.withdrawals, **values)
    seen = (await at.ask("GET", f"/v1/approvals/{made.id}", by="ben")).json()
    assert seen["intact"] is False
    assert code_of(await at.approve(made.id, by="ben")) == "record_tampered"
    with pytest.raises(PreSignRefused):
        await sign(at, other.id)


async def test_an_approval_written_into_the_database_signs_nothing(at: Scene) -> None:
    made = await at.withdrawal(asked_by="ann")
    ben = at.user_ids["ben"]
    await edit(at, m.intents, state=IntentState.QUEUED)
    await edit(at, m.withdrawals, state="processing")
    with pytest.raises(PreSignRefused, match="pending"):
        await sign(at, made.id)
    await edit(at, m.clearances, state="approved", decider_id=ben, decided_with="session:x", decided_ms=1)
    with pytest.raises(PreSignRefused, match="integrity"):
        await sign(at, made.id)


async def test_a_withdrawal_without_its_clearance_or_with_that_of_another_signs_nothing(at: Scene) -> None:
    made, clear = await at.withdrawal(asked_by="ann"), await at.withdrawal(asked_by="ann", why=None)
    await sign(at, clear.id)
    await edit(at, m.intents, state=IntentState.QUEUED)
    await edit(at, m.withdrawals, state="processing")

    def swap(c: Connection) -> None:
        t = m.clearances
        c.execute(t.delete().where(t.c.withdrawal_id == made.id))
        c.execute(update(t).where(t.c.withdrawal_id == clear.id).values(withdrawal_id=made.id))

    await at.service.services.db.run(swap)
    with pytest.raises(PreSignRefused, match="integrity"):
        await sign(at, made.id)
    with pytest.raises(PreSignRefused, match="nothing says"):
        await sign(at, clear.id)


@pytest.mark.parametrize("values", [{"gas_limit": 500_000}, {"max_gas_cost_wei": 10**18}, {"gas_limit": None}])
async def test_gas_that_was_not_accepted_is_not_signed(at: Scene, values: dict[str, Any]) -> None:
    made = await at.withdrawal(asked_by="ann", why=None)
    await sign(at, made.id)
    await edit(at, m.intents, **values)
    with pytest.raises(PreSignRefused, match="gas limit or fee bound"):
        await sign(at, made.id)
