"""Orders that must not go through: a paused token, a pushed pool, too little, an old block. And what works then."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.devnet.calls import call_data, hexed
from scripts.devnet.cheats import fund_native, impersonate
from scripts.devnet.network import LocalChain
from scripts.devnet.rpc import DevRpc
from tests.e2e import traders
from tests.e2e.harness import Stack, running, with_settings

E18 = 10**18
FUNDS = {"ethereum": {"ETH": 5 * E18, "USDC": 5_000 * 10**6}}
USDC = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
ORDER = {"market": "ETHUSDC", "side": "buy", "quote_amount": "50"}


@pytest.fixture
async def stack(fresh_ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    """On a chain of its own: pools are pushed and a token is paused."""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as found:
        yield found


def _as_pauser(rpc: DevRpc, function: str) -> None:
    pauser = "0x" + rpc("eth_call", {"to": USDC, "data": hexed(call_data("pauser()"))}, "latest")[-40:]
    fund_native(rpc, pauser, E18)
    impersonate(rpc, pauser)
    rpc("eth_sendTransaction", {"from": pauser, "to": USDC, "data": hexed(call_data(function)), "gas": hex(200_000)})


async def test_a_paused_tokens_orders_fail_in_the_simulation_and_work_again_afterwards(stack: Stack) -> None:
    rpc = stack.rpcs["ethereum"]
    await asyncio.to_thread(_as_pauser, rpc, "pause()")
    await stack.mine("ethereum")
    tested = await stack.post("/v1/ethereum/orders/test", ORDER)
    assert (tested.status_code, tested.json()["code"]) == (409, "would_revert"), tested.text
    firm = await stack.get("/v1/ethereum/quote", **ORDER, firm="true")
    assert (firm.status_code, firm.json()["code"]) == (409, "would_revert"), firm.text
    placed = await stack.post("/v1/ethereum/orders", ORDER)
    order = await stack.settle(f"/v1/orders/{placed.json()['id']}")
    assert order["state"] == "REJECTED"
    assert order["reason"].startswith("simulation_reverted")
    assert await stack.nothing_reserved()
    await asyncio.to_thread(_as_pauser, rpc, "unpause()")
    await stack.mine("ethereum")
    placed = await stack.post("/v1/ethereum/orders", ORDER)
    assert (await stack.settle(f"/v1/orders/{placed.json()['id']}"))["state"] == "FILLED"


async def test_an_order_on_pushed_pools_is_refused_with_what_each_source_says(stack: Stack) -> None:
    await asyncio.to_thread(traders.dump_ether, stack.rpcs["ethereum"])
    await stack.mine("ethereum")
    answer = await stack.post("/v1/ethereum/orders", ORDER)
    assert (answer.status_code, answer.json()["code"]) == (409, "price_deviates"), answer.text
    assert "Chainlink says 3000" in answer.json()["detail"]
    assert "the bound is 200" in answer.json()["detail"]
    assert await stack.nothing_reserved()
    # A quote says what there is, for who wants to look.
    assert (await stack.get("/v1/ethereum/quote", **ORDER)).status_code == 200


async def test_an_order_below_the_least_notional_is_refused(stack: Stack) -> None:
    market = next(
        one
        for one in (await stack.get("/v1/ethereum/markets", key=None)).json()["markets"]
        if one["symbol"] == "ETHUSDC"
    )
    assert (market["tick"], market["step"], market["min_quote"]) == ("0.01", "0.00000001", "1")
    for amount, status in (("0.999999", 400), ("1", 202)):
        answer = await stack.post("/v1/ethereum/orders", ORDER | {"quote_amount": amount})
        assert answer.status_code == status, answer.text


async def test_an_order_is_refused_while_the_newest_block_is_older_than_the_setting_allows(stack: Stack) -> None:
    strict = with_settings(stack, max_block_age_s=1)
    head = await stack.chain().client.head()
    await asyncio.sleep(max(0, head.timestamp_s + 3 - time.time()))
    answer = await strict.post("/v1/ethereum/orders", ORDER)
    assert (answer.status_code, answer.json()["code"]) == (503, "stale_market"), answer.text
    assert (await strict.get("/v1/ethereum/quote", **ORDER)).status_code == 200
