"""How many keys one member, and all who are no owners, may make: never so many that an owner can make none."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.accounts.people import Role
from service.auth.keys import Permission
from service.keys import making
from tests.service.api import code_of
from tests.service.approvals.scene import Scene, scene
from tests.service.auth.seed import DAY_MS


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    """Ann and Ben own the account, Tom trades."""
    async with scene(tmp_path) as made:
        yield made


async def make(at: Scene, label: str, *, by: str) -> httpx.Response:
    return await at.ask("POST", "/v1/keys", {"label": label, "permissions": ["read"]}, by=by)


async def fill(at: Scene, count: int, *, by: str) -> None:
    for number in range(count):
        made = await make(at, f"{by}-{number}", by=by)
        assert made.status_code == 201, made.text


def test_what_is_left_to_owners_is_not_nothing() -> None:
    assert making.MAX_LIVE_A_MEMBER < making.MAX_LIVE_OF_MEMBERS < making.MAX_LIVE
    assert making.MAX_A_DAY_A_MEMBER < making.MAX_A_DAY_OF_MEMBERS < making.MAX_A_DAY


async def test_a_trader_has_a_bound_of_live_keys_that_owners_do_not_have(
    at: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAX_LIVE_A_MEMBER", 3)
    await fill(at, 3, by="tom")
    assert code_of(await make(at, "one-more", by="tom")) == "too_many_keys"
    await fill(at, 4, by="ann")


async def test_a_trader_who_revokes_and_makes_again_uses_no_days_number_up(
    at: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAX_A_DAY_A_MEMBER", 4)
    for number in range(4):
        made = (await make(at, f"bot-{number}", by="tom")).json()["key"]["key"]
        assert (await at.ask("DELETE", f"/v1/keys/{made}", by="tom")).status_code == 200
    assert code_of(await make(at, "one-more", by="tom")) == "too_many_keys"
    assert (await make(at, "anns", by="ann")).status_code == 201
    at.service.clock.advance_ms(DAY_MS)
    assert (await make(at, "next-day", by="tom")).status_code == 201


async def test_a_rotation_counts_for_who_asks_for_it(at: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "MAX_LIVE_A_MEMBER", 2)
    await fill(at, 2, by="tom")
    key_id = (await at.ask("GET", "/v1/keys", by="tom")).json()["keys"][-1]["key"]
    code = {"totp_code": at.code("tom")}
    assert (await at.ask("POST", f"/v1/keys/{key_id}/activate", code, by="tom")).status_code == 200
    assert code_of(await at.ask("POST", f"/v1/keys/{key_id}/rotate", {}, by="tom")) == "too_many_keys"
    assert (await at.ask("POST", f"/v1/keys/{key_id}/rotate", {}, by="ann")).status_code == 201


async def test_traders_together_leave_the_owners_their_part_also_when_some_were_removed(
    at: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAX_LIVE_OF_MEMBERS", 4)
    monkeypatch.setattr(making, "MAX_A_DAY_OF_MEMBERS", 4)
    await at.person("tim", Role.TRADER)
    await fill(at, 2, by="tom")
    await fill(at, 2, by="tim")
    assert code_of(await make(at, "one-more", by="tim")) == "too_many_keys"
    assert (await at.ask("DELETE", f"/v1/members/{at.user_ids['tom']}", by="ann")).status_code == 200
    # Tom's have ended; the day's number has not.
    assert code_of(await make(at, "one-more", by="tim")) == "too_many_keys"
    await fill(at, 3, by="ben")


async def test_another_label_of_a_key_that_waits_needs_a_code_since_it_is_activated_by_that(at: Scene) -> None:
    """Else a stolen session makes one, changes the names over, and has its own activated by its owner."""
    body = {"label": "bot", "permissions": ["read", "trade"]}
    made = (await at.ask("POST", "/v1/keys", body, by="ann")).json()["key"]["key"]
    path = f"/v1/keys/{made}"
    assert code_of(await at.ask("PATCH", path, {"label": "other"}, by="ann")) == "totp_required"
    assert (await at.ask("PATCH", path, {"limits": {"daily_orders": 1}}, by="ann")).status_code == 200
    named = await at.ask("PATCH", path, {"label": "other", "totp_code": at.code("ann")}, by="ann")
    assert (named.status_code, named.json()["label"]) == (200, "other")
    code = {"totp_code": at.code("ann")}
    assert (await at.ask("POST", f"{path}/activate", code, by="ann")).status_code == 200
    assert (await at.ask("PATCH", path, {"label": "bot"}, by="ann")).status_code == 200


async def test_another_label_of_a_key_with_withdraw_needs_a_code_since_approvers_know_it_by_that(at: Scene) -> None:
    withdraws = await at.key("treasury", made_by="ann")
    reads = await at.key("reader", made_by="ann", permissions=(Permission.READ,))
    assert (await at.ask("PATCH", f"/v1/keys/{reads}", {"label": "looker"}, by="ann")).status_code == 200
    path = f"/v1/keys/{withdraws}"
    assert code_of(await at.ask("PATCH", path, {"label": "payroll"}, by="ann")) == "totp_required"
    # The same label, and less, are none.
    narrower = {"label": "treasury", "limits": {"daily_withdrawals": 1}}
    assert (await at.ask("PATCH", path, narrower, by="ann")).status_code == 200
    renamed = await at.ask("PATCH", path, {"label": "payroll", "totp_code": at.code("ann")}, by="ann")
    assert (renamed.status_code, renamed.json()["label"]) == (200, "payroll")
