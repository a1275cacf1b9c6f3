"""Somebody writes to the database behind the running service, on a chain: what they write is not signed (F79)."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from chains.tx.model import Lane, payload_hash
from chains.types import CallRequest, address_bytes
from contracts.swaps import decode_swap, encode_swap
from scripts.devnet.network import LocalChain
from service.audit.acts import ORDER_ALTERED, SIGNING_REFUSED
from service.audit.reading import Wanted, newest
from service.db import models as m
from tests.e2e.harness import BOB, Stack, running
from tests.e2e.test_order_types import FUNDS, PATIENCE_S, at, delete, kept, limit, mid, placed
from tests.service.orders.tampering import copy, read, write

SALE = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.5"}


async def acts(stack: Stack, act: str) -> list[str | None]:
    found = await stack.services.db.read(lambda c: newest(c, Wanted(act=act), limit=20))
    return [entry.subject for entry in found]


async def calls_signed(stack: Stack, plan_id: str) -> int:
    """How many transactions a plan ever had."""

    def count(c: Connection) -> int:
        of_plan = m.txs.join(m.intents, m.intents.c.id == m.txs.c.intent_id)
        return len(c.execute(select(m.txs.c.id).select_from(of_plan).where(m.intents.c.plan_id == plan_id)).all())

    return await stack.services.db.read(count)


def database(directory: Path) -> str:
    [file] = directory.rglob("cambist.sqlite")
    return f"sqlite:///{file}"


async def test_a_resting_order_that_was_edited_is_cancelled_and_the_honest_one_beside_it_fills(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        honest = await placed(stack, limit("buy", at(now, "99.8"), "0.3"))
        edited = await placed(stack, limit("buy", at(now, "99.8"), "0.3"))
        await kept(stack)
        # It would pay ten times as much now, and tell so.
        write(
            database(tmp_path),
            "UPDATE orders SET price = '10000/' || substr(price, instr(price, '/') + 1), updated_ms = updated_ms + 1,"
            " max_sold = printf('%078d', 9000000000) WHERE id = ?",
            edited["id"],
        )
        copy(database(tmp_path), m.orders, where=f"id = {honest['id']}", id="9999", client_id="'nobody sent it'")
        sale = await placed(stack, {"market": "WETHUSDC", "side": "sell", "base_amount": "2500", "slippage_bps": 300})
        assert (await stack.settle(f"/v1/orders/{sale['id']}"))["state"] == "FILLED"
        async with asyncio.timeout(PATIENCE_S):
            while (await stack.get("/v1/orders", open="true")).json()["orders"]:
                await kept(stack)
        filled = (await stack.get(f"/v1/orders/{honest['id']}")).json()
        assert (filled["state"], filled["filled_base"]) == ("FILLED", "0.3"), filled
        for order_id in (edited["id"], 9999):
            found = (await stack.get(f"/v1/orders/{order_id}")).json()
            assert (found["state"], found["reason"], found["filled_base"]) == ("CANCELED", "altered", "0")
            assert read(database(tmp_path), "SELECT * FROM order_plans WHERE order_id = ?", order_id) == []
        assert sorted(await acts(stack, ORDER_ALTERED), key=str) == sorted([str(edited["id"]), "9999"], key=str)
        assert await stack.nothing_reserved()
        await stack.check_books()


async def test_a_queued_swap_whose_limit_was_taken_away_is_not_signed_and_the_lane_goes_on(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """Order, try, calldata and payload hash edited together, so that each fits the others."""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        order = await placed(stack, SALE)
        honest = await placed(stack, SALE | {"base_amount": "0.1"})
        await loosened(stack, database(tmp_path), order["id"])
        ended = await stack.settle(f"/v1/orders/{order['id']}")
        assert (ended["state"], ended["reason"]) == ("CANCELED", "altered"), ended
        assert await calls_signed(stack, f"order:{order['id']}:1") == 0
        assert (await stack.settle(f"/v1/orders/{honest['id']}"))["state"] == "FILLED"
        assert await acts(stack, SIGNING_REFUSED) == [f"order:{order['id']}:1"]
        assert await acts(stack, ORDER_ALTERED) == [str(order["id"])]
        assert await stack.nothing_reserved()
        await stack.check_books()


async def test_a_plan_of_nothing_in_the_queue_is_not_signed_and_the_lane_goes_on(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """All that the wallet has, to somebody else; and an honest order's swap once more, under another plan."""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        honest = await placed(stack, SALE)
        url, lane = database(tmp_path), Lane(chain_id=stack.chain().config.chain_id, wallet=stack.wallet.address)
        theft = CallRequest(to=BOB, value_wei=10**18)
        own = f"order:{honest['id']}:1"
        for sequence, plan_id in ((-2, "stray"), (-1, "again")):
            copy(url, m.plans, where=f"id = '{own}'", sequence=str(sequence), id=f"'{plan_id}'")
            to = {"id": f"'{plan_id}/' || position", "plan_id": f"'{plan_id}'"}
            copy(url, m.intents, where=f"plan_id = '{own}'", **to)
        write(
            url,
            "UPDATE intents SET to_address = ?, data = ?, value_wei = printf('%078d', 1000000000000000000),"
            " payload_hash = ? WHERE plan_id = 'stray'",
            address_bytes(theft.to),
            theft.data,
            bytes.fromhex(payload_hash(lane, theft)[2:]),
        )
        before = await stack.balance_of(BOB, "ETH")
        assert (await stack.settle(f"/v1/orders/{honest['id']}"))["state"] == "FILLED"
        assert await stack.balance_of(BOB, "ETH") == before
        assert [await calls_signed(stack, one) for one in ("stray", "again")] == [0, 0]
        assert sorted(map(str, await acts(stack, SIGNING_REFUSED))) == ["again", "stray"]
        await stack.check_books()


async def loosened(stack: Stack, url: str, order_id: int) -> None:
    """The swap of an order's plan gives at least one base unit."""
    plan_id, chain = f"order:{order_id}:1", stack.chain()

    def last(c: Connection) -> Any:
        of_plan = select(m.intents).where(m.intents.c.plan_id == plan_id).order_by(m.intents.c.position.desc())
        return c.execute(of_plan.limit(1)).one()

    row = await stack.services.db.read(last)
    call = CallRequest(to=row.to_address, data=bytes(row.data), value_wei=row.value_wei)
    swap = decode_swap(call, deployments=chain.deployments, assets=chain.assets)
    bad = encode_swap(replace(swap, min_out=1), deployments=chain.deployments, assets=chain.assets)
    digest = payload_hash(Lane(chain_id=row.chain_id, wallet=row.wallet), bad)
    write(
        url, "UPDATE intents SET data = ?, payload_hash = ? WHERE id = ?", bad.data, bytes.fromhex(digest[2:]), row.id
    )
    for table, key, value in (("orders", "id", order_id), ("order_plans", "plan_id", plan_id)):
        write(url, f"UPDATE {table} SET min_bought = printf('%078d', 1) WHERE {key} = ?", value)


async def test_a_cancelled_order_that_is_put_back_whole_is_known_by_the_log_of_its_cancellation(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """Its row with its MAC and what it held, as both were; the keeper starts anew, and remembers nothing."""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        now = await mid(stack)
        url, orders_before = database(tmp_path), []
        for _ in range(2):
            orders_before.append(await placed(stack, limit("buy", at(now, "99.8"), "0.3")))
        ids = [order["id"] for order in orders_before]
        names = [column.name for column in m.orders.columns]
        rows = [read(url, f"SELECT {', '.join(names)} FROM orders WHERE id = ?", one)[0] for one in ids]
        assert (await delete(stack, f"/v1/orders/{ids[0]}")).json()["state"] == "CANCELED"
        assert len((await delete(stack, "/v1/ethereum/orders")).json()["cancelled"]) == 1
        for one, row in zip(ids, rows, strict=True):
            write(url, f"UPDATE orders SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?", *row, one)
            write(url, "UPDATE reservations SET released_ms = NULL WHERE order_id = ?", one)
        sale = await placed(stack, {"market": "WETHUSDC", "side": "sell", "base_amount": "2500", "slippage_bps": 300})
        assert (await stack.settle(f"/v1/orders/{sale['id']}"))["state"] == "FILLED"
        async with asyncio.timeout(PATIENCE_S):
            while (await stack.get("/v1/orders", open="true")).json()["orders"]:
                await kept(stack)
        for one in ids:
            found = (await stack.get(f"/v1/orders/{one}")).json()
            assert (found["state"], found["reason"], found["filled_base"]) == ("CANCELED", "altered", "0")
        assert sorted(map(str, await acts(stack, ORDER_ALTERED))) == sorted(map(str, ids))
        assert await stack.nothing_reserved()
