"""A key with withdraw stands for who made it: nobody makes it act for a person who gave no code of their own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from service.auth import keys
from service.auth.keys import Permission
from tests.service.api import code_of
from tests.service.approvals.scene import Scene, scene
from tests.service.auth.seed import DAY_MS

WITHDRAWS: dict[str, Any] = {"permissions": ["read", "withdraw"], "ip_allowlist": ["127.0.0.1/32"]}


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Scene]:
    """Ann and Ben own the account, Tom trades; Eve is nobody there."""
    async with scene(tmp_path) as made:
        yield made


async def make(at: Scene, *permissions: str, by: str) -> str:
    """A key that waits, as whoever has that person's cookie makes it: without a code. `ask` knows it as `made`."""
    body = {
        "label": "made",
        "permissions": ["read", *permissions],
        "ip_allowlist": ["127.0.0.1/32"],
        "expires_ms": at.service.clock.now_ms() + 30 * DAY_MS,
    }
    answer = await at.ask("POST", "/v1/keys", body, by=by)
    assert answer.status_code == 201, answer.text
    key_id, secret = str(answer.json()["key"]["key"]), answer.json()["secret"]

    def load(c: Connection) -> keys.ApiKey | None:
        return keys.load_key(c, key_id, master=at.master)

    key = await at.service.services.db.read(load)
    assert key is not None
    at.service.keys = {**at.service.keys, "made": keys.Created(key=key, secret=secret)}
    return key_id


async def act(at: Scene, key_id: str, how: str, *, by: str, **body: Any) -> str | None:
    """With a fresh code of theirs; the refusal's code."""
    whole = body if how == "rotate" else {**body, "totp_code": at.code(by)}
    method, path = ("PATCH", "") if how == "change" else ("POST", f"/{how}")
    answer = await at.ask(method, f"/v1/keys/{key_id}{path}", whole, by=by)
    return None if answer.is_success else code_of(answer)


async def own(at: Scene, role: str, *, whom: str) -> None:
    body = {"user": whom, "role": role, "totp_code": at.code("ann")}
    assert (await at.ask("POST", "/v1/members", body, by="ann")).status_code == 201


async def test_one_owner_with_the_cookie_of_another_does_not_approve_as_them(at: Scene) -> None:
    waits = await at.withdrawal(asked_by="ann")
    binding = await at.binding(waits.id, by="ann")
    key_id = await make(at, "withdraw", by="ben")
    assert await act(at, key_id, "activate", by="ann") == "role_denied"
    path = f"/v1/approvals/{waits.id}/approve"
    assert code_of(await at.ask("POST", path, {"binding": binding}, by="made", key=True)) == "key_inactive"
    # Nor by way of a key that was in use before it could withdraw.
    assert await act(at, key_id, "change", by="ann", permissions=["read"]) is None
    assert await act(at, key_id, "activate", by="ann") is None
    assert await act(at, key_id, "change", by="ann", permissions=["read", "withdraw"]) == "role_denied"
    assert (await at.ask("POST", path, {"binding": binding}, by="made", key=True)).is_error
    # With a code of Ben's it is Ben's.
    assert await act(at, key_id, "change", by="ben", permissions=["read", "withdraw"]) is None


async def test_a_key_with_withdraw_is_activated_by_its_maker_and_revoked_by_every_owner(at: Scene) -> None:
    key_id = await make(at, "withdraw", by="ben")
    assert await act(at, key_id, "activate", by="ann") == "role_denied"
    assert await act(at, key_id, "activate", by="ben") is None
    assert (await at.ask("DELETE", f"/v1/keys/{key_id}", by="ann")).status_code == 200


async def test_another_owner_narrows_and_renames_a_key_with_withdraw_and_does_not_widen_it(at: Scene) -> None:
    key_id = await at.key("bens", made_by="ben")
    assert await act(at, key_id, "change", by="ann", limits={"daily_withdrawals": 1}) is None
    assert await act(at, key_id, "change", by="ann", limits={"daily_withdrawals": 2}) == "role_denied"
    assert await act(at, key_id, "change", by="ann", ip_allowlist=["127.0.0.0/24"]) == "role_denied"
    assert await act(at, key_id, "change", by="ann", label="payroll") is None
    assert await act(at, key_id, "change", by="ben", limits={"daily_withdrawals": 2}) is None
    # What cannot withdraw stands for nobody.
    trades = await at.key("toms", made_by="tom", permissions=(Permission.READ,))
    assert await act(at, trades, "change", by="ann", permissions=["read", "trade"]) is None
    assert await act(at, trades, "change", by="ann", **WITHDRAWS) == "role_denied"


async def test_who_is_new_only_narrows_and_revokes_keys_with_withdraw_that_are_not_theirs(at: Scene) -> None:
    anns, hosts = await at.key("anns", made_by="ann"), await at.key("hosts", made_by=None)
    reads = await at.key("host-reads", made_by=None, permissions=(Permission.READ,))
    await own(at, "owner", whom="eve")
    for key_id in (anns, hosts):
        assert await act(at, key_id, "rotate", by="eve") == "role_denied"
        assert await act(at, key_id, "change", by="eve", label="other") == "role_denied"
        assert await act(at, key_id, "change", by="eve", ip_allowlist=["127.0.0.0/24"]) == "role_denied"
        assert await act(at, key_id, "change", by="eve", limits={"daily_withdrawals": 1}) is None
    assert await act(at, reads, "change", by="eve", **WITHDRAWS) == "role_denied"
    assert (await at.ask("DELETE", f"/v1/keys/{anns}", by="eve")).status_code == 200
    # Somebody who is not new does.
    assert await act(at, hosts, "change", by="ben", limits={"daily_withdrawals": 2}) is None
    assert await act(at, hosts, "rotate", by="ben") is None
