"""Trades and candles over the API, of order flow that the workers of the same process read."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scripts.devnet.flow import OrderFlow
from scripts.devnet.network import LocalChain
from service.workers.runner import run_workers
from tests.e2e.harness import Stack, running

FUNDS = {"ethereum": {"ETH": 10**18}}


async def traded(stack: Stack, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = (await stack.get("/v1/ethereum/trades", key=None, **query)).json()
    return found


async def read_to_the_end(stack: Stack) -> None:
    """Until history is at the block below the head, and what was before it is there too."""
    async with asyncio.timeout(180):
        while True:
            head = await stack.chain().client.head()
            answer = await stack.get("/v1/ethereum/trades", key=None, market="WETHUSDC")
            told = answer.json() if answer.status_code == 200 else {"block": {"hash": None}}
            if told["block"]["hash"] == head.parent_hash and told["complete_from_ms"] is None:
                return
            await asyncio.sleep(0.1)


async def test_what_was_traded_is_told_by_trade_and_by_candle(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    flow = OrderFlow([fresh_ethereum], seed=9)
    await asyncio.to_thread(flow.prepare)
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        early = await stack.get("/v1/ethereum/candles", key=None, market="ETHUSDC", interval="1m")
        assert (early.status_code, early.json()["code"]) == (503, "history_not_ready")
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(run_workers(stack.services, stop))
            for _ in range(60):
                await asyncio.to_thread(flow.step)
            await stack.mine("ethereum")
            await read_to_the_end(stack)
            stop.set()
        flow.close()

        answer = await traded(stack, market="WETHUSDC", limit="1000")
        trades = answer["trades"]
        assert len(trades) > 5
        assert [one["id"] for one in trades] == sorted(one["id"] for one in trades)
        for one in trades:
            paid = Decimal(one["quote"]) / Decimal(one["base"])
            assert abs(paid / Decimal(one["price"]) - 1) < Decimal("1e-9")
        assert (await traded(stack, market="ETHUSDC", limit="1000"))["trades"] == trades
        middle = trades[len(trades) // 2]["id"]
        page = await traded(stack, market="WETHUSDC", from_id=str(middle), limit="2")
        assert page["trades"] == [one for one in trades if one["id"] >= middle][:2]

        asked = {"market": "WETHUSDC", "interval": "1m", "start_ms": "0", "limit": "1000"}
        candles = (await stack.get("/v1/ethereum/candles", key=None, **asked)).json()["candles"]
        assert candles[0]["open_ms"] <= trades[0]["time_ms"] <= candles[0]["close_ms"]
        for before, after in pairwise(candles):
            assert after["open_ms"] == before["close_ms"] + 1
        assert sum(one["trades"] for one in candles) == len(trades)
        assert sum(Decimal(one["base_volume"]) for one in candles) == sum(Decimal(one["base"]) for one in trades)
        bought = [one for one in trades if not one["is_buyer_maker"]]
        assert sum(Decimal(one["taker_buy_quote"]) for one in candles) == sum(Decimal(one["quote"]) for one in bought)
        assert max(Decimal(one["high"]) for one in candles) == max(Decimal(one["price"]) for one in trades)
        assert (candles[-1]["close"], candles[-1]["is_closed"]) == (trades[-1]["price"], False)


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("trades", {"market": "ETHMOON"}, 404, "unknown_market"),
        ("trades", {"market": "ETHUSDC", "limit": "1001"}, 422, "invalid_request"),
        ("trades", {"market": "ETHUSDC", "limit": "0"}, 422, "invalid_request"),
        ("trades", {"market": "ETHUSDC", "from_id": "1", "start_ms": "1"}, 400, "invalid_parameters"),
        ("trades", {"market": "ETHUSDC", "start_ms": "2", "end_ms": "1"}, 400, "invalid_parameters"),
        ("trades", {"market": "ETHUSDC", "start_ms": "99999999999999999999"}, 422, "invalid_request"),
        ("candles", {"market": "ETHUSDC"}, 422, "invalid_request"),
        ("candles", {"market": "ETHUSDC", "interval": "1w"}, 422, "invalid_request"),
        ("candles", {"market": "ETHMOON", "interval": "1m"}, 404, "unknown_market"),
        ("candles", {"market": "ETHUSDC", "interval": "1m", "start_ms": "-1"}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_a_code(
    ethereum: LocalChain, tmp_path: Path, path: str, query: dict[str, str], status: int, code: str
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        answer = await stack.get(f"/v1/ethereum/{path}", key=None, **query)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
