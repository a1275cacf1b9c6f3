"""How much a request asks of the node, counted in front of it: what a hosted endpoint charges for."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from chains.types import Header
from scripts.devnet.cheats import fund_native
from scripts.devnet.network import LocalChain
from service.balances.reading import MAX_HEAD_AGE_S
from tests.e2e.harness import CAROL, Stack, running
from tests.faults.proxy import FaultProxy

FUNDS = {"ethereum": {"ETH": 10**19, "USDC": 10**10, "USDT": 10**10}}


@pytest.fixture
async def proxy(ethereum: LocalChain) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(ethereum.rpc_url) as found:
        yield found


@pytest.fixture
async def stack(ethereum: LocalChain, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": replace(ethereum, rpc_url=proxy.url)}, funds=FUNDS) as found:
        yield found


async def header_at(stack: Stack, number: int) -> Header:
    header = await stack.chain().client.header(number)
    assert header is not None
    return header


async def asked(proxy: FaultProxy, stack: Stack, path: str, **params: str) -> Counter[str]:
    """The calls behind a request, once what it may remember is warm."""
    for _ in range(2):
        proxy.calls.clear()
        answer: httpx.Response = await stack.get(path, **params)
        assert answer.status_code == 200, answer.text
    return Counter(method for method, _ in proxy.calls)


async def test_all_balances_are_one_call(proxy: FaultProxy, stack: Stack) -> None:
    assert await asked(proxy, stack, "/v1/ethereum/balances") == {"eth_call": 1}


async def test_balances_are_not_of_a_block_below_one_in_which_the_wallet_acted(stack: Stack) -> None:
    was = (await stack.chain().client.head()).number
    order = {"market": "ETHUSDC", "side": "sell", "type": "market", "base_amount": "1", "client_order_id": "a"}
    placed = await stack.post("/v1/ethereum/orders", order)
    assert placed.status_code == 202, placed.text
    await stack.settle(f"/v1/orders/{placed.json()['id']}")
    # Another process has seen the end of the order; this one still remembers the head from before.
    stack.chain().recent_head.note(await header_at(stack, was), asked_s=stack.services.clock.monotonic_s())
    shown = (await stack.get("/v1/ethereum/balances")).json()
    assert shown["block"]["number"] > was
    total = next(row["total"] for row in shown["balances"] if row["asset"] == "USDC")
    assert stack.raw("USDC", total) > FUNDS["ethereum"]["USDC"]


async def test_balances_at_a_head_that_a_reorg_took_away_are_read_at_the_new_one(
    ethereum: LocalChain, stack: Stack
) -> None:
    rpc = stack.rpcs["ethereum"]
    await stack.mine("ethereum", 3)
    # Not empty, or the block that comes in its place may be the same one.
    await asyncio.to_thread(fund_native, rpc, CAROL, 10**18)
    await asyncio.to_thread(rpc, "anvil_impersonateAccount", CAROL)
    await asyncio.to_thread(rpc, "eth_sendTransaction", {"from": CAROL, "to": CAROL})
    await stack.mine("ethereum", 1)
    gone = await stack.chain().client.head()
    await asyncio.to_thread(rpc, "anvil_reorg", 2, [])
    # As it is where the reorg comes right after the head was asked for: a busy machine takes longer to make one.
    stack.chain().recent_head.note(gone, asked_s=stack.services.clock.monotonic_s())
    assert stack.chain().recent_head.within(MAX_HEAD_AGE_S) == gone
    shown = (await stack.get("/v1/ethereum/balances")).json()
    assert shown["block"]["number"] == gone.number
    assert shown["block"]["hash"] != gone.hash


async def test_a_remembered_head_is_asked_for_again_when_it_is_too_old(stack: Stack) -> None:
    await stack.get("/v1/ethereum/balances")
    await stack.mine("ethereum")
    await asyncio.sleep(MAX_HEAD_AGE_S)
    shown = (await stack.get("/v1/ethereum/balances")).json()
    assert shown["block"]["number"] == (await stack.chain().client.head()).number


async def test_reconciling_all_assets_is_one_call(proxy: FaultProxy, stack: Stack) -> None:
    assert await asked(proxy, stack, "/v1/ethereum/reconciliation") == {"eth_call": 1}


async def test_a_quote_is_worked_out_without_a_call_once_the_pools_are_held(proxy: FaultProxy, stack: Stack) -> None:
    path, trade = "/v1/ethereum/quote", {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
    proxy.calls.clear()
    assert (await stack.get(path, **trade)).status_code == 200
    first = Counter(method for method, _ in proxy.calls)
    assert first["eth_feeHistory"] == 1
    # The factories once, the pools in three rounds (prices, bitmaps, ticks), whatever their number.
    assert 2 <= first["eth_call"] <= 6
    for _ in range(5):
        again = await asked(proxy, stack, path, **trade)
        # A look at the head at most: once a second, for all who ask.
        assert set(again) <= {"eth_getBlockByNumber"}, again
        assert sum(again.values()) <= 1
