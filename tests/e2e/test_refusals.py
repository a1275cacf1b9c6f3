"""Bad input gets a stable code that says what to do, and nothing is sent, reserved or queued."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chains.tx.model import Lane
from chains.types import ChainId
from scripts.devnet.network import LocalChain
from service.db import models as m
from service.db.txstore import SqlTxStore
from tests.e2e.harness import BOB, Stack, running

E18 = 10**18
FUNDS = {"ethereum": {"ETH": E18, "USDC": 1_000 * 10**6}}
ORDER = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
WITHDRAWAL = {"asset": "USDC", "amount": "1", "address": BOB, "client_withdrawal_id": "w"}
WETH = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
ROUTER = "0x68b3465833fb72A70ecDF485E0e4C7bD8665Fc45"


@pytest.fixture
async def stack(ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as found:
        yield found


async def check_refused(stack: Stack, path: str, body: Mapping[str, Any], *, key: str, status: int, code: str) -> None:
    """Refused with that code, and nothing is left behind."""
    answer = await stack.post(path, body, key=key)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text[:300]
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert problem["detail"]
    await stack.chain().engine.step()
    for table in (m.orders, m.withdrawals, m.plans, m.intents, m.txs, m.reservations):
        assert await stack.count(table) == 0, table.name


async def test_bad_orders_are_refused_by_name(stack: Stack) -> None:
    """F47, F58"""
    bad: list[tuple[dict[str, Any], int, str]] = [
        ({"base_amount": "1e18"}, 400, "invalid_amount"),
        ({"base_amount": "-1"}, 400, "invalid_amount"),
        ({"base_amount": "0.0000000000000000001"}, 400, "invalid_amount"),
        ({"base_amount": "NaN"}, 400, "invalid_amount"),
        ({"base_amount": " 1"}, 400, "invalid_amount"),
        ({"base_amount": "\u0661"}, 400, "invalid_amount"),
        ({"base_amount": "9" * 90}, 400, "invalid_amount"),
        ({"base_amount": "0"}, 400, "amount_too_small"),
        ({"base_amount": "0.000000000000000001"}, 400, "amount_too_small"),
        ({"base_amount": 0.1}, 422, "invalid_request"),
        ({"base_amount": 1}, 422, "invalid_request"),
        ({"base_amount": None}, 400, "invalid_parameters"),
        ({"quote_amount": "5"}, 400, "invalid_parameters"),
        ({"side": "SELL"}, 422, "invalid_request"),
        ({"type": "iceberg"}, 422, "invalid_request"),
        ({"type": "limit"}, 400, "invalid_parameters"),
        ({"price": "1"}, 400, "invalid_parameters"),
        ({"trailing_delta": "1"}, 422, "invalid_request"),
        ({"market": "ETHDOGE"}, 404, "unknown_market"),
        ({"client_order_id": "has spaces"}, 422, "invalid_request"),
        ({"client_order_id": "x" * 65}, 422, "invalid_request"),
        ({"slippage_bps": 301}, 400, "slippage_too_high"),
        ({"slippage_bps": -1}, 422, "invalid_request"),
        ({"slippage_bps": "50"}, 422, "invalid_request"),
        ({"base_amount": "1.5"}, 409, "insufficient_gas"),
        ({"base_amount": "1"}, 409, "insufficient_gas"),
        ({"side": "buy", "quote_amount": "1001", "base_amount": None}, 409, "insufficient_balance"),
        # A V2 pair takes any amount, at any price.
        ({"base_amount": "500000000"}, 409, "price_impact_too_high"),
        ({"base_amount": "9" * 16}, 409, "no_liquidity"),
        ({"side": "buy", "base_amount": "500000000"}, 409, "no_liquidity"),
        ({"max_price_impact_bps": 10, "base_amount": "3000"}, 409, "price_impact_too_high"),
    ]
    for change, status, code in bad:
        body = {name: value for name, value in (ORDER | change).items() if value is not None}
        await check_refused(stack, "/v1/ethereum/orders", body, key="trade", status=status, code=code)


async def test_an_order_on_an_unknown_or_inactive_chain_is_refused(stack: Stack) -> None:
    await check_refused(stack, "/v1/solana/orders", ORDER, key="trade", status=404, code="unknown_chain")
    await check_refused(stack, "/v1/polygon/orders", ORDER, key="trade", status=503, code="chain_not_active")


async def test_bad_withdrawals_are_refused_by_name(stack: Stack) -> None:
    """F60"""
    wrong_checksum = BOB[:-1] + BOB[-1].swapcase() if BOB[-1].isalpha() else BOB.swapcase().replace("0X", "0x")
    bad: list[tuple[dict[str, Any], int, str]] = [
        ({"amount": "1e6"}, 400, "invalid_amount"),
        ({"amount": "0.0000001"}, 400, "invalid_amount"),
        ({"amount": 1}, 422, "invalid_request"),
        ({"amount": "0"}, 400, "amount_too_small"),
        ({"address": wrong_checksum}, 400, "invalid_address"),
        ({"address": "0x1234"}, 400, "invalid_address"),
        ({"address": "bob.eth"}, 400, "invalid_address"),
        ({"address": "0x" + "0" * 40}, 400, "destination_unsafe"),
        ({"address": WETH}, 400, "destination_unsafe"),
        ({"address": ROUTER}, 400, "destination_unsafe"),
        ({"address": stack.wallet.address}, 400, "destination_unsafe"),
        ({"asset": "DOGE"}, 404, "unknown_asset"),
        ({"amount": "1000.000001"}, 409, "insufficient_balance"),
        ({"asset": "ETH", "amount": "1"}, 409, "insufficient_gas"),
        ({"asset": "ETH", "amount": "2"}, 409, "insufficient_gas"),
        ({"client_withdrawal_id": None}, 422, "invalid_request"),
        ({"note": "hi"}, 422, "invalid_request"),
    ]
    for change, status, code in bad:
        body = {name: value for name, value in (WITHDRAWAL | change).items() if value is not None}
        await check_refused(stack, "/v1/ethereum/withdrawals", body, key="withdraw", status=status, code=code)


async def test_a_key_without_the_permission_is_refused(stack: Stack) -> None:
    await check_refused(stack, "/v1/ethereum/orders", ORDER, key="read", status=403, code="permission_denied")
    await check_refused(stack, "/v1/ethereum/orders", ORDER, key="withdraw", status=403, code="permission_denied")
    await check_refused(
        stack, "/v1/ethereum/withdrawals", WITHDRAWAL, key="trade", status=403, code="permission_denied"
    )


async def test_a_replayed_order_is_refused_and_trades_once(stack: Stack) -> None:
    """F70"""
    path, raw = "/v1/ethereum/orders", b'{"market":"ETHUSDC","side":"sell","base_amount":"0.01"}'
    headers = stack.headers("POST", path, raw, key="trade")
    assert (await stack.post_raw(path, raw, headers=headers)).status_code == 202
    replayed = await stack.post_raw(path, raw, headers=headers)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "replayed")
    assert await stack.count(m.orders) == 1


async def test_a_body_over_the_limit_is_refused(stack: Stack) -> None:
    body = ORDER | {"client_order_id": "x" * 2_000_000}
    await check_refused(stack, "/v1/ethereum/orders", body, key="trade", status=413, code="body_too_large")


async def test_without_gas_nothing_is_accepted(ethereum: LocalChain, tmp_path: Path) -> None:
    funds = {"ethereum": {"USDC": 1_000 * 10**6}}
    async with running(tmp_path, {"ethereum": ethereum}, funds=funds) as stack:
        body = {"market": "ETHUSDC", "side": "buy", "quote_amount": "100"}
        await check_refused(stack, "/v1/ethereum/orders", body, key="trade", status=409, code="insufficient_gas")
        await check_refused(
            stack, "/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw", status=409, code="insufficient_gas"
        )


async def test_two_orders_cannot_hold_the_same_funds(stack: Stack) -> None:
    body = {"market": "ETHUSDC", "side": "buy", "quote_amount": "600"}
    assert (await stack.post("/v1/ethereum/orders", body)).status_code == 202
    second = await stack.post("/v1/ethereum/orders", body)
    assert (second.status_code, second.json()["code"]) == (409, "insufficient_balance")
    assert await stack.count(m.orders) == 1


async def test_a_wallet_that_waits_for_a_person_takes_nothing_on(stack: Stack) -> None:
    wallet = (await stack.get("/v1/ethereum/deposit-address")).json()["address"]
    lane = Lane(chain_id=ChainId(1), wallet=wallet)
    await stack.services.db.run(lambda c: SqlTxStore().hold_lane(c, lane, "foreign_nonce: someone else's transaction"))
    body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1", "client_order_id": "while-held"}
    order = await stack.post("/v1/ethereum/orders", body)
    out = {"asset": "ETH", "amount": "0.1", "address": BOB, "client_withdrawal_id": "while-held"}
    withdrawal = await stack.post("/v1/ethereum/withdrawals", out, key="withdraw")
    assert [(answer.status_code, answer.json()["code"]) for answer in (order, withdrawal)] == [(503, "wallet_held")] * 2
    assert await stack.nothing_reserved()

    await stack.services.db.run(lambda c: SqlTxStore().hold_lane(c, lane, None))
    assert (await stack.post("/v1/ethereum/orders", body)).status_code == 202
