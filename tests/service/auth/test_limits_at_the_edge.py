"""Rate limits as clients meet them."""

import secrets
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from service.db.engine import Database
from service.ratelimits.bans import STRIKES
from service.ratelimits.limits import Limits
from service.ratelimits.weights import WEIGHTS
from service.settings import Settings
from tests.clock import FakeClock
from tests.service.api import Api, api, code_of

ORDERS = "/v1/ethereum/orders"
BALANCES = "/v1/ethereum/balances"
PASSED = "chain_not_active"
COST = WEIGHTS["GET", "/v1/{chain}/balances"].weight
LIMIT_HEADERS = ("x-ratelimit-limit", "x-ratelimit-used", "x-ratelimit-remaining", "x-ratelimit-reset")


async def read(service: Api, *, key: str = "read", signed_as: str = "GET") -> str:
    headers = service.signed(key, signed_as, BALANCES)
    return code_of(await service.client.get(BALANCES, headers=headers))


async def pings(service: Api, count: int) -> Sequence[httpx.Response]:
    return [await service.client.get("/v1/ping") for _ in range(count)]


async def test_too_many_requests_from_an_address_wait_for_the_next_minute(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=2) as service:
        service.clock.advance_ms(59_000 - service.clock.now_ms() % 60_000)
        answers = await pings(service, 3)
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert code_of(answers[2]) == "rate_limited"
        assert answers[2].headers["retry-after"] == "1"
        shown = [[answer.headers[name] for name in LIMIT_HEADERS] for answer in answers]
        assert shown == [["2", "1", "1", "1"], ["2", "2", "0", "1"], ["2", "2", "0", "1"]]
        service.clock.advance_ms(1_000)
        assert (await service.client.get("/v1/ping")).status_code == 200


async def test_too_many_requests_of_a_key_wait_and_others_do_not(tmp_path: Path) -> None:
    async with api(tmp_path, key_weight_per_minute=COST) as service:
        assert [await read(service) for _ in range(2)] == [PASSED, "rate_limited"]
        assert code_of(await service.ask("POST", ORDERS, key="trade")) != "rate_limited"


async def test_a_route_that_weighs_more_takes_more(tmp_path: Path) -> None:
    async with api(tmp_path) as service:
        for target, weight in (("/v1/ping", 1), ("/v1/ethereum/depth?market=X&limit=1000", 50), ("/v1/no/path", 1)):
            before = int((await service.client.get("/v1/ping")).headers["x-ratelimit-used"])
            answer = await service.client.get(target)
            assert int(answer.headers["x-ratelimit-used"]) == before + weight


async def test_wrong_signatures_use_up_an_address_and_not_the_key(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=2 * (COST + 10), key_weight_per_minute=COST) as service:
        assert await read(service, signed_as="POST") == "authentication_failed"
        assert await read(service, signed_as="POST") == "authentication_failed"
        assert await read(service) == "rate_limited"
        service.clock.advance_ms(60_000)
        assert await read(service) == PASSED


async def test_bots_that_share_an_address_do_not_use_it_up_with_signed_requests(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=COST) as service:
        assert [await read(service) for _ in range(5)] == [PASSED] * 5
        assert code_of(await service.client.get(BALANCES)) == "authentication_required"


async def test_a_key_that_goes_on_over_its_limit_uses_its_address_up(tmp_path: Path) -> None:
    """Each such request makes the work of checking its signature."""
    async with api(tmp_path, ip_weight_per_minute=3 * COST, key_weight_per_minute=COST) as service:

        async def another() -> httpx.Response:
            headers = service.signed("trade", "GET", BALANCES)
            return await service.client.get(BALANCES, headers=headers)

        assert await read(service) == PASSED
        assert [await read(service) for _ in range(2)] == ["rate_limited"] * 2
        # What passed was given back: there is room for one more.
        assert code_of(await another()) == "permission_denied"
        assert await read(service) == "rate_limited"
        full = await another()
        assert (code_of(full), full.headers["x-ratelimit-limit"]) == ("rate_limited", str(3 * COST))
        service.clock.advance_ms(60_000)
        assert code_of(await another()) == "permission_denied"


async def test_a_key_of_a_tier_has_its_weight(tmp_path: Path, sqlite_db: Database, clock: FakeClock) -> None:
    settings = Settings(
        data_dir=tmp_path / "data",
        master_key_file=tmp_path / "master.key",
        key_weight_per_minute=10,
        rate_tiers={"fast": 30},
        key_tiers={"ck_fast": "fast"},
    )
    limits = Limits(settings, db=sqlite_db, clock=clock)
    for caller, limit in (("ck_fast", 30), ("ck_other", 10)):
        assert (await limits.of_caller(caller, limit)).passed
        assert (await limits.of_caller(caller, 1)).limit == limit
        assert not (await limits.of_caller(caller, 1)).passed


def test_a_tier_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no such tier: fast"):
        Settings(master_key_file=tmp_path / "m", data_dir=tmp_path / "d", key_tiers={"ck_1": "fast"})


async def test_who_goes_on_is_banned_and_for_longer_the_next_time(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=1) as service:
        waits = []
        for _ in range(2):
            answers = await pings(service, STRIKES + 2)
            assert [code_of(answer) for answer in answers[1:-1]] == ["rate_limited"] * STRIKES
            assert code_of(answers[-1]) == "banned"
            assert answers[-1].status_code == 429
            assert all(name in answers[-1].headers for name in LIMIT_HEADERS)
            waits.append(int(answers[-1].headers["retry-after"]))
            service.clock.advance_ms(waits[-1] * 1_000)
            assert (await service.client.get("/v1/ping")).status_code == 200
            service.clock.advance_ms(60_000)
        assert waits[1] >= 2 * waits[0] - 2


async def test_a_banned_key_does_not_take_its_neighbours_with_it(tmp_path: Path) -> None:
    async with api(tmp_path, key_weight_per_minute=COST) as service:
        codes = [await read(service) for _ in range(STRIKES + 2)]
        assert codes[-1] == "banned"
        headers = service.signed("trade", "GET", BALANCES)
        assert code_of(await service.client.get(BALANCES, headers=headers)) == "permission_denied"


async def test_orders_of_an_account_are_counted_whichever_key_sends_them(tmp_path: Path) -> None:
    async with api(tmp_path, orders_per_10s=1) as service:
        body = b'{"market":"ETHUSDC","side":"sell","base_amount":"1"}'
        first = await service.ask("POST", ORDERS, key="trade", body=body)
        # Refused for another reason, so that it does not count.
        assert code_of(first) == PASSED
        assert first.headers["x-ratelimit-orders-10s"] == "1"
        assert first.headers["x-ratelimit-orders-1d"] == "1"
        assert code_of(await service.ask("POST", ORDERS, key="trade", body=body)) == PASSED
        limits: Limits = service.app.state.limits
        await limits.of_order(service.keys["trade"].key.account_id)
        refused = await service.ask("POST", ORDERS, key="trade", body=body)
        assert code_of(refused) == "too_many_orders"
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        service.clock.advance_ms(10_000)
        assert code_of(await service.ask("POST", ORDERS, key="trade", body=body)) == PASSED


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/v1/ping", {}),
        ("GET", "/v1/nothing", {}),
        ("PUT", "/v1/ping", {}),
        ("GET", BALANCES, {}),
        ("GET", "/v1/orders?limit=1&limit=2", {}),
        ("GET", "/v1/ping", {"host": "elsewhere.example"}),
        ("GET", "/v1/ping", {f"x-{n}": "1" for n in range(70)}),
        ("GET", BALANCES, {"x-cambist-key": "ck_1"}),
        ("GET", BALANCES, {"authorization": "Bearer x"}),
        ("POST", ORDERS, {"content-length": "99999999"}),
    ],
)
async def test_every_answer_says_what_is_left(
    tmp_path: Path, method: str, target: str, headers: dict[str, str]
) -> None:
    async with api(tmp_path) as service:
        answer = await service.client.request(method, target, headers=headers)
        assert all(int(answer.headers[name]) >= 0 for name in LIMIT_HEADERS)


async def test_an_ipv6_host_has_one_limit_for_all_its_addresses(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=1, trusted_proxies="127.0.0.1/32") as service:

        async def ping(address: str) -> int:
            return (await service.client.get("/v1/ping", headers={"x-forwarded-for": address})).status_code

        assert await ping("2001:db8:1:1::1") == 200
        assert await ping(f"2001:db8:1:1::{secrets.token_hex(2)}") == 429
        assert await ping("2001:db8:1:2::1") == 200


async def test_a_proxy_that_names_no_address_has_a_limit_itself(tmp_path: Path) -> None:
    async with api(tmp_path, ip_weight_per_minute=2, trusted_proxies="127.0.0.1/32") as service:
        answers = [await service.client.get("/v1/ping", headers={"x-forwarded-for": "nobody"}) for _ in range(3)]
        assert [code_of(answer) for answer in answers] == ["invalid_request", "invalid_request", "rate_limited"]
