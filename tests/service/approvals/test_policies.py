"""An account's thresholds: stricter at once, laxer a day later, with a code, an owner's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select, update

from service.accounts.people import SEASONED_MS, Role
from service.approvals import policies
from service.approvals.model import COOLING_MS, Thresholds
from service.auth.authority import Tampered, mac
from service.db import models as m
from tests.service.api import code_of
from tests.service.approvals.scene import Scene, scene
from tests.service.trading_seed import USDC

NO_THRESHOLD: dict[str, Any] = {"usd": None, "assets": []}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


async def put(at: Scene, by: str = "ann", **body: Any) -> httpx.Response:
    return await at.ask("PUT", "/v1/approval-policy", {"totp_code": at.code(by), **body}, by=by)


async def in_force(at: Scene) -> Thresholds:
    now_ms = at.service.clock.now_ms()
    found = await at.service.services.db.read(
        lambda c: policies.policy_of(c, at.account_id, master=at.master, now_ms=now_ms)
    )
    return found.in_force


async def test_an_account_begins_without_thresholds(at: Scene) -> None:
    found = (await at.ask("GET", "/v1/approval-policy", by="vic")).json()
    assert (found["in_force"], found["following"], found["approvers"]) == (NO_THRESHOLD, None, 3)


async def test_stricter_thresholds_are_in_force_at_once(at: Scene) -> None:
    asset = {"chain": "ethereum", "asset": "USDC", "amount": "500"}
    answer = await put(at, usd="1000", assets=[asset])
    assert answer.status_code == 200, answer.text
    assert answer.json()["in_force"] == {"usd": "1000", "assets": [asset]}
    assert await in_force(at) == Thresholds(usd=1_000 * 10**6, assets={USDC.id: 500 * 10**6})
    assert (await put(at, usd="10", assets=[asset])).json()["in_force"]["usd"] == "10"


@pytest.mark.parametrize("laxer", [{"usd": "2000"}, {}, {"usd": "1000.000001"}])
async def test_laxer_thresholds_wait_a_day_and_so_does_none(at: Scene, laxer: dict[str, Any]) -> None:
    await put(at, usd="1000")
    waits = (await put(at, **laxer)).json()
    assert waits["in_force"]["usd"] == "1000"
    assert waits["following"]["usd"] == laxer.get("usd")
    assert waits["following_from_ms"] == at.service.clock.now_ms() + COOLING_MS
    at.service.clock.advance_ms(COOLING_MS - 1)
    assert await in_force(at) == Thresholds(usd=1_000 * 10**6)
    at.service.clock.advance_ms(1)
    assert (await in_force(at)).usd != 1_000 * 10**6


async def test_another_owner_takes_back_what_waits(at: Scene) -> None:
    await put(at, usd="1000")
    await put(at, usd="9999999")
    assert (await put(at, "ben", usd="1000")).json()["following"] is None
    at.service.clock.advance_ms(2 * COOLING_MS)
    assert await in_force(at) == Thresholds(usd=1_000 * 10**6)


async def test_asking_for_laxer_ones_again_begins_the_wait_again(at: Scene) -> None:
    await put(at, usd="1000")
    await put(at, usd="2000")
    at.service.clock.advance_ms(COOLING_MS - 120_000)
    await put(at, usd="3000")
    at.service.clock.advance_ms(COOLING_MS - 120_000)
    assert await in_force(at) == Thresholds(usd=1_000 * 10**6)


async def test_what_is_stricter_in_one_point_and_laxer_in_another_is_stricter_at_once(at: Scene) -> None:
    await put(at, usd="1000")
    asset = {"chain": "ethereum", "asset": "USDC", "amount": "0"}
    found = (await put(at, assets=[asset])).json()
    assert found["in_force"] == {"usd": "1000", "assets": [asset]}
    assert found["following"] == {"usd": None, "assets": [asset]}


async def test_only_owners_set_them_and_only_with_a_code(at: Scene) -> None:
    for who, code in (("cleo", "role_denied"), ("tom", "role_denied"), ("eve", "account_not_found")):
        assert code_of(await put(at, who, usd="0")) == code
    assert code_of(await at.ask("PUT", "/v1/approval-policy", {"usd": "0"}, by="ann")) == "totp_required"
    assert code_of(await put(at, usd="0", totp_code="000000")) == "totp_code_wrong"
    assert await in_force(at) == Thresholds()


async def test_what_is_no_threshold_is_refused(at: Scene) -> None:
    unknown = {"chain": "ethereum", "asset": "NOPE", "amount": "1"}
    twice = {"chain": "ethereum", "asset": "USDC", "amount": "1"}
    assert code_of(await put(at, assets=[unknown])) == "unknown_asset"
    assert code_of(await put(at, assets=[twice, twice])) == "invalid_parameters"
    assert code_of(await put(at, assets=[twice | {"amount": "1e3"}])) == "invalid_amount"
    assert code_of(await put(at, usd="0.0000001")) == "invalid_amount"


async def test_thresholds_edited_in_the_database_stop_everything(at: Scene) -> None:
    await put(at, usd="1000")
    await at.service.services.db.run(
        lambda c: c.execute(update(m.approval_policies).values(rules={"assets": {}, "usd": "999999999999"}))
    )
    with pytest.raises(Tampered):
        await in_force(at)
    assert code_of(await at.ask("GET", "/v1/approval-policy", by="ann")) == "record_tampered"


async def test_who_could_approve_is_neither_new_nor_without_an_authenticator(at: Scene) -> None:
    """The host's own user owns the account too, and cannot sign in."""

    async def approvers() -> int:
        return int((await at.ask("GET", "/v1/approval-policy", by="vic")).json()["approvers"])

    # Ann, Ben and Cleo.
    assert await approvers() == 3
    await at.person("dan", Role.APPROVER, joined_ago_ms=0)
    assert await approvers() == 3
    at.service.clock.advance_ms(SEASONED_MS)
    assert await approvers() == 4

    def forget(c: Connection) -> None:
        t = m.user_credentials
        row = dict(c.execute(select(t).where(t.c.user_id == at.user_ids["dan"])).mappings().one())
        row["totp_sealed"] = None
        c.execute(update(t).where(t.c.user_id == row["user_id"]).values(row | {"mac": mac(at.master, t, row)}))

    await at.service.services.db.run(forget)
    assert await approvers() == 3
