"""docs/troubleshooting.md shows refusals of orders and withdrawals as a running service gives them over a chain.

Amounts, prices and times are not the test's to say: digits are compared as digits.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx

from chains.tx.model import Lane
from contracts.chainlink import FRESH_SLACK_S
from scripts.devnet.network import LocalChain
from service.auth.keys import Permission
from service.auth.restrictions import MarketId, Restrictions
from service.db.txstore import SqlTxStore
from service.pauses import EVERYTHING, pause
from tests.e2e.harness import Stack, running, with_settings
from tests.e2e.test_key_limits import limited
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import Drop, Rule

PAGE: Final = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
E18: Final = 10**18
FUNDS: Final = {"ethereum": {"ETH": 5 * E18, "USDC": 5_000 * 10**6}}
ORDERS: Final = "/v1/ethereum/orders"
SALE: Final = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
LIMIT: Final = SALE | {"type": "limit", "time_in_force": "gtc"}
DAY_S: Final = 24 * 3_600
NUMBER: Final = re.compile(r"\d[\d.]*")


def masked(text: str) -> str:
    return NUMBER.sub("#", text)


def block(answer: httpx.Response) -> str:
    found = answer.json()
    return f"```text\n{found['status']} {found['code']}\n{found['detail']}\n{found['hint']}\n```"


def shown(found: Mapping[str, httpx.Response]) -> None:
    """That each is refused with its code, and stands in the page."""
    others = {code: block(answer) for code, answer in found.items() if answer.json().get("code") != code}
    assert not others, others
    page = masked(PAGE.read_text(encoding="utf-8"))
    unshown = [block(answer) for answer in found.values() if masked(block(answer)) not in page]
    assert not unshown, "\n\n".join(unshown)


async def refusals_of_orders(stack: Stack) -> Mapping[str, httpx.Response]:
    """Each way in which a newcomer's first orders are refused."""
    quote = await stack.get("/v1/ethereum/quote", market="ETHUSDC", side="sell", base_amount="0.01")
    price = int(quote.json()["mid_price"].partition(".")[0])
    far, near = str(price * 105 // 100), str(price * 95 // 100)
    first = await stack.post(ORDERS, LIMIT | {"price": far, "client_order_id": "mine"})
    assert first.status_code == 202, first.text

    async def ask(**body: Any) -> httpx.Response:
        return await stack.post(ORDERS, body)

    return {
        "unknown_market": await ask(**SALE | {"market": "ETH-USDC"}),
        "insufficient_balance": await ask(market="ETHUSDC", side="buy", quote_amount="50000"),
        "insufficient_gas": await ask(**SALE | {"base_amount": "5"}),
        "amount_too_small": await ask(**SALE | {"base_amount": "0.00001"}),
        "amount_not_on_step": await ask(**LIMIT | {"price": far, "base_amount": "0.123456789"}),
        "price_not_on_tick": await ask(**LIMIT | {"price": f"{far}.001"}),
        "price_outside_band": await ask(**LIMIT | {"price": str(price * 2)}),
        "slippage_too_high": await ask(**SALE, slippage_bps=1_000),
        "would_take": await ask(**SALE, type="limit_maker", price=near),
        "conflict_client_id": await ask(**LIMIT, price=near, client_order_id="mine"),
        "invalid_parameters": await ask(**SALE, price=far),
    }


async def refusals_of_a_key(stack: Stack) -> Mapping[str, httpx.Response]:
    """Of a key for one market, and little money; then with feeds that are out of date, and a pause."""
    chain, services = stack.chain(), stack.services
    here = MarketId(base=chain.assets.native.id, quote=chain.assets.by_symbol("USDC").id)
    limits = Restrictions(markets=frozenset({here}), max_order_usd=40 * 10**6)
    stack = await limited(stack, limits, Permission.TRADE)
    found = {
        "key_restricted": await stack.post(ORDERS, SALE | {"market": "ETHUSDT"}, key="limited"),
        "key_limit_reached": await stack.post(ORDERS, SALE, key="limited"),
    }
    await asyncio.to_thread(stack.rpcs["ethereum"], "evm_increaseTime", hex(DAY_S + FRESH_SLACK_S + 60))
    await stack.mine("ethereum")
    found["limit_price_unknown"] = await stack.post(ORDERS, SALE | {"base_amount": "0.001"}, key="limited")
    now_ms = services.clock.now_ms()
    await services.db.run(lambda c: pause(c, EVERYTHING, reason="strange withdrawals", now_ms=now_ms))
    found["paused"] = await stack.post(ORDERS, SALE)
    return found


async def refusals_of_what_is_behind(stack: Stack, proxy: FaultProxy) -> Mapping[str, httpx.Response]:
    """While a wallet is held, the newest block is old, and then no node answers."""
    services, chain = stack.services, stack.chain()
    lane = Lane(chain_id=chain.config.chain_id, wallet=stack.wallet.address)
    await services.db.run(lambda c: SqlTxStore().hold_lane(c, lane, "a nonce was used by somebody else"))
    found = {"wallet_held": await stack.post(ORDERS, SALE)}
    await services.db.run(lambda c: SqlTxStore().hold_lane(c, lane, None))
    strict = with_settings(stack, max_block_age_s=1)
    head = await chain.client.head()
    await asyncio.sleep(max(0, head.timestamp_s + 3 - time.time()))
    found["stale_market"] = await strict.post(ORDERS, SALE)
    proxy.add(Rule(action=Drop()))
    found["node_unavailable"] = await stack.get("/v1/ethereum/balances")
    return found


async def test_the_page_shows_refusals_for_what_is_behind_the_service(ethereum: LocalChain, tmp_path: Path) -> None:
    with ThreadedProxy(FaultProxy(ethereum.rpc_url)) as proxy:
        chains = {"ethereum": replace(ethereum, rpc_url=proxy.url)}
        async with running(tmp_path, chains, funds=FUNDS) as stack:
            shown(await refusals_of_what_is_behind(stack, proxy))


async def test_the_page_shows_refusals_of_orders_as_they_are_answered(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        found = dict(await refusals_of_orders(stack))
        found["too_many_open_orders"] = await with_settings(stack, max_open_orders=1).post(ORDERS, SALE)
        found |= await refusals_of_a_key(stack)
        shown(found)
