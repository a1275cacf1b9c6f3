"""How much a request asks of the node, counted in front of it: what a hosted endpoint charges for."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from scripts.devnet.network import LocalChain
from tests.e2e.harness import Stack, running
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


async def asked(proxy: FaultProxy, stack: Stack, path: str, **params: str) -> Counter[str]:
    """The calls behind a request, once what it may remember is warm."""
    for _ in range(2):
        proxy.calls.clear()
        answer: httpx.Response = await stack.get(path, **params)
        assert answer.status_code == 200, answer.text
    return Counter(method for method, _ in proxy.calls)


async def test_all_balances_are_one_call_for_the_head_and_one_at_its_block(proxy: FaultProxy, stack: Stack) -> None:
    calls = await asked(proxy, stack, "/v1/ethereum/balances")
    assert calls == {"eth_getBlockByNumber": 1, "eth_call": 1}


async def test_reconciling_all_assets_is_one_call(proxy: FaultProxy, stack: Stack) -> None:
    assert await asked(proxy, stack, "/v1/ethereum/reconciliation") == {"eth_call": 1}


async def test_a_quote_is_one_call_for_the_pools_and_one_for_all_routes(proxy: FaultProxy, stack: Stack) -> None:
    path = "/v1/ethereum/quote"
    calls = await asked(proxy, stack, path, market="ETHUSDC", side="sell", base_amount="0.1")
    # The routes of the trade, and those of its gas into the quote asset.
    assert calls == {"eth_getBlockByNumber": 1, "eth_feeHistory": 1, "eth_call": 4}
