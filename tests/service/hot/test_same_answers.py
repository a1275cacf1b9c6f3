"""Hot reads and the framework answer the same: whatever is asked, by whomever, in whatever form."""

import random
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection

from service.hot.table import HotTable
from service.routers import ROUTERS
from tests.service.api import CLIENT, Api, api
from tests.service.books_seed import Owner, address_of
from tests.service.hot.ways import framework_only, shown
from tests.service.served import AsServed
from tests.service.trading_seed import seed_order_of

PATHS = (
    "/v1/ping",
    "/v1/time",
    "/v1/ethereum/ticker",
    "/v1/nochain/ticker",
    "/v1/1/ticker",
    "/v1/%65thereum/ticker",
    "/v1/ethereum/ticker/",
    "/v1/ethereum/depth",
    "/v1/ethereum/balances",
    "/v1/nochain/balances",
    "/v1/orders/1",
    "/v1/orders/2",
    "/v1/orders/01",
    "/v1/orders/+1",
    "/v1/orders/%31",
    "/v1/orders/%D9%A1",
    "/v1/orders/1.0",
    "/v1/orders/0",
    "/v1/orders/-1",
    "/v1/orders/x",
    "/v1/orders/9007199254740992",
    "/v1/orders/" + "9" * 40,
)
QUERIES = (
    "",
    "?market=ETHUSDC",
    "?market=",
    "?market=" + "A" * 49,
    "?market=nope",
    "?market=ETHUSDC&limit=5",
    "?market=ETHUSDC&limit=0",
    "?market=ETHUSDC&limit=1001",
    "?market=ETHUSDC&limit=%205",
    "?market=ETHUSDC&limit=5.0",
    "?market=ETHUSDC&aggregate=10",
    "?market=ETHUSDC&aggregate=7",
    "?market=ETHUSDC&unknown=1",
    "?market=ETHUSDC&market=ETHUSDC",
    "?limit=%ff",
    "?unknown",
)
CREDENTIALS = (
    "nothing",
    "read",
    "read",
    "read",
    "trade",
    "withdraw",
    "session",
    "expired",
    "revoked",
    "wrong_ip",
    "wrong signature",
    "unknown key",
    "old",
    "replayed",
    "half",
    "two kinds",
    "bad token",
)
METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE")


@dataclass(slots=True, kw_only=True)
class Ways:
    """The same service by both ways, each with its own limits and memory of nonces."""

    api: Api
    hot: httpx.AsyncClient
    framework: httpx.AsyncClient
    token: str
    used: Mapping[str, str] | None = None

    async def headers(self, kind: str, method: str, target: str) -> dict[str, str]:
        made = self.api
        match kind:
            case "nothing":
                return {}
            case "session":
                return {"authorization": f"Bearer {self.token}"}
            case "wrong signature":
                return made.signed("read", method, target + "x")
            case "unknown key":
                return made.signed("read", method, target) | {"X-Cambist-Key": "ck_0000000000000000"}
            case "old":
                return made.signed("read", method, target, timestamp_ms=made.clock.now_ms() - 6_000)
            case "half":
                return {"X-Cambist-Key": made.keys["read"].key.id}
            case "two kinds":
                return made.signed("read", method, target) | {"authorization": f"Bearer {self.token}"}
            case "bad token":
                return {"authorization": "Bearer cs_" + secrets.token_hex(10)}
            case "replayed":
                found = made.signed("read", method, target)
                for client in (self.hot, self.framework):
                    await client.request(method, target, headers=found)
                return found
        return made.signed(kind, method, target)


@pytest.fixture
async def ways(tmp_path: Path) -> AsyncIterator[Ways]:
    async with api(tmp_path, ip_weight_per_minute=10**6, key_weight_per_minute=10**6) as made:
        key = made.keys["read"].key

        def seed(c: Connection) -> None:
            owner = Owner(account_id=key.account_id, wallet_id=key.wallet_id, address=address_of(0xA11CE))
            seed_order_of(c, owner, key_id=key.id)

        await made.services.db.run(seed)
        token = await made.session()
        transport = httpx.ASGITransport(app=framework_only(made.services), client=CLIENT)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as framework:
            # Past the first second, in which both would look for rows of each other's nonces.
            made.clock.advance_ms(2_000)
            yield Ways(api=made, hot=made.client, framework=framework, token=token)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.deep) for seed in (1, 2, 3))])
async def test_generated_requests_get_the_same_answer_both_ways(ways: Ways, seed: int) -> None:
    rng = random.Random(seed)
    seen: set[int] = set()
    transport = ways.hot._transport
    assert isinstance(transport, AsServed)
    for _ in range(300):
        method, kind = rng.choice(METHODS), rng.choice(CREDENTIALS)
        target = rng.choice(PATHS) + rng.choice(["", rng.choice(QUERIES)])
        if rng.random() < 0.2:
            # What is answered from memory when asked for again.
            method, target, kind = "GET", "/v1/orders/1", rng.choice(["read", "read", "read", kind])
        headers = await ways.headers(kind, method, target)
        ways.api.clock.advance_ms(rng.choice([0, 0, 3, 700]))
        if rng.random() < 0.05:
            headers["host"] = "elsewhere.example"
        hot = await ways.hot.request(method, target, headers=headers)
        other = await ways.framework.request(method, target, headers=headers)
        if method == "HEAD":
            assert (hot.status_code, hot.headers.get("content-type")) == (
                other.status_code,
                other.headers.get("content-type"),
            )
            continue
        assert shown(hot) == shown(other), (method, target, kind)
        seen.add(hot.status_code)
    assert seen >= {200, 401, 403, 404, 422}
    assert len(transport.answered) >= 3, "the lane was hardly tried"


async def test_a_plain_order_status_is_answered_by_the_table_and_byte_for_byte_the_same(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = []
    real = HotTable.answer

    async def watched(*args: object, **named: object) -> bytes | None:
        body = await real(*args, **named)  # type: ignore[arg-type]
        answered.append(body)
        return body

    monkeypatch.setattr(HotTable, "answer", watched)
    monkeypatch.setattr(ways.api.app, "lane", None)
    for _ in range(2):
        hot = await ways.hot.get("/v1/orders/1", headers=ways.api.signed("read", "GET", "/v1/orders/1"))
        other = await ways.framework.get("/v1/orders/1", headers=ways.api.signed("read", "GET", "/v1/orders/1"))
        assert hot.status_code == 200
        assert hot.content == other.content == answered.pop()


async def test_the_hot_routes_are_routes(ways: Ways) -> None:
    table = HotTable(ways.api.services, ROUTERS)
    assert set(table._routes) == {
        "/v1/ping",
        "/v1/time",
        "/v1/{chain}/ticker",
        "/v1/{chain}/depth",
        "/v1/{chain}/balances",
        "/v1/orders/{order_id}",
    }
