"""What does not count gas is judged by the way that pays most when it is accepted, as the keeper judges it later."""

import asyncio
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from contracts.routing.gas import GasPricing
from scripts.devnet.network import LocalChain
from service.markets.quotes import price_trade
from service.markets.trades import Side, Trade
from service.orders.keeper.deciding import Why
from service.workers.keeper import keeper_of
from tests.e2e.harness import Stack, running
from tests.e2e.test_order_types import E18, TICK, check_inside, limit, placed, refused

FUNDS = {"ethereum": {"ETH": 20 * E18, "WETH": 3_000 * E18, "USDC": 100_000 * 10**6}}
DEAR_WEI = 100 * 10**9
"""A base fee at which a second pool has to be worth its gas."""
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 400)


async def between(stack: Stack) -> tuple[str, str]:
    """A size of WETH, and a price that its dearest way in gas reaches, and its best way net of gas does not."""
    await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setNextBlockBaseFeePerGas", hex(DEAR_WEI))
    await stack.mine("ethereum")
    chain = stack.chain()
    market = chain.assets.markets["WETHUSDC"]
    for size in SIZES:
        trade = Trade(market=market, side=Side.SELL, base_amount=size * E18, quote_amount=None, venue=None)
        net = await price_trade(chain, trade, slippage_bps=50, max_age_s=0)
        free = await price_trade(chain, trade, slippage_bps=50, max_age_s=0, routed_by=GasPricing.free())
        above, below = (Decimal(one.quote.amount_out) / 10**6 / size for one in (free, net))
        price = above.quantize(TICK, rounding=ROUND_FLOOR)
        if price > below + TICK:
            return str(size), str(price)
    raise AssertionError("no size goes two ways")


async def test_what_the_dearer_way_fills_inside_the_limit_trades_at_once_where_gas_does_not_count(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        size, price = await between(stack)
        body = limit("sell", price, size, market="WETHUSDC")
        assert await refused(stack, body | {"type": "limit_maker"}) == "would_take"
        waits = await placed(stack, body | {"count_gas": True})
        assert (waits["state"], waits["resting"]) == ("NEW", True)
        done = await keeper_of(stack.services, stack.chain()).step()
        assert done is not None
        assert done.held_back[Why.OUTSIDE] == 1
        for force in ("fok", "gtc"):
            size, price = await between(stack)
            order = await placed(stack, limit("sell", price, size, market="WETHUSDC", time_in_force=force))
            assert (order["state"], order["resting"]) == ("NEW", False), order
            ended = await stack.settle(f"/v1/orders/{order['id']}")
            assert (ended["state"], ended["filled_base"]) == ("FILLED", size)
            check_inside(stack, ended)
        await stack.check_books()
