"""docs/troubleshooting.md shows answers of the service as it gives them: each block is made here, and stands there."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy import Connection

from service.accounts.people import account_by_name
from service.addresses.reach import check_cooled
from service.addresses.storage import NewEntry, insert_entry
from service.auth.caveats import Target, caveats_of, require
from service.auth.keys import load_key
from service.errors import ApiError
from service.ratelimits.bans import STRIKES
from tests.service.accounts.test_sign_in_api import PASSWORD, enrol, post, register, token_of
from tests.service.api import Api, api
from tests.service.auth.seed import DAY_MS
from tests.service.books_seed import ETHEREUM, address_of
from tests.service.kinds import Callers, callers

PAGE: Final = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
READ: Final = "/v1/ethereum/balances"
HOUR_MS: Final = 3_600_000
WEIGHT: Final = 600


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, registration="open", ip_weight_per_minute=WEIGHT) as found:
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


async def _second(service: Api) -> httpx.Response:
    await register(service)
    await enrol(service, await token_of(service))
    return await post(service, "sign-in", {"name": "bob", "password": PASSWORD})


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
