"""Market data, quotes and contract calls over the API."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scripts.devnet.network import LocalChain
from tests.e2e.harness import BOB, Stack, running

FUNDS = {"ethereum": {"ETH": 10**18, "USDC": 10**9}, "polygon": {"POL": 10**18}}
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"


@pytest.fixture
async def stack(ethereum: LocalChain, polygon: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": ethereum, "polygon": polygon}, funds=FUNDS) as found:
        yield found


async def test_public_routes_need_no_key(stack: Stack) -> None:
    assert (await stack.get("/v1/ping", key=None)).json() == {"status": "ok"}
    assert (await stack.get("/v1/time", key=None)).json()["server_time_ms"] > 1_700_000_000_000
    chains = (await stack.get("/v1/chains", key=None)).json()["chains"]
    assert [(chain["key"], chain["status"]) for chain in chains] == [("ethereum", "ok"), ("polygon", "ok")]
    assert all(chain["head"]["number"] > 0 for chain in chains)


@pytest.mark.parametrize("name", ["ethereum", "eth", "1"])
async def test_a_chain_is_found_by_key_alias_and_id(stack: Stack, name: str) -> None:
    assets = (await stack.get(f"/v1/{name}/assets", key=None)).json()
    assert assets["chain"] == "ethereum"
    assert assets["assets"][0]["symbol"] == "ETH"
    assert assets["assets"][0]["address"] is None
    markets = (await stack.get(f"/v1/{name}/markets", key=None)).json()["markets"]
    assert "ETHUSDC" in [market["symbol"] for market in markets]


@pytest.mark.parametrize("chain", ["ethereum", "polygon"])
async def test_tickers_of_all_markets_are_at_one_block_with_bid_below_mid_below_ask(stack: Stack, chain: str) -> None:
    answer = (await stack.get(f"/v1/{chain}/ticker", key=None)).json()
    assert len(answer["tickers"]) == len(stack.chain(chain).assets.markets)
    for ticker in answer["tickers"]:
        pools = (await stack.get(f"/v1/{chain}/pools", key=None, market=ticker["market"])).json()["pools"]
        assert ticker["status"] == ("ok" if pools else "routed"), ticker
        assert Decimal(ticker["bid"]) < Decimal(ticker["ask"]), ticker
        if ticker["reference"] is not None:
            off = abs(Decimal(ticker["mid"]) / Decimal(ticker["reference"]["price"]) - 1)
            assert off < Decimal("0.02"), ticker
    assert {ticker["status"] for ticker in answer["tickers"]} == {"ok", "routed"}
    assert answer["block"]["number"] == (await stack.chain(chain).client.head()).number


async def test_a_market_whose_contracts_do_not_answer_is_unknown_not_zero(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        contracts = stack.chain().deployments.contracts(stack.chain().config.chain_id)
        for name in ("uniswap_v3_factory", "uniswap_v2_factory"):
            await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setCode", contracts[name], "0x")
        await stack.mine("ethereum")
        (ticker,) = (await stack.get("/v1/ethereum/ticker", key=None, market="ETHUSDC")).json()["tickers"]
        assert ticker["status"] == "unknown"
        assert (ticker["bid"], ticker["ask"], ticker["mid"]) == (None, None, None)


@pytest.mark.parametrize(("side", "field"), [("sell", "base_amount"), ("buy", "quote_amount")])
async def test_a_quote_says_amounts_limits_route_gas_and_block(stack: Stack, side: str, field: str) -> None:
    answer = await stack.get("/v1/ethereum/quote", market="ETHUSDC", side=side, **{field: "0.5"}, slippage_bps="100")
    quote = answer.json()
    assert answer.status_code == 200, answer.text
    assert quote["sell"]["amount"] == quote["max_sell"]["amount"] == "0.5"
    assert Decimal(quote["min_buy"]["amount"]) < Decimal(quote["buy"]["amount"])
    assert Decimal(quote["gas"]["quote"]["amount"]) > 0
    assert quote["route"]["legs"]
    assert quote["block"]["hash"] == (await stack.chain().client.head()).hash


async def test_a_quote_needs_a_key_and_exactly_one_amount(stack: Stack) -> None:
    path = "/v1/ethereum/quote"
    assert (await stack.get(path, key=None, market="ETHUSDC", side="sell", base_amount="1")).status_code == 401
    both = await stack.get(path, market="ETHUSDC", side="sell", base_amount="1", quote_amount="1")
    assert (both.status_code, both.json()["code"]) == (400, "invalid_parameters")


async def test_a_contract_is_read_by_signature_json_entry_and_packaged_name(stack: Stack) -> None:
    path, wallet = "/v1/ethereum/contracts/call", stack.wallet.address
    entry = {
        "name": "balanceOf",
        "stateMutability": "view",
        "inputs": [{"name": "a", "type": "address"}],
        "outputs": [{"name": "b", "type": "uint256"}],
    }
    bodies: list[dict[str, Any]] = [
        {"to": USDC, "function": "balanceOf(address)(uint256)", "args": [wallet]},
        {"to": USDC, "function": entry, "args": [wallet]},
        {"to": "USDC", "abi": "erc20", "function": "balanceOf", "args": [wallet]},
    ]
    for body in bodies:
        answer = await stack.post(path, body, key="read")
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["value"] == str(10**9)
        assert answer.json()["block"]["number"] > 0


async def test_a_contract_call_that_cannot_be_answered_says_why(stack: Stack) -> None:
    path = "/v1/ethereum/contracts/call"
    transfer = {"to": USDC, "function": "transfer(address,uint256)(bool)", "args": [BOB, "1" + "0" * 30]}
    reverted = await stack.post(path, transfer, key="read")
    assert (reverted.status_code, reverted.json()["code"]) == (400, "contract_reverted")
    nobody = await stack.post(path, {"to": BOB, "function": "totalSupply()(uint256)"}, key="read")
    assert (nobody.status_code, nobody.json()["code"]) == (400, "undecodable_result")
    number = await stack.post(path, {"to": USDC, "function": "balanceOf(address)(uint256)", "args": [1]}, key="read")
    assert (number.status_code, number.json()["code"]) == (400, "invalid_call")
    future = {"to": USDC, "function": "totalSupply()(uint256)", "block": "999999999"}
    unknown = await stack.post(path, future, key="read")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_block")
