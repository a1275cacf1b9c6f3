"""docs/troubleshooting.md shows answers of the service as it gives them: each block is made here, and stands there."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx
import orjson
import pytest
from sqlalchemy import Connection

from service.accounts import users
from service.accounts.people import account_by_name
from service.addresses.reach import check_cooled
from service.addresses.storage import NewEntry, insert_entry
from service.auth.caveats import Target, caveats_of, require
from service.auth.keys import load_key
from service.errors import ApiError
from service.ratelimits.bans import STRIKES
from service.ratelimits.limits import Limits
from tests.service.accounts.test_sign_in_api import PASSWORD, enrol, post, register, token_of
from tests.service.api import CLIENT, Api, api, app_of
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import ETHEREUM, address_of
from tests.service.kinds import Callers, callers

PAGE: Final = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
READ: Final = "/v1/ethereum/balances"
HOUR_MS: Final = 3_600_000
WEIGHT: Final = 600
ORDERS: Final = 5


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, registration="open", ip_weight_per_minute=WEIGHT, orders_per_10s=ORDERS) as found:
        yield found


def block(answer: httpx.Response) -> str:
    """An answer as the page shows it. Times of day are not the test's to say."""
    found = answer.json()
    retry = f"\nRetry-After: {answer.headers['retry-after']}" if "retry-after" in answer.headers else ""
    return _block(found["status"], found["code"], found["detail"], found["hint"], retry=retry)


def _block(status: int, code: str, detail: str, hint: str, *, retry: str = "") -> str:
    shown = re.sub(r"\b1[0-9]{12}\b", "1800000000000", detail)
    return f"```text\n{status} {code}{retry}\n{shown}\n{hint}\n```"


async def _signed(service: Api, made: Callers, **changes: str) -> httpx.Response:
    headers = service.signed("read", "GET", READ) | changes
    return await service.client.get(READ, headers=headers)


async def _at(service: Api, shift_ms: int, *, divide: int = 1) -> httpx.Response:
    at_ms = (service.clock.now_ms() + shift_ms) // divide
    return await service.client.get(READ, headers=service.signed("read", "GET", READ, timestamp_ms=at_ms))


async def _replayed(service: Api) -> httpx.Response:
    headers = service.signed("read", "GET", READ)
    await service.client.get(READ, headers=headers)
    return await service.client.get(READ, headers=headers)


async def _too_many(service: Api) -> httpx.Response:
    service.clock.advance_ms(60_000 - service.clock.now_ms() % 60_000)
    while (answer := await service.client.get("/v1/ping")).status_code == 200:
        pass
    return answer


async def _banned(service: Api) -> httpx.Response:
    answer = await _too_many(service)
    for _ in range(STRIKES + 1):
        answer = await service.client.get("/v1/ping")
    return answer


async def _locked(service: Api) -> httpx.Response:
    await register(service)
    for _ in range(8):
        answer = await post(service, "sign-in", {"name": "bob", "password": "wrong wrong wrong"})
    return answer


async def _invited(service: Api, invitation: str | None) -> httpx.Response:
    """Where registering takes an invitation."""
    services = replace(
        service.services, settings=service.services.settings.model_copy(update={"registration": "invited"})
    )
    body = {"name": "eve", "password": PASSWORD} | ({} if invitation is None else {"invitation": invitation})
    transport = httpx.ASGITransport(app=app_of(services), client=CLIENT)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.post("/v1/auth/register", json=body)


async def _twice(service: Api) -> httpx.Response:
    await register(service)
    return await register(service)


async def _second(service: Api) -> httpx.Response:
    await register(service)
    await enrol(service, await token_of(service))
    return await post(service, "sign-in", {"name": "bob", "password": PASSWORD})


async def _key(service: Api, **changes: object) -> httpx.Response:
    """Ada asks for a key; her authenticator is in use, and no hold."""
    await service.authenticator()
    body = {"label": "bot", "permissions": ["read"], **changes}
    return await service.ask("POST", "/v1/keys", key="session", body=orjson.dumps(body))


async def _activated(service: Api, *, held: bool = False, **code: str) -> httpx.Response:
    made = (await _key(service)).json()
    if held:
        # An hour after the authenticator was set up, not a day.
        service.clock.advance_ms(HOUR_MS - users.HOLD_MS)
    path = f"/v1/keys/{made['key']['key']}/activate"
    return await service.ask("POST", path, key="session", body=orjson.dumps(code))


async def _cookie(service: Api, **more: str) -> httpx.Response:
    await register(service)
    signed_in = await post(
        service, "sign-in", {"name": "bob", "password": PASSWORD, "cookie": True}, {"origin": "http://127.0.0.1"}
    )
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    return await service.client.request("DELETE", "/v1/auth/sessions", headers={"cookie": cookie, **more})


async def _both(service: Api) -> httpx.Response:
    headers = service.signed("read", "GET", READ) | {"authorization": f"Bearer {await service.session()}"}
    return await service.client.get(READ, headers=headers)


async def _orders(service: Api) -> httpx.Response:
    """After as many as are allowed were accepted."""
    service.clock.advance_ms(10_000 - service.clock.now_ms() % 10_000)
    limits: Limits = service.app.state.limits
    for _ in range(ORDERS):
        await limits.of_order(service.keys["trade"].key.account_id)
    return await _trade(service, ORDER)


async def _trade(service: Api, body: Mapping[str, object]) -> httpx.Response:
    return await service.ask("POST", "/v1/ethereum/orders", key="trade", body=orjson.dumps(body))


ORDER: Final = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}

SCENES: Final[Mapping[str, Callable[[Api, Callers], Awaitable[httpx.Response]]]] = {
    "nothing signed": lambda s, m: s.client.get(READ),
    "a header missing": lambda s, m: m.ask("half signed", "GET", READ),
    "a wrong signature": lambda s, m: m.ask("bad signature", "GET", READ),
    "an unknown key": lambda s, m: m.ask("unknown key", "GET", READ),
    "a clock behind": lambda s, m: _at(s, -12_000),
    "a clock ahead": lambda s, m: _at(s, 4_000),
    "seconds": lambda s, m: _at(s, 0, divide=1_000),
    "twice": lambda s, m: _replayed(s),
    "from elsewhere": lambda s, m: m.ask("wrong ip", "GET", READ),
    "expired": lambda s, m: m.ask("expired", "GET", READ),
    "revoked": lambda s, m: m.ask("revoked", "GET", READ),
    "inactive": lambda s, m: m.ask("inactive", "GET", READ),
    "without the permission": lambda s, m: m.ask("trade", "GET", READ),
    "a session where a key is needed": lambda s, m: m.ask("session of owner", "GET", READ),
    "an ended session": lambda s, m: m.ask("ended session", "GET", "/v1/auth/me"),
    "a wrong password": lambda s, m: post(s, "sign-in", {"name": "eve", "password": "wrong wrong wrong"}),
    "no code": lambda s, m: _second(s),
    "held": lambda s, m: _activated(s, held=True, totp_code="000000"),
    "no code to activate": lambda s, m: _activated(s),
    "a wrong code to activate": lambda s, m: _activated(s, totp_code="000000"),
    "not the owner": lambda s, m: m.ask(
        "session of viewer", "POST", "/v1/keys", body=b'{"label": "a", "permissions": ["read"]}'
    ),
    "an unsafe key": lambda s, m: _key(s, permissions=["withdraw"]),
    "another site": lambda s, m: _cookie(s, origin="https://evil.example"),
    "no token against forgery": lambda s, m: _cookie(s, origin="http://127.0.0.1"),
    "two kinds of credentials": lambda s, m: _both(s),
    "too many orders": lambda s, m: _orders(s),
    "a number in place of text": lambda s, m: _trade(s, ORDER | {"base_amount": 0.1}),
    "no JSON": lambda s, m: s.ask("POST", "/v1/ethereum/orders", key="trade", body=b"market=ETHUSDC"),
    "another host": lambda s, m: s.client.get("/v1/ping", headers={"host": "cambist.example"}),
    "no such path": lambda s, m: s.client.get("/v2/ping"),
    "a chain without a node": lambda s, m: s.client.get("/v1/polygon/ticker"),
    "no such chain": lambda s, m: s.client.get("/v1/base/ticker"),
    "no invitation": lambda s, m: _invited(s, None),
    "a used invitation": lambda s, m: _invited(s, "ci_" + "x" * 43),
    "a weak password": lambda s, m: post(s, "register", {"name": "eve", "password": "eve eve eve"}),
    "a taken name": lambda s, m: _twice(s),
    "locked": lambda s, m: _locked(s),
    "too many requests": lambda s, m: _too_many(s),
    "a ban": lambda s, m: _banned(s),
}


@pytest.mark.parametrize("scene", SCENES)
async def test_the_page_shows_what_is_answered(service: Api, scene: str) -> None:
    made = await callers(service)
    wanted = block(await SCENES[scene](service, made))
    assert wanted in PAGE.read_text(encoding="utf-8"), f"{scene}:\n{wanted}"


async def test_the_page_shows_what_is_answered_of_destinations(service: Api) -> None:
    made = await callers(service)
    master, now_ms = service.services.master, service.clock.now_ms()
    exchange, other = address_of(0xE0C), address_of(0xE0D)

    def work(c: Connection) -> list[ApiError]:
        main = account_by_name(c, "main")
        key = load_key(c, made.key_of("trade"), master=master)
        assert main is not None
        assert key is not None
        entry = NewEntry(
            account_id=main.id, chain_id=ETHEREUM, address=exchange, name="exchange", is_contract=False, added_by=None,
            created_ms=now_ms, in_force_ms=now_ms + DAY_MS,
        )  # fmt: skip
        insert_entry(c, entry, master=master)
        found = []
        try:
            check_cooled(c, key, chain_id=ETHEREUM, address=exchange, now_ms=now_ms + HOUR_MS, master=master)
        except ApiError as exc:
            found.append(exc)
        target = Target(
            wallet_id=key.wallet_id, chain_id=ETHEREUM, assets=frozenset(), market=None, destination=other
        )  # fmt: skip
        try:
            require(caveats_of(key), target)
        except ApiError as exc:
            found.append(exc)
        return found

    errors = await service.services.db.run(work)
    assert [one.code for one in errors] == ["destination_cooling", "destination_not_allowed"]
    for one in errors:
        wanted = _block(one.status, one.code, one.message, one.hint)
        assert wanted in PAGE.read_text(encoding="utf-8"), wanted
