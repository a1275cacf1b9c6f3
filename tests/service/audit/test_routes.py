"""An account's audit log over HTTP: its owners', and nobody else's."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from service.accounts import people
from service.accounts.people import Role, add_member
from tests.service.accounts.test_sign_in_api import PASSWORD, post
from tests.service.api import Api, api, code_of


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, registration="open") as found:
        yield found


async def ask(service: Api, token: str, query: str = "") -> tuple[int, dict[str, Any]]:
    answer = await service.client.get(f"/v1/audit{query}", headers={"authorization": f"Bearer {token}"})
    if answer.is_error:
        return answer.status_code, {"code": code_of(answer)}
    return answer.status_code, answer.json()


async def refused(service: Api, times: int) -> None:
    """So many entries in the account's chain."""
    for number in range(times):
        path = ("/v1/orders", "/v1/withdrawals")[number % 2]
        await service.ask("GET", path, key="trade")
        await service.services.refusals.flush(service.services.db, service.services.master)


async def test_owners_page_through_their_accounts_log(service: Api) -> None:
    await refused(service, 5)
    token = await service.session()
    status, page = await ask(service, token, "?limit=2")
    assert (status, page["account"]) == (200, "main")
    seen = [one["seq"] for one in page["entries"]]
    while page["next_before"] is not None:
        _, page = await ask(service, token, f"?limit=2&before={page['next_before']}")
        seen += [one["seq"] for one in page["entries"]]
    assert seen == [5, 4, 3, 2, 1]
    _, one = await ask(service, token, "?act=request.&outcome=permission_denied&limit=1")
    (entry,) = one["entries"]
    assert entry["actor"] == service.keys["trade"].key.id
    assert entry["details"]["reason"] == "this key does not have the read permission"
    _, none = await ask(service, token, "?act=order.")
    assert none["entries"] == []


async def test_who_is_no_owner_does_not_see_it_and_another_account_does_not_exist(service: Api) -> None:
    made = await post(service, "register", {"name": "bob", "password": PASSWORD})
    bob = made.json()["id"]
    signed_in = await post(service, "sign-in", {"name": "bob", "password": PASSWORD})
    token = signed_in.json()["token"]
    assert await ask(service, token, "?account=main") == await ask(service, token, "?account=nobodys")
    master, now_ms = service.services.master, service.clock.now_ms()

    def join(c: Connection) -> None:
        main = people.account_by_name(c, "main")
        assert main is not None
        add_member(c, bob, account_id=main.id, role=Role.TRADER, master=master, now_ms=now_ms)

    await service.services.db.run(join)
    assert await ask(service, token, "?account=main") == (403, {"code": "role_denied"})
    status, own = await ask(service, token, "?account=bob")
    assert (status, [one["act"] for one in own["entries"]]) == (200, ["account.create"])
