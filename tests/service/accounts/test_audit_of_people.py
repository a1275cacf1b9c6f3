"""What people do to their own access, and what they are refused, is in the audit log, without a secret."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, select

from service.accounts import totp
from service.db.models import audit_entries
from tests.service.accounts.test_sign_in_api import (
    OTHER,
    PASSWORD,
    bearer,
    code,
    enrol,
    post,
    register,
    sign_in,
    token_of,
)
from tests.service.api import Api, api


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, registration="open") as found:
        yield found


async def entries(service: Api) -> Sequence[tuple[str, str | None, str, str | None, dict[str, Any]]]:
    """Act, code, actor, subject and details of all, by time."""
    await service.services.refusals.flush(service.services.db, service.services.master)

    def read(c: Connection) -> Sequence[tuple[str, str | None, str, str | None, dict[str, Any]]]:
        t = audit_entries
        rows = c.execute(select(t).where(t.c.act != "audit.chain").order_by(t.c.time_ms, t.c.chain, t.c.seq))
        return [(row.act, row.code, row.actor, row.subject, orjson.loads(row.details)) for row in rows]

    return await service.services.db.read(read)


async def test_from_registering_to_a_new_password_each_step_is_one_entry(service: Api) -> None:
    await register(service)
    token = await token_of(service)
    seed, codes = await enrol(service, token)
    service.clock.advance_ms(60_000)
    other = await sign_in(service, recovery_code=codes[0])
    assert other.status_code == 201, other.text
    changed = {"password": PASSWORD, "new_password": OTHER, "totp": code(service, seed)}
    assert (await post(service, "password", changed, bearer(other.json()["token"]))).status_code == 200
    service.clock.advance_ms(60_000)
    proof = {"password": OTHER, "totp": code(service, seed)}
    assert (await post(service, "recovery-codes", proof, bearer(other.json()["token"]))).status_code == 200
    await post(service, "sign-out", {}, bearer(other.json()["token"]))
    found = await entries(service)
    assert sorted(act for act, *_ in found) == sorted(
        [
            *("account.create", "user.register", "session.open", "totp.begin", "totp.confirm", "recovery.use"),
            *("session.open", "password.set", "recovery.renew", "session.end"),
        ]
    )
    assert {actor for _, _, actor, *_ in found} == {"bob:2"}
    assert [details["factor"] for act, *_, details in found if act == "session.open"] == ["password", "recovery code"]
    kept = repr(found)
    for secret in (PASSWORD, OTHER, token, other.json()["token"], totp.secret_text(seed), *codes):
        assert secret not in kept


async def test_wrong_passwords_and_a_lockout_are_counted_for_the_user_they_were_tried_on(service: Api) -> None:
    await register(service)
    for _ in range(6):
        await sign_in(service, password="wrong wrong wrong")
    await sign_in(service, name="hunter2 typed as name", password="wrong wrong wrong")
    found = [one[1:] for one in await entries(service) if one[0] == "request.refused"]
    assert sorted((code_, subject, details["count"]) for code_, _, subject, details in found if subject) == [
        ("credentials_wrong", "bob:2", 5),
        ("sign_in_locked", "bob:2", 1),
    ]
    assert all(actor == "" for _, actor, *_ in found)
    assert "hunter2" not in repr(found)


async def test_a_right_password_with_a_wrong_code_is_told_to_the_owner_and_not_to_who_tried(service: Api) -> None:
    await register(service)
    await enrol(service, await token_of(service))
    answer = await sign_in(service, totp="000000")
    wrong = await sign_in(service, password="wrong wrong wrong")
    same = ("type", "title", "status", "code", "detail", "hint")
    assert {name: answer.json()[name] for name in same} == {name: wrong.json()[name] for name in same}
    reasons = [details["reason"] for act, *_, details in await entries(service) if act == "request.refused"]
    assert any("the password was right" in reason for reason in reasons)


async def test_a_keys_refusals_are_in_its_accounts_chain_with_their_reason(service: Api) -> None:
    for key in ("read", "expired", "revoked", "wrong_ip"):
        await service.ask("GET", "/v1/orders", key=key)
        await service.ask("POST", "/v1/ethereum/orders", key=key)
    forged = service.signed("read", "GET", "/v1/orders") | {"X-Cambist-Signature": "0" * 64}
    await service.client.get("/v1/orders", headers=forged)
    found = await entries(service)
    by_key = {(one[1], one[2], one[4]["count"]) for one in found if one[2]}
    keys = {name: created.key.id for name, created in service.keys.items()}
    assert by_key == {
        ("permission_denied", keys["read"], 1),
        ("key_expired", keys["expired"], 2),
        ("key_revoked", keys["revoked"], 2),
        ("ip_not_allowed", keys["wrong_ip"], 2),
    }
    # The forged one is nobody's, and names whose key it claimed.
    assert [(one[1], one[3]) for one in found if not one[2]] == [("authentication_failed", keys["read"])]
