"""Orders from the request to the books, on forks with the protocols' own bytecode."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chains.types import BlockHash, BlockRef
from chains.units import format_units, parse_units
from contracts.deployments import Venue
from contracts.quoting import best_quote
from scripts.devnet.network import LocalChain
from service.db import models as m
from tests.chainfixtures import manual_mining
from tests.e2e import traders
from tests.e2e.harness import BOB, Stack, on_venue, running

E18 = 10**18
FUNDS = {
    "ethereum": {
        "ETH": 10 * E18,
        "WETH": 5 * E18,
        "USDC": 20_000 * 10**6,
        "USDT": 20_000 * 10**6,
        "DAI": 5_000 * E18,
        "WBTC": 10**8,
    },
    "polygon": {
        "POL": 20_000 * E18,
        "WPOL": 20_000 * E18,
        "USDC": 5_000 * 10**6,
        "USDT": 5_000 * 10**6,
        "USDCE": 5_000 * 10**6,
        "WETH": 2 * E18,
    },
}

ETHEREUM_TRADES = [
    ("ETHUSDC", "sell", "base_amount", "0.5"),
    ("ETHUSDC", "sell", "quote_amount", "250"),
    ("ETHUSDC", "buy", "base_amount", "0.1"),
    ("ETHUSDC", "buy", "quote_amount", "300"),
    ("WETHUSDC", "sell", "base_amount", "0.2"),
    ("WETHUSDC", "sell", "quote_amount", "250"),
    ("WETHUSDC", "buy", "base_amount", "0.2"),
    ("WETHUSDC", "buy", "quote_amount", "300"),
    ("ETHUSDT", "buy", "quote_amount", "150.5"),
    ("ETHUSDT", "sell", "base_amount", "0.05"),
    ("ETHUSDT", "sell", "quote_amount", "75"),
    ("WBTCETH", "buy", "base_amount", "0.01"),
    ("WBTCUSDT", "sell", "base_amount", "0.002"),
    ("USDCUSDT", "buy", "base_amount", "120"),
    ("DAIUSDC", "sell", "quote_amount", "99.5"),
]
POLYGON_TRADES = [
    ("POLUSDC", "sell", "base_amount", "100"),
    ("POLUSDC", "sell", "quote_amount", "50"),
    ("POLUSDC", "buy", "quote_amount", "50"),
    ("POLUSDC", "buy", "base_amount", "75"),
    ("WPOLUSDCE", "sell", "quote_amount", "20"),
    ("WPOLUSDC", "sell", "base_amount", "40"),
    ("WPOLUSDC", "buy", "quote_amount", "20"),
    ("WPOLUSDC", "buy", "base_amount", "40"),
    ("POLWETH", "buy", "quote_amount", "0.01"),
    ("USDCEUSDC", "sell", "base_amount", "33.333333"),
]


async def trade(stack: Stack, chain: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Place an order and see it to its end."""
    answer = await stack.post(f"/v1/{chain}/orders", body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "NEW"
    return await stack.settle(f"/v1/orders/{answer.json()['id']}", chain)


async def check_executed_as_quoted(stack: Stack, chain: str, order: Mapping[str, Any]) -> None:
    """The fill is to the last base unit what the contracts answer at the block before the swap's."""
    runtime = stack.chain(chain)
    (fill,) = order["fills"]
    before = await runtime.client.header(fill["block_number"] - 1)
    assert before is not None
    market = runtime.assets.markets[order["market"]]
    sells = order["side"] == "sell"
    sold, bought = (market.base, market.quote) if sells else (market.quote, market.base)
    fixed = market.base if order["base_amount"] is not None else market.quote
    quote = await best_quote(
        runtime.client,
        assets=runtime.assets,
        deployments=runtime.deployments,
        sold=sold,
        bought=bought,
        amount=parse_units(order["base_amount"] or order["quote_amount"], fixed.decimals),
        exact="in" if fixed == sold else "out",
        block=BlockRef(number=before.number, hash=BlockHash(before.hash)),
    )
    base, in_quote = (quote.amount_in, quote.amount_out) if sells else (quote.amount_out, quote.amount_in)
    assert fill["base"] == order["filled_base"] == format_units(base, market.base.decimals)
    assert fill["quote"] == order["filled_quote"] == format_units(in_quote, market.quote.decimals)


@pytest.mark.parametrize(("market", "side", "field", "amount"), ETHEREUM_TRADES)
async def test_a_market_order_on_ethereum_trades_exactly_what_the_chain_quoted(
    ethereum: LocalChain, tmp_path: Path, market: str, side: str, field: str, amount: str
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        order = await trade(stack, "ethereum", {"market": market, "side": side, field: amount})
        assert order["state"] == "FILLED", order
        await check_executed_as_quoted(stack, "ethereum", order)
        await stack.check_books("ethereum")
        assert await stack.nothing_reserved("ethereum")


@pytest.mark.parametrize(("market", "side", "field", "amount"), POLYGON_TRADES)
async def test_a_market_order_on_polygon_trades_exactly_what_the_chain_quoted(
    polygon: LocalChain, tmp_path: Path, market: str, side: str, field: str, amount: str
) -> None:
    async with running(tmp_path, {"polygon": polygon}, funds=FUNDS) as stack:
        order = await trade(stack, "polygon", {"market": market, "side": side, field: amount})
        assert order["state"] == "FILLED", order
        await check_executed_as_quoted(stack, "polygon", order)
        await stack.check_books("polygon")


@pytest.mark.parametrize(
    ("market", "side", "field", "amount"),
    [
        ("ETHUSDC", "sell", "base_amount", "0.05"),
        ("ETHUSDC", "sell", "quote_amount", "20"),
        ("ETHUSDC", "buy", "base_amount", "0.01"),
        ("ETHUSDC", "buy", "quote_amount", "20"),
        ("WETHUSDC", "sell", "base_amount", "0.05"),
        ("WETHUSDC", "sell", "quote_amount", "20"),
        ("WETHUSDC", "buy", "base_amount", "0.05"),
        ("WETHUSDC", "buy", "quote_amount", "20"),
        ("ETHUSDT", "sell", "base_amount", "0.05"),
        ("ETHUSDT", "sell", "quote_amount", "20"),
        ("ETHUSDT", "buy", "base_amount", "0.01"),
        ("ETHUSDT", "buy", "quote_amount", "20"),
    ],
)
async def test_every_shape_works_on_uniswap_v2(
    ethereum: LocalChain, tmp_path: Path, market: str, side: str, field: str, amount: str
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as found:
        stack = on_venue(found, "ethereum", Venue.UNISWAP_V2)
        order = await trade(stack, "ethereum", {"market": market, "side": side, field: amount})
        assert order["state"] == "FILLED", order
        assert order["quoted"]["route"]["venues"] == ["uniswap_v2"]
        await check_executed_as_quoted(stack, "ethereum", order)
        await stack.check_books("ethereum")


@pytest.mark.parametrize(
    ("market", "side", "field", "amount"),
    [
        ("POLUSDC", "sell", "base_amount", "20"),
        ("POLUSDC", "sell", "quote_amount", "5"),
        ("POLUSDC", "buy", "base_amount", "20"),
        ("POLUSDC", "buy", "quote_amount", "5"),
        ("WPOLUSDC", "sell", "base_amount", "20"),
        ("WPOLUSDC", "sell", "quote_amount", "5"),
        ("WPOLUSDC", "buy", "base_amount", "20"),
        ("WPOLUSDC", "buy", "quote_amount", "5"),
    ],
)
async def test_every_shape_works_on_quickswap(
    polygon: LocalChain, tmp_path: Path, market: str, side: str, field: str, amount: str
) -> None:
    async with running(tmp_path, {"polygon": polygon}, funds=FUNDS) as found:
        stack = on_venue(found, "polygon", Venue.QUICKSWAP_V2)
        order = await trade(stack, "polygon", {"market": market, "side": side, field: amount})
        assert order["state"] == "FILLED", order
        assert order["quoted"]["route"]["venues"] == ["quickswap_v2"]
        await check_executed_as_quoted(stack, "polygon", order)
        await stack.check_books("polygon")


async def test_a_usdt_like_token_with_a_leftover_allowance_is_reset_and_traded(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        # Exact output leaves what the price did not need of the approved maximum.
        first = await trade(stack, "ethereum", {"market": "ETHUSDT", "side": "buy", "base_amount": "0.05"})
        second = await trade(stack, "ethereum", {"market": "ETHUSDT", "side": "buy", "base_amount": "0.07"})
        assert [first["state"], second["state"]] == ["FILLED", "FILLED"], second["reason"]
        assert [len(first["transactions"]), len(second["transactions"])] == [2, 3]
        await stack.check_books("ethereum")


async def test_orders_that_sell_the_same_token_at_the_same_time_do_not_disturb_each_other(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        bodies = [{"market": "ETHUSDT", "side": "buy", "base_amount": f"0.0{n}"} for n in (1, 2, 3)]
        answers = await asyncio.gather(*(stack.post("/v1/ethereum/orders", body) for body in bodies))
        assert [answer.status_code for answer in answers] == [202, 202, 202]
        for answer in answers:
            order = await stack.settle(f"/v1/orders/{answer.json()['id']}")
            assert order["state"] == "FILLED", order
        await stack.check_books("ethereum")
        assert await stack.nothing_reserved()


async def test_what_an_order_left_is_free_as_soon_as_the_order_is_mined(ethereum: LocalChain, tmp_path: Path) -> None:
    funds = {"ethereum": {"ETH": 10 * E18, "USDC": 1_000 * 10**6}}
    async with running(tmp_path, {"ethereum": ethereum}, funds=funds) as stack:
        first = await stack.post("/v1/ethereum/orders", {"market": "ETHUSDC", "side": "buy", "quote_amount": "600"})
        for _ in range(2):
            # Mined, but no block on top of it: nothing is confirmed.
            await stack.chain().engine.step()
        rows = {row["asset"]: row for row in (await stack.get("/v1/ethereum/balances")).json()["balances"]}
        assert (await stack.get(f"/v1/orders/{first.json()['id']}")).json()["state"] == "NEW"
        usdc = rows["USDC"]
        assert (usdc["total"], usdc["reserved"], usdc["available"]) == ("400", "0", "400")

        second = await stack.post("/v1/ethereum/orders", {"market": "ETHUSDC", "side": "buy", "quote_amount": "400"})
        assert second.status_code == 202, second.text
        assert (await stack.settle(f"/v1/orders/{second.json()['id']}"))["state"] == "FILLED"
        assert (await stack.get(f"/v1/orders/{first.json()['id']}")).json()["state"] == "FILLED"
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_the_same_client_id_five_times_at_once_gives_one_order(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.5", "client_order_id": "once"}
        answers = await asyncio.gather(*(stack.post("/v1/ethereum/orders", body) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert await stack.count(m.orders) == await stack.count(m.plans) == 1
        order = await stack.settle(f"/v1/orders/{answers[0].json()['id']}")
        assert order["state"] == "FILLED"

        # Written differently, but the same amount: the same order, as it is now.
        again = await stack.post("/v1/ethereum/orders", body | {"base_amount": "0.50"})
        assert (again.status_code, again.json()["state"]) == (200, "FILLED")
        other = await stack.post("/v1/ethereum/orders", body | {"base_amount": "0.51"})
        assert (other.status_code, other.json()["code"]) == (409, "conflict_client_id")
        assert await stack.count(m.orders) == 1
        await stack.check_books()


@pytest.mark.postgres
async def test_on_postgresql_racing_requests_with_one_client_id_give_one_order_and_one_withdrawal(
    ethereum: LocalChain, tmp_path: Path, postgres_url: str
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, database_url=postgres_url) as stack:
        order = {"market": "USDCUSDT", "side": "sell", "base_amount": "50", "client_order_id": "once"}
        withdrawal = {"asset": "DAI", "amount": "7", "address": BOB, "client_withdrawal_id": "once"}
        placed = await asyncio.gather(*(stack.post("/v1/ethereum/orders", order) for _ in range(5)))
        asked = await asyncio.gather(
            *(stack.post("/v1/ethereum/withdrawals", withdrawal, key="withdraw") for _ in range(5))
        )
        for answers in (placed, asked):
            assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
            assert len({answer.json()["id"] for answer in answers}) == 1
        assert await stack.count(m.plans) == 2
        assert (await stack.settle(f"/v1/orders/{placed[0].json()['id']}"))["state"] == "FILLED"
        await stack.settle(f"/v1/withdrawals/{asked[0].json()['id']}")
        await stack.check_books()


async def test_a_repeated_order_is_answered_even_when_its_funds_are_spent(ethereum: LocalChain, tmp_path: Path) -> None:
    funds = {"ethereum": {"ETH": 10 * E18, "USDC": 100 * 10**6}}
    async with running(tmp_path, {"ethereum": ethereum}, funds=funds) as stack:
        body = {"market": "ETHUSDC", "side": "buy", "quote_amount": "100", "client_order_id": "all-of-it"}
        first = await trade(stack, "ethereum", body)
        again = await stack.post("/v1/ethereum/orders", body)
        assert (again.status_code, again.json()["id"]) == (200, first["id"])


async def test_a_pool_moved_before_the_swap_is_mined_expires_the_order_and_books_the_gas(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """F48"""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        answer = await stack.post("/v1/ethereum/orders", {"market": "ETHUSDC", "side": "sell", "base_amount": "0.5"})
        rpc = stack.rpcs["ethereum"]
        with manual_mining(rpc):
            await stack.chain().engine.step()
            await asyncio.to_thread(traders.dump_ether, rpc)
            await stack.mine("ethereum", 1)
        order = await stack.settle(f"/v1/orders/{answer.json()['id']}")
        assert (order["state"], order["reason"]) == ("EXPIRED", "swap_reverted"), order
        assert order["filled_base"] == "0"
        assert order["gas"]["amount"] != "0"
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_a_pool_moved_before_the_swap_is_sent_rejects_the_order_without_a_transaction(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """F48"""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        answer = await stack.post("/v1/ethereum/orders", {"market": "ETHUSDC", "side": "sell", "base_amount": "0.5"})
        await asyncio.to_thread(traders.dump_ether, stack.rpcs["ethereum"])
        order = await stack.settle(f"/v1/orders/{answer.json()['id']}")
        assert order["state"] == "REJECTED"
        assert order["gas"]["amount"] == "0"
        assert await stack.count(m.txs) == 0
        assert await stack.nothing_reserved()


async def test_a_tested_order_answers_with_its_quote_and_leaves_nothing(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        body = {"market": "USDCUSDT", "side": "buy", "base_amount": "10", "client_order_id": "test-1"}
        answer = await stack.post("/v1/ethereum/orders/test", body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["quote"]["buy"] == {"asset": "USDC", "amount": "10"}
        assert await stack.count(m.orders) == await stack.count(m.plans) == 0
        assert await stack.nothing_reserved()


async def test_orders_are_listed_and_found_by_client_id(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        ids = []
        for number in range(3):
            body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.01", "client_order_id": f"n-{number}"}
            ids.append((await stack.post("/v1/ethereum/orders", body)).json()["id"])
        listed = (await stack.get("/v1/orders", limit="2")).json()["orders"]
        assert [order["id"] for order in listed] == [ids[2], ids[1]]
        rest = (await stack.get("/v1/orders", before=str(ids[1]))).json()["orders"]
        assert [order["id"] for order in rest] == [ids[0]]
        found = (await stack.get("/v1/orders", client_order_id="n-1")).json()["orders"]
        assert [order["id"] for order in found] == [ids[1]]
        none = (await stack.get("/v1/orders", state="FILLED")).json()["orders"]
        assert none == []
        missing = await stack.get("/v1/orders/999999")
        assert (missing.status_code, missing.json()["code"]) == (404, "order_not_found")
