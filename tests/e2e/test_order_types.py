"""Limit orders, makers and stops through the API, on forks with the protocols' own bytecode."""

import asyncio
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select

from chains.units import parse_units
from contracts.deployments import load_deployments
from contracts.ratio import Ratio
from scripts.devnet.network import LocalChain
from service.control.rejecting import Rejecter
from service.control.revoking import end_what_is_open
from service.db import models as m
from service.journal import books, reservations
from service.orders import storage
from service.orders.model import Order, OrderTry
from service.workers.keeper import keeper_of
from tests.chainfixtures import manual_mining
from tests.e2e import traders
from tests.e2e.harness import Stack, running, with_settings

E18 = 10**18
FUNDS = {
    "ethereum": {"ETH": 20 * E18, "WETH": 3_000 * E18, "USDC": 100_000 * 10**6},
    "polygon": {"POL": 20_000 * E18, "USDC": 5_000 * 10**6},
}
TICK = Decimal("0.01")
PATIENCE_S = 120


async def mid(stack: Stack, market: str = "ETHUSDC", chain: str = "ethereum") -> Decimal:
    """The pools' price now; for sums of a test only."""
    answer = await stack.get(f"/v1/{chain}/quote", market=market, side="sell", base_amount="0.01")
    assert answer.status_code == 200, answer.text
    return Decimal(answer.json()["mid_price"])


def at(price: Decimal, percent: str) -> str:
    """A price so many percent of another one, on the tick."""
    wanted = price * Decimal(percent) / 100
    return str(wanted.quantize(TICK, rounding=ROUND_FLOOR if Decimal(percent) < 100 else ROUND_CEILING))


def limit(side: str, price: str, amount: str, **more: Any) -> dict[str, Any]:
    return {
        "market": "ETHUSDC",
        "side": side,
        "type": "limit",
        "time_in_force": "gtc",
        "base_amount": amount,
        "price": price,
    } | more


async def placed(stack: Stack, body: dict[str, Any], chain: str = "ethereum") -> dict[str, Any]:
    answer = await stack.post(f"/v1/{chain}/orders", body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def refused(stack: Stack, body: dict[str, Any], chain: str = "ethereum") -> str:
    answer = await stack.post(f"/v1/{chain}/orders", body)
    assert answer.status_code in (400, 409), answer.text
    assert await stack.nothing_reserved(chain)
    return str(answer.json()["code"])


async def delete(stack: Stack, path: str, key: str = "trade") -> httpx.Response:
    return await stack.client.delete(path, headers=stack.headers("DELETE", path, b"", key=key))


async def try_and_order(stack: Stack, order_id: int) -> tuple[OrderTry, Order]:
    """Its only try, and the order."""

    def read(c: Connection) -> tuple[OrderTry, Order]:
        order = storage.order_by_id(c, order_id, wallet_id=stack.wallet.id)
        [tried] = storage.tries_of(c, order_id)
        if order is None:
            raise AssertionError(order_id)
        return tried, order

    return await stack.services.db.read(read)


def check_inside(stack: Stack, order: dict[str, Any]) -> None:
    """What was paid is inside the limit price, to the base unit."""
    market = stack.chain().assets.markets[order["market"]]
    base, quote = stack.raw(market.base.symbol, order["filled_base"]), stack.raw("USDC", order["filled_quote"])
    price = Ratio.of(parse_units(order["price"], 30) * 10**6, 10**30 * 10**18)
    assert quote >= price.times_up(base) if order["side"] == "sell" else quote <= price.times(base), order


@pytest.mark.parametrize(("side", "percent"), [("sell", "99.5"), ("buy", "100.5")])
async def test_a_fill_or_kill_order_inside_its_limit_trades_as_a_whole(
    fresh_ethereum: LocalChain, tmp_path: Path, side: str, percent: str
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        price = at(await mid(stack), percent)
        order = await placed(stack, limit(side, price, "0.5", time_in_force="fok"))
        assert (order["state"], order["resting"], order["price"]) == ("NEW", False, price.rstrip("0").rstrip("."))
        ended = await stack.settle(f"/v1/orders/{order['id']}")
        assert (ended["state"], ended["filled_base"], ended["reason"]) == ("FILLED", "0.5", None), ended
        check_inside(stack, ended)
        assert ended["lp_fee"]["amount"] != "0"
        await stack.check_books()
        assert await stack.nothing_reserved()


@pytest.mark.parametrize("side", ["sell", "buy"])
async def test_the_limit_on_the_chain_is_the_stricter_of_the_price_and_the_quote_less_slippage(
    fresh_ethereum: LocalChain, tmp_path: Path, side: str
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        loose = await placed(stack, limit(side, at(now, "90" if side == "sell" else "110"), "0.1", slippage_bps=10))
        tight = await placed(
            stack, limit(side, at(now, "99.8" if side == "sell" else "100.2"), "0.1", slippage_bps=300)
        )
        for order, by_price in ((loose, False), (tight, True)):
            tried, stored = await try_and_order(stack, order["id"])
            same = (tried.max_sold, tried.min_bought) == (stored.max_sold, stored.min_bought)
            assert same is by_price
            assert tried.max_sold <= stored.max_sold
            assert tried.min_bought >= stored.min_bought
            assert (await stack.settle(f"/v1/orders/{order['id']}"))["state"] == "FILLED"


async def test_a_fill_or_kill_order_that_does_not_fit_expires_without_a_transaction(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        body = limit("sell", at(await mid(stack), "101"), "0.5", time_in_force="fok", client_order_id="fok-1")
        order = await placed(stack, body)
        assert (order["state"], order["reason"]) == ("EXPIRED", "unfilled_fok")
        assert order["expiry_reason"] == "UNFILLED_FOK_ORDER_EXPIRED"
        assert order["filled_base"] == "0"
        assert await stack.count(m.plans) == 0
        assert await stack.nothing_reserved()
        again = await stack.post("/v1/ethereum/orders", body)
        assert (again.status_code, again.json()["id"]) == (200, order["id"])


@pytest.mark.parametrize(("side", "percent"), [("sell", "99.6"), ("buy", "100.2")])
async def test_an_immediate_or_cancel_order_takes_the_largest_part_inside_its_limit(
    fresh_ethereum: LocalChain, tmp_path: Path, side: str, percent: str
) -> None:
    funds = {"ethereum": {"ETH": 20 * E18, "WETH": 6_000 * E18, "USDC": 40_000_000 * 10**6}}
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=funds) as stack:
        price = at(await mid(stack, "WETHUSDC"), percent)
        body = limit(side, price, "6000", market="WETHUSDC", time_in_force="ioc")
        tested = await stack.post("/v1/ethereum/orders/test", body)
        assert tested.status_code == 200, tested.text
        quote = tested.json()["quote"]
        order = await placed(stack, body)
        ended = await stack.settle(f"/v1/orders/{order['id']}")
        assert (ended["state"], ended["reason"]) == ("EXPIRED", "unfilled_ioc"), ended
        assert ended["expiry_reason"] == "UNFILLED_IOC_QUANTITY_EXPIRED"
        # What was quoted is what was executed.
        sold, bought = ("base", "quote") if side == "sell" else ("quote", "base")
        assert (ended[f"filled_{sold}"], ended[f"filled_{bought}"]) == (quote["sell"]["amount"], quote["buy"]["amount"])
        assert Decimal(0) < Decimal(ended["filled_base"]) < 6000
        check_inside(stack, ended)
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_no_larger_part_of_an_immediate_or_cancel_order_would_have_been_inside(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        price = at(await mid(stack, "WETHUSDC"), "99.6")
        body = limit("sell", price, "3000", market="WETHUSDC", time_in_force="ioc")
        tested = (await stack.post("/v1/ethereum/orders/test", body)).json()
        part = Decimal(tested["quote"]["sell"]["amount"])
        more = str((part + Decimal("0.001")).quantize(Decimal("0.00000001")))
        whole = limit("sell", price, more, market="WETHUSDC", time_in_force="fok")
        assert (await stack.post("/v1/ethereum/orders/test", whole)).json()["outcome"] == "expire"
        fits = limit("sell", price, str(part), market="WETHUSDC", time_in_force="fok")
        assert (await stack.post("/v1/ethereum/orders/test", fits)).json()["outcome"] == "trade"


async def test_an_immediate_or_cancel_order_that_finds_nothing_expires_without_a_transaction(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        order = await placed(stack, limit("buy", at(await mid(stack), "98"), "0.5", time_in_force="ioc"))
        assert (order["state"], order["reason"]) == ("EXPIRED", "unfilled_ioc")
        assert await stack.count(m.plans) == 0
        assert await stack.nothing_reserved()


async def test_counted_gas_makes_a_small_order_that_fits_without_it_wait(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        price = at(await mid(stack), "99.9")
        for counted, outcome in ((False, "trade"), (True, "rest")):
            body = limit("sell", price, "0.05", count_gas=counted)
            tested = await stack.post("/v1/ethereum/orders/test", body)
            assert tested.json()["outcome"] == outcome, tested.text


async def test_an_order_outside_its_limit_rests_with_a_hold_and_survives_a_restart(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        order = await placed(stack, limit("sell", at(await mid(stack), "105"), "2"))
        assert (order["state"], order["resting"], order["tries"]) == ("NEW", True, 0)
        assert order["expires_ms"] > order["created_ms"]
        held = await stack.services.db.read(
            lambda c: reservations.held(c, stack.wallet.id, stack.chain().config.chain_id)
        )
        stack = await stack.restarted()
        again = (await stack.get(f"/v1/orders/{order['id']}")).json()
        assert {name: again[name] for name in order} == order
        later = await stack.services.db.read(
            lambda c: reservations.held(c, stack.wallet.id, stack.chain().config.chain_id)
        )
        assert later == held
        assert held[stack.chain().assets.native.id] > 2 * E18
        listed = (await stack.get("/v1/orders", open="true")).json()["orders"]
        assert [found["id"] for found in listed] == [order["id"]]
        assert (await stack.get("/v1/orders", open="false")).json()["orders"] == []
        cancelled = await delete(stack, f"/v1/orders/{order['id']}")
        assert cancelled.status_code == 200, cancelled.text
        assert (cancelled.json()["state"], cancelled.json()["reason"]) == ("CANCELED", "asked")
        assert await stack.nothing_reserved()
        assert (await delete(stack, f"/v1/orders/{order['id']}")).json()["state"] == "CANCELED"
        await stack.services.close()


async def test_what_rests_is_not_free_for_others(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        price = at(await mid(stack), "105")
        await placed(stack, limit("sell", price, "15"))
        answer = await stack.post("/v1/ethereum/orders", limit("sell", price, "10"))
        assert answer.json()["code"] == "insufficient_gas", answer.text
        await placed(stack, limit("sell", price, "3"))


async def test_a_maker_is_refused_when_it_would_trade_and_rests_otherwise(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        maker = limit("sell", at(now, "99"), "0.5", type="limit_maker")
        maker.pop("time_in_force")
        assert await refused(stack, maker) == "would_take"
        order = await placed(stack, maker | {"price": at(now, "101")})
        assert (order["resting"], order["time_in_force"], order["type"]) == (True, "gtc", "limit_maker")


@pytest.mark.parametrize(
    ("kind", "side", "waits", "reached"),
    [
        ("stop_loss_limit", "sell", "95", "105"),
        ("stop_loss_limit", "buy", "105", "95"),
        ("take_profit_limit", "sell", "105", "95"),
        ("take_profit_limit", "buy", "95", "105"),
    ],
)
async def test_a_stop_rests_until_its_price_and_is_refused_beyond_it(
    fresh_ethereum: LocalChain, tmp_path: Path, kind: str, side: str, waits: str, reached: str
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        # A limit that would trade at once: only the stop keeps it back.
        body = limit(side, at(now, "90" if side == "sell" else "110"), "0.5", type=kind, stop_price=at(now, waits))
        assert await refused(stack, body | {"stop_price": at(now, reached)}) == "would_trigger"
        order = await placed(stack, body)
        assert (order["resting"], order["triggered_ms"], order["state"]) == (True, None, "NEW")


async def test_prices_off_the_tick_outside_the_band_and_sizes_off_the_step_are_refused(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        good = limit("sell", at(now, "105"), "0.5")
        assert await refused(stack, good | {"price": good["price"] + "1"}) == "price_not_on_tick"
        assert await refused(stack, good | {"price": at(now, "151")}) == "price_outside_band"
        assert await refused(stack, good | {"price": at(now, "49")}) == "price_outside_band"
        assert await refused(stack, good | {"base_amount": "0.5000000001"}) == "amount_not_on_step"
        assert await refused(stack, good | {"base_amount": "0.0001"}) == "amount_too_small"
        assert await refused(stack, good | {"expires_ms": 1}) == "invalid_parameters"
        assert await refused(stack, good | {"price": "-3"}) == "invalid_price"


async def test_open_orders_are_bounded(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as running_stack:
        stack = with_settings(running_stack, max_open_orders_market=1)
        body = limit("sell", at(await mid(stack), "105"), "0.5")
        first = await placed(stack, body)
        assert (await stack.post("/v1/ethereum/orders", body)).json()["code"] == "too_many_open_orders"
        assert (await delete(stack, f"/v1/orders/{first['id']}")).status_code == 200
        await placed(stack, body)


async def test_a_queued_order_is_cancelled_and_one_with_a_nonce_is_not(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
        queued = await placed(stack, body | {"client_order_id": "queued-1"})
        gone = await delete(stack, "/v1/orders/by-client-id/queued-1")
        assert (gone.status_code, gone.json()["state"]) == (200, "CANCELED"), gone.text
        assert await stack.nothing_reserved()
        await stack.round()
        assert await stack.count(m.txs) == 0
        assert (await stack.get(f"/v1/orders/{queued['id']}")).json()["state"] == "CANCELED"
        sent = await placed(stack, body)
        with manual_mining(stack.rpcs["ethereum"]):
            await stack.chain().engine.step()
            late = await delete(stack, f"/v1/orders/{sent['id']}")
            assert (late.status_code, late.json()["code"]) == (409, "order_being_executed"), late.text
            all_of_it = (await delete(stack, "/v1/ethereum/orders")).json()
            assert [order["id"] for order in all_of_it["being_executed"]] == [sent["id"]]
            await stack.mine("ethereum", 1)
        assert (await stack.settle(f"/v1/orders/{sent['id']}"))["state"] == "FILLED"
        ended = await delete(stack, f"/v1/orders/{sent['id']}")
        assert (ended.status_code, ended.json()["code"]) == (409, "order_not_open")


async def test_cancels_that_race_the_lane_end_each_order_once(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
        orders = [await placed(stack, body) for _ in range(6)]

        async def late(order: dict[str, Any], turns: int) -> httpx.Response:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await delete(stack, f"/v1/orders/{order['id']}")

        cancels = [late(order, 40 * at) for at, order in enumerate(reversed(orders))]
        step = asyncio.create_task(stack.chain().engine.step())
        answers = await asyncio.gather(*cancels)
        await step
        for _ in range(3):
            await stack.round()
        ended = {order["id"]: (await stack.get(f"/v1/orders/{order['id']}")).json() for order in orders}
        for order, answer in zip(reversed(orders), answers, strict=True):
            found = ended[order["id"]]
            if answer.status_code == 200:
                assert (found["state"], found["filled_base"]) == ("CANCELED", "0")
                assert all(step["tx_hash"] is None for step in found["transactions"])
            else:
                assert answer.json()["code"] in ("order_being_executed", "order_not_open"), answer.text
                assert (found["state"], found["filled_base"]) == ("FILLED", "0.1")
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_all_orders_of_a_market_are_cancelled_and_those_of_others_stay(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        price = at(await mid(stack), "105")
        here = [await placed(stack, limit("sell", price, "0.5")) for _ in range(2)]
        there = await placed(stack, limit("sell", price, "0.5", market="WETHUSDC"))
        answer = (await delete(stack, "/v1/ethereum/orders?market=ETHUSDC")).json()
        assert [order["id"] for order in answer["cancelled"]] == [order["id"] for order in here]
        assert (await stack.get(f"/v1/orders/{there['id']}")).json()["resting"] is True


async def replace(stack: Stack, cancel: dict[str, Any], order: dict[str, Any], mode: str) -> httpx.Response:
    body = {"cancel_order_id": cancel["id"], "mode": mode, "order": order}
    return await stack.post("/v1/ethereum/orders/replace", body)


async def test_a_replacement_uses_the_funds_of_the_order_that_it_replaces_and_repeats_itself(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        old = await placed(stack, limit("sell", at(now, "105"), "15"))
        new = limit("sell", at(now, "104"), "16", client_order_id="new-1")
        answer = await replace(stack, old, new, "stop_on_failure")
        assert answer.status_code == 202, answer.text
        done = answer.json()
        assert (done["cancelled"]["state"], done["cancelled"]["reason"]) == ("CANCELED", "replaced")
        assert (done["placed"]["state"], done["placed"]["resting"]) == ("NEW", True)
        again = await replace(stack, old, new, "stop_on_failure")
        assert again.status_code == 200, again.text
        assert again.json()["placed"]["id"] == done["placed"]["id"]
        assert again.json()["cancelled"]["id"] == done["cancelled"]["id"]
        assert await stack.count(m.orders) == 2


async def test_a_replacement_that_is_refused_leaves_the_old_order_unless_failure_is_allowed(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        old = await placed(stack, limit("sell", at(now, "105"), "15"))
        too_much = limit("sell", at(now, "104"), "1000")
        answer = await replace(stack, old, too_much, "stop_on_failure")
        assert answer.json()["code"] == "insufficient_gas", answer.text
        assert (await stack.get(f"/v1/orders/{old['id']}")).json()["resting"] is True
        answer = await replace(stack, old, too_much, "allow_failure")
        assert answer.status_code == 200, answer.text
        assert answer.json()["cancelled"]["state"] == "CANCELED"
        assert answer.json()["place_error"]["code"] == "insufficient_gas"
        assert answer.json()["placed"] is None
        good = limit("sell", at(now, "104"), "1", client_order_id="good")
        assert (await replace(stack, old, good, "stop_on_failure")).json()["code"] == "order_not_open"
        both = (await replace(stack, old, good, "allow_failure")).json()
        assert both["cancel_error"]["code"] == "order_not_open"
        assert both["placed"]["resting"] is True
        again = (await replace(stack, old, good, "allow_failure")).json()
        assert [again[name] and again[name].get("code") for name in ("cancelled", "cancel_error")] == [
            None,
            "order_not_open",
        ]
        assert again["placed"]["id"] == both["placed"]["id"]


async def test_a_try_that_reverts_leaves_the_order_resting_with_its_hold_until_the_deadline(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        order = await placed(stack, limit("sell", at(await mid(stack), "99.5"), "0.5"))
        assert order["resting"] is False
        rpc = stack.rpcs["ethereum"]
        with manual_mining(rpc):
            await stack.chain().engine.step()
            await asyncio.to_thread(traders.dump_ether, rpc)
            await stack.mine("ethereum", 1)
        for _ in range(3):
            await stack.round()
        found = (await stack.get(f"/v1/orders/{order['id']}")).json()
        assert (found["state"], found["resting"], found["reason"]) == ("NEW", True, "swap_reverted"), found
        assert found["tries"] == 1
        assert found["gas"]["amount"] != "0"
        tried, _ = await try_and_order(stack, order["id"])
        assert found["retry_after_ms"] >= tried.deadline_s * 1000
        assert not await stack.nothing_reserved()
        await stack.check_books()
        assert (await delete(stack, f"/v1/orders/{order['id']}")).json()["state"] == "CANCELED"
        assert await stack.nothing_reserved()


async def test_fills_are_listed_by_market_order_and_time(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        first = await placed(stack, {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"})
        await stack.settle(f"/v1/orders/{first['id']}")
        second = await placed(stack, {"market": "WETHUSDC", "side": "sell", "base_amount": "0.1"})
        await stack.settle(f"/v1/orders/{second['id']}")
        fills = (await stack.get("/v1/fills")).json()["fills"]
        assert [fill["order_id"] for fill in fills] == [second["id"], first["id"]]
        for query, wanted in (
            ({"market": "ETHUSDC"}, [first["id"]]),
            ({"order_id": str(second["id"])}, [second["id"]]),
            ({"chain": "polygon"}, []),
            ({"before": str(fills[0]["id"])}, [first["id"]]),
            ({"since_ms": str(fills[0]["created_ms"] + 1)}, []),
            ({"until_ms": str(fills[1]["created_ms"])}, []),
        ):
            found = (await stack.get("/v1/fills", **query)).json()["fills"]
            assert [fill["order_id"] for fill in found] == wanted, query


async def test_every_order_reconciles_to_the_wei_with_what_the_books_say_of_it(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now, token = await mid(stack), await mid(stack, "WETHUSDC")
        bodies = [
            {"market": "ETHUSDC", "side": "sell", "base_amount": "0.3"},
            {"market": "WETHUSDC", "side": "buy", "quote_amount": "500"},
            limit("sell", at(now, "99.5"), "0.2", time_in_force="fok"),
            limit("buy", at(token, "100.5"), "0.2", market="WETHUSDC", time_in_force="ioc"),
            limit("sell", at(token, "99.6"), "2500", market="WETHUSDC", time_in_force="ioc"),
            limit("buy", at(now, "100.6"), "0.1"),
            limit("buy", at(now, "90"), "0.1", time_in_force="fok"),
        ]
        ended = []
        for body in bodies:
            order = await placed(stack, body)
            ended.append(order if order["state"] == "EXPIRED" else await stack.settle(f"/v1/orders/{order['id']}"))
        assert [order["state"] for order in ended] == ["FILLED"] * 4 + ["EXPIRED", "FILLED", "EXPIRED"]
        journal: dict[tuple[str, str], int] = {}
        for entry in await stack.services.db.read(lambda c: books.entries(c, stack.wallet.account_id)):
            key = (entry.cause_id, entry.asset_id)
            journal[key] = journal.get(key, 0) + entry.raw
        for order in ended:
            wanted: dict[str, int] = {}
            market = stack.chain().assets.markets[order["market"]]
            sign = -1 if order["side"] == "sell" else 1
            moves = (
                (market.base, sign * stack.raw(market.base.symbol, order["filled_base"])),
                (market.quote, -sign * stack.raw(market.quote.symbol, order["filled_quote"])),
                (stack.chain().assets.native, -stack.raw("ETH", order["gas"]["amount"])),
            )
            for asset, raw in moves:
                wanted[asset.id] = wanted.get(asset.id, 0) + raw
            cause = f"order:{order['id']}"
            booked = {asset: raw for (of, asset), raw in journal.items() if of == cause}
            assert {asset: raw for asset, raw in booked.items() if raw} == {
                asset: raw for asset, raw in wanted.items() if raw
            }, order
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_what_the_key_does_not_see_it_does_not_cancel(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        order = await placed(stack, limit("sell", at(await mid(stack), "105"), "0.5", client_order_id="mine"))
        assert (await delete(stack, f"/v1/orders/{order['id']}", key="read")).json()["code"] == "permission_denied"
        for path in (f"/v1/orders/{order['id'] + 1}", "/v1/orders/by-client-id/other"):
            answer = await delete(stack, path)
            assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")
        assert (await stack.get(f"/v1/orders/{order['id']}")).json()["resting"] is True


async def test_a_revoked_keys_resting_orders_are_cancelled_with_it(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        order = await placed(stack, limit("sell", at(await mid(stack), "105"), "0.5"))
        services = stack.services
        rejecter = Rejecter(
            configs=services.configs,
            assets=services.assets,
            deployments=load_deployments(),
            master=services.master,
            clock=services.clock,
        )
        now_ms = services.clock.now_ms()
        await services.db.run(lambda c: end_what_is_open(c, stack.keys["trade"].id, rejecter=rejecter, now_ms=now_ms))
        found = (await stack.get(f"/v1/orders/{order['id']}")).json()
        assert (found["state"], found["reason"]) == ("CANCELED", "key_revoked")
        assert await stack.nothing_reserved()


async def test_placing_cancelling_and_replacing_are_in_the_audit_log_and_the_outbox(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        first = await placed(stack, limit("sell", at(now, "105"), "0.5"))
        second = (await replace(stack, first, limit("sell", at(now, "104"), "0.5"), "stop_on_failure")).json()["placed"]
        assert (await delete(stack, f"/v1/orders/{second['id']}")).status_code == 200
        acts = await stack.services.db.read(
            lambda c: list(
                c.execute(
                    select(m.audit_entries.c.act).order_by(m.audit_entries.c.chain, m.audit_entries.c.seq)
                ).scalars()
            )
        )
        assert [act for act in acts if act.startswith("order.")] == [
            "order.place",
            "order.cancel",
            "order.place",
            "order.replace",
            "order.cancel",
        ]
        events = await stack.services.db.read(lambda c: books.events(c, stack.wallet.account_id))
        told = [(event.payload["id"], event.payload["state"]) for event in events if event.kind == "order"]
        assert told == [
            (first["id"], "NEW"),
            (first["id"], "CANCELED"),
            (second["id"], "NEW"),
            (second["id"], "CANCELED"),
        ]


async def kept(stack: Stack) -> None:
    """A look of the keeper, and what follows from it."""
    await keeper_of(stack.services, stack.chain()).step()
    await stack.round()


async def test_resting_orders_trade_once_the_price_has_come_and_stops_fire(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        buy = await placed(stack, limit("buy", at(now, "99.8"), "0.3"))
        stop = await placed(
            stack, limit("sell", at(now, "97"), "0.2", type="stop_loss_limit", stop_price=at(now, "99.7"))
        )
        far = await placed(stack, limit("buy", at(now, "90"), "0.1"))
        await kept(stack)
        for order in (buy, stop, far):
            assert (await stack.get(f"/v1/orders/{order['id']}")).json()["resting"] is True
        sale = await placed(stack, {"market": "WETHUSDC", "side": "sell", "base_amount": "2500", "slippage_bps": 300})
        assert (await stack.settle(f"/v1/orders/{sale['id']}"))["state"] == "FILLED"
        async with asyncio.timeout(PATIENCE_S):
            # Pools are looked at again after a moment; in a running service a worker follows each head.
            while len((await stack.get("/v1/orders", open="true")).json()["orders"]) > 1:
                await kept(stack)
        bought = (await stack.get(f"/v1/orders/{buy['id']}")).json()
        sold = (await stack.get(f"/v1/orders/{stop['id']}")).json()
        assert (bought["state"], sold["state"]) == ("FILLED", "FILLED"), (bought, sold)
        assert sold["triggered_ms"] is not None
        for order in (bought, sold):
            check_inside(stack, order)
            assert order["tries"] == 1
        assert (await stack.get(f"/v1/orders/{far['id']}")).json()["resting"] is True
        assert (await delete(stack, f"/v1/orders/{far['id']}")).status_code == 200
        await stack.check_books()
        assert await stack.nothing_reserved()
