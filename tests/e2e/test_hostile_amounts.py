"""F58, F59 over a chain: text that is no plain decimal number is refused wherever an amount or a price is asked for.

Without a chain, where most routes answer for that first: `tests/service/test_hostile_clients.py`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from scripts.devnet.network import LocalChain
from service.app import OPENAPI_PATH
from service.db import models as m
from service.settings import Settings
from tests.e2e.harness import BOB, Stack, running, with_settings
from tests.e2e.people import Person, person
from tests.service.documented import Documented, operations

FUNDS: Final = {"ethereum": {"ETH": 5 * 10**18, "WETH": 10**18, "USDC": 5_000 * 10**6}}
HOSTILE: Final = (
    "-1", "1e18", "1E18", "NaN", "nan", "Infinity", "-Infinity", "-0", "0x10", " 1", "1 ", "+1", "1_000", "\uff11",
    "\u0661", "1,5", "", ".", "1.", ".5", "1.2.3", "1" * 100, str(2**256), "1\u0000", "\u22121", "1/3", "0b1",
)  # fmt: skip
"""Each is a number somewhere: to Python's `Decimal` or `float`, to JavaScript, to a spreadsheet, to an eye."""
ABOUT_THE_TEXT: Final = frozenset(
    {*("invalid_amount", "invalid_price", "invalid_request"), *("invalid_query", "invalid_key", "invalid_call")}
)
DECIMAL: Final = re.compile(r"\d+(\.\d+)?")
AMOUNTS: Final = re.compile(r"amount|\w+_amount|price|stop_price|usd|\w+_usd|gas|value|daily_(gas|sold|withdrawn)")
"""Names of fields that hold amounts or prices."""
DAY_MS: Final = 86_400_000
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A request in which every decimal text is an amount or a price, none of them refused for its text."""

    method: str = "POST"
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None


SALE: Final = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
ORDERS: Final = (
    SALE,
    {"market": "ETHUSDC", "side": "buy", "quote_amount": "100"},
    SALE | {"type": "limit", "time_in_force": "gtc", "price": "3100"},
    SALE | {"type": "stop_loss_limit", "time_in_force": "gtc", "price": "2800", "stop_price": "2850"},
)
CALL: Final = {
    "contract": BOB,
    "function": "give(uint256)",
    "args": ["7"],
    "value": "0.1",
    "approvals": [{"asset": "USDC", "amount": "1"}],
    "max_out": [{"asset": "USDC", "amount": "1"}],
}
LIMITS: Final = {
    "max_order_usd": "500",
    "daily_usd": "500",
    "daily_gas": {"ethereum": "0.1"},
    "daily_sold": {"ethereum:ETH": "2"},
}
WITHDRAWING: Final = {"daily_withdrawal_usd": "500", "daily_withdrawn": {"ethereum:ETH": "2"}}
THRESHOLDS: Final = {"usd": "100", "assets": [{"chain": "ethereum", "asset": "ETH", "amount": "1"}]}
WRAP: Final = {"amount": "0.1", "client_transaction_id": "hostile"}
PAYMENT: Final = {"asset": "USDC", "amount": "1", "address": BOB}
CHECK: Final = {"kind": "withdrawal", "chain": "ethereum", "asset": "USDC", "amount": "1", "usd": "1", "gas": "0.01"}
TRADES: Final = (
    {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"},
    {"market": "ETHUSDC", "side": "buy", "quote_amount": "100"},
    {"sell": "ETH", "buy": "USDC", "sell_amount": "0.1"},
    {"sell": "ETH", "buy": "USDC", "buy_amount": "100"},
)
PLAIN: Final = (
    *(Plain(path=f"/v1/{{chain}}/orders{test}", body=order) for test in ("", "/test") for order in ORDERS),
    *(Plain(path="/v1/{chain}/orders/replace", body={"cancel_order_id": 1, "order": order}) for order in ORDERS),
    *(Plain(path=f"/v1/{{chain}}/{way}", body=WRAP) for way in ("wrap", "unwrap")),
    Plain(path="/v1/{chain}/withdrawals", body=PAYMENT | {"client_withdrawal_id": "hostile"}),
    Plain(path="/v1/{chain}/withdrawals/estimate", body=PAYMENT),
    Plain(path="/v1/{chain}/transactions", body=CALL | {"client_transaction_id": "hostile"}),
    Plain(path="/v1/{chain}/transactions/test", body=CALL),
    Plain(path="/v1/key/check", body=CHECK | {"destination": BOB}),
    Plain(path="/v1/key/check", body={"kind": "order", "chain": "ethereum", "market": "ETHUSDC", "usd": "1"}),
    Plain(path="/v1/keys", body={"label": "k", "permissions": ["trade"], "limits": LIMITS}),
    Plain(method="PUT", path="/v1/approval-policy", body=THRESHOLDS),
    *(Plain(method="GET", path=f"/v1/{{chain}}/{page}", query=one) for page in ("quote", "routes") for one in TRADES),
    Plain(method="GET", path="/v1/{chain}/depth", query={"market": "ETHUSDC", "aggregate": "1"}),
)  # fmt: skip
NOT_LIKE_A_PLAIN_ONE: Final = {
    ("PATCH", "/v1/keys/{key_id}"): "takes the limits of POST /v1/keys, for a key that is there"
}


def places_in(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where decimal text is."""
    match value:
        case Mapping():
            for name, inner in value.items():
                yield from places_in(inner, (*place, name))
        case list():
            for number, inner in enumerate(value):
                yield from places_in(inner, (*place, number))
        case str() if DECIMAL.fullmatch(value):
            yield place


def with_text(value: Any, place: Place, text: str) -> Any:
    """A copy with `text` at that place."""
    if not place:
        return text
    first, rest = place[0], place[1:]
    if isinstance(value, list):
        return [with_text(each, rest, text) if number == first else each for number, each in enumerate(value)]
    return {**value, first: with_text(value[first], rest, text)}


async def ask(stack: Stack, owner: Person, one: Documented, plain: Plain) -> httpx.Response:
    target = plain.path.replace("{chain}", "ethereum") + (f"?{urlencode(plain.query)}" if plain.query else "")
    raw = b"" if plain.body is None else json.dumps(plain.body).encode()
    if one.needs == "session":
        return await owner.ask(one.method, target, body=raw)
    key = None if one.needs == "public" else "read" if one.needs == "key" else one.needs.split(" or ")[0]
    headers = stack.headers(one.method, target, raw, key=key) | ({"content-type": "application/json"} if raw else {})
    return await stack.client.request(one.method, target, content=raw, headers=headers)


def with_hostile(plain: Plain) -> Iterator[tuple[Place, str, Plain]]:
    for text in HOSTILE:
        for place in places_in(plain.body):
            yield place, text, Plain(path=plain.path, method=plain.method, body=with_text(plain.body, place, text))
        for place in places_in(plain.query):
            yield place, text, Plain(path=plain.path, method=plain.method, query=with_text(plain.query, place, text))


def withdraw_key(*, now_ms: int) -> Plain:
    body = {"label": "w", "permissions": ["withdraw"], "limits": WITHDRAWING, "expires_ms": now_ms + 30 * DAY_MS}
    return Plain(path="/v1/keys", body=body | {"ip_allowlist": ["127.0.0.1/32"]})


def untried(routes: Sequence[Documented], plain_ones: Sequence[Plain]) -> set[tuple[str, str, str]]:
    """Fields of the page that are named like amounts, and are in no plain request of their route."""
    tried = {
        (plain.method, plain.path, str(name))
        for plain in plain_ones
        for place in (*places_in(plain.body), *places_in(plain.query))
        for name in place
    }
    found = set()
    for one in routes:
        names = {name for body in one.bodies() for name in body}
        names |= {part["name"] for part in one.parameters if part["in"] == "query"}
        for body in one.bodies():
            for inner in body.values():
                names |= set(inner) if isinstance(inner, dict) else set()
        found |= {(one.method, one.path, name) for name in names if AMOUNTS.fullmatch(name)}
    return {each for each in found - tried if each[:2] not in NOT_LIKE_A_PLAIN_ONE}


async def test_f58_f59_text_that_is_no_plain_decimal_is_refused_for_that_in_every_field(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as started:
        stack = with_settings(started, **{n: 10**6 for n in Settings.model_fields if n.endswith("_per_minute")})
        owner = await person(stack)
        routes = list(operations((await stack.client.get(OPENAPI_PATH)).json()))
        by_route = {(one.method, one.path): one for one in routes}
        plain_ones = (*PLAIN, withdraw_key(now_ms=stack.services.clock.now_ms()))
        assert not untried(routes, plain_ones)
        keys = await stack.count(m.api_keys)
        for plain in plain_ones:
            one = by_route[plain.method, plain.path]
            for place, text, hostile in with_hostile(plain):
                answer = await ask(stack, owner, one, hostile)
                said = (plain.path, place, text, answer.status_code, answer.text[:200])
                assert answer.status_code in (400, 422), said
                assert answer.json()["code"] in ABOUT_THE_TEXT, said
        for table in (m.orders, m.withdrawals, m.plans, m.intents, m.txs, m.reservations):
            assert await stack.count(table) == 0, table.name
        assert await stack.count(m.api_keys) == keys
        # It was the text: what is plain is not refused for it.
        for plain in plain_ones:
            answer = await ask(stack, owner, by_route[plain.method, plain.path], plain)
            allowed = answer.is_success or answer.json()["code"] not in ABOUT_THE_TEXT
            assert allowed, (plain, answer.status_code, answer.text[:300])
