"""Keys with limits: what is beyond them is refused with its reason and leaves nothing; what is within them works."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from contracts.chainlink import FRESH_SLACK_S
from scripts.devnet.network import LocalChain
from service.auth import budgets
from service.auth.caveats import Counter, Tally
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.restrictions import MarketId, Restrictions
from service.db.models import orders, plans, withdrawals
from tests.e2e.harness import BOB, KEY_LIFETIME_MS, ApiKey, Stack, running

E18 = 10**18
FUNDS = {"ethereum": {"ETH": 5 * E18, "USDC": 5_000 * 10**6}}
BUY = {"market": "ETHUSDC", "side": "buy", "quote_amount": "50"}
HEARTBEAT_S = 24 * 3_600
"""The longest of the feeds that are used here."""


@pytest.fixture
async def stack(ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as found:
        yield found


async def limited(stack: Stack, restrictions: Restrictions, *permissions: Permission) -> Stack:
    """The same stack, with that key as `limited`."""
    services, now_ms = stack.services, stack.services.clock.now_ms()
    withdraws = Permission.WITHDRAW in permissions
    new = NewKey(
        account_id=stack.wallet.account_id,
        wallet_id=stack.wallet.id,
        label="limited",
        permissions=frozenset({Permission.READ, *permissions}),
        ip_allowlist=(parse_network("127.0.0.1/32"),) if withdraws else (),
        destinations=(Destination(chain_id=stack.chain().config.chain_id, address=BOB),) if withdraws else (),
        expires_ms=now_ms + KEY_LIFETIME_MS,
        restrictions=restrictions,
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    key = ApiKey(id=made.key.id, secret=(made.secret or "").encode())
    return replace(stack, keys={**stack.keys, "limited": key})


async def left_nothing(stack: Stack) -> bool:
    tables = (orders.c.id, plans.c.id, withdrawals.c.id)
    rows = [await stack.services.db.read(lambda c, t=t: c.execute(select(t)).first()) for t in tables]  # type: ignore[misc]
    return rows == [None, None, None] and await stack.nothing_reserved()


async def refusal(stack: Stack, path: str, body: dict[str, str]) -> tuple[int, str, str]:
    answer = await stack.post(path, body, key="limited")
    return answer.status_code, answer.json().get("code", ""), answer.json().get("detail", "")


async def test_an_order_beyond_a_limit_is_refused_with_its_reason_and_leaves_nothing(stack: Stack) -> None:
    stack = await limited(stack, Restrictions(max_order_usd=40 * 10**6), Permission.TRADE)
    for path in ("/v1/ethereum/orders", "/v1/ethereum/orders/test"):
        status, code, detail = await refusal(stack, path, BUY)
        assert (status, code) == (403, "key_limit_reached"), detail
        assert "this key's limit an order is 40 USD" in detail
    assert await left_nothing(stack)
    assert (await stack.post("/v1/ethereum/orders", BUY | {"quote_amount": "30"}, key="limited")).status_code == 202


async def test_the_orders_of_a_day_race_up_to_the_limit_and_a_known_client_id_costs_nothing(stack: Stack) -> None:
    restrictions = Restrictions(daily_usd=130 * 10**6, daily_orders=10, daily_gas={stack.chain().config.chain_id: E18})
    stack = await limited(stack, restrictions, Permission.TRADE)
    bodies = [BUY | {"client_order_id": f"race-{number}"} for number in range(6)]
    answers = await asyncio.gather(*(stack.post("/v1/ethereum/orders", body, key="limited") for body in bodies))
    accepted = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 202]
    assert len(accepted) == 2, [answer.text for answer in answers]
    assert {answer.json()["code"] for answer in answers if answer.is_error} == {"key_limit_reached"}
    again = await stack.post("/v1/ethereum/orders", accepted[0], key="limited")
    assert again.status_code == 200, again.text
    services = stack.services
    key_id = stack.keys["limited"].id
    used = await services.db.read(lambda c: budgets.used(c, key_id, now_ms=services.clock.now_ms()))
    assert used[Tally(counter=Counter.ORDERS)] == 2
    assert 99 * 10**6 < used[Tally(counter=Counter.ORDER_USD)] < 101 * 10**6
    assert used[Tally(counter=Counter.GAS, of="1")] > 0


async def test_orders_that_race_sell_no_more_than_the_limit_of_the_asset_whatever_becomes_of_them(stack: Stack) -> None:
    """Base units of what is sold; the wrapped asset counts with the native one, and what is bought not at all."""
    eth = stack.chain().assets.native.id
    stack = await limited(stack, Restrictions(daily_sold={eth: 25 * E18 // 100}), Permission.TRADE)
    path, key_id, services = "/v1/ethereum/orders", stack.keys["limited"].id, stack.services

    async def sold() -> int:
        used = await services.db.read(lambda c: budgets.used(c, key_id, now_ms=services.clock.now_ms()))
        assert set(used) <= {Tally(counter=Counter.SOLD, of=eth)}
        return used.get(Tally(counter=Counter.SOLD, of=eth), 0)

    sale = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
    bodies = [sale | {"client_order_id": f"sale-{number}"} for number in range(5)]
    answers = await asyncio.gather(*(stack.post(path, body, key="limited") for body in bodies))
    accepted = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 202]
    assert len(accepted) == 2, [answer.text for answer in answers]
    assert {answer.json()["code"] for answer in answers if answer.is_error} == {"key_limit_reached"}
    assert await sold() == E18 // 5
    assert (await stack.post(path, accepted[0], key="limited")).status_code == 200
    for path_ in (path, f"{path}/test"):
        status, code, detail = await refusal(stack, path_, sale | {"market": "WETHUSDC", "base_amount": "0.06"})
        assert (status, code) == (403, "key_limit_reached"), detail
    assert "base units sold of eip155:1/slip44:60" in detail
    # Dollars are sold here, and have no limit.
    assert (await stack.post(path, BUY, key="limited")).status_code == 202
    assert await sold() == E18 // 5


async def test_a_resting_order_counts_what_it_would_sell_once_and_its_replacement_again(stack: Stack) -> None:
    """A budget that came back by cancelling would be none."""
    eth = stack.chain().assets.native.id
    stack = await limited(stack, Restrictions(daily_sold={eth: E18}), Permission.TRADE)
    path = "/v1/ethereum/orders"
    answer = await stack.get("/v1/ethereum/quote", market="ETHUSDC", side="sell", base_amount="0.01")
    price = str(int(answer.json()["mid_price"].partition(".")[0]) * 104 // 100)
    rests = {"market": "ETHUSDC", "side": "sell", "type": "limit", "time_in_force": "gtc", "price": price}
    first = await stack.post(path, rests | {"base_amount": "0.4"}, key="limited")
    assert first.json()["resting"] is True, first.text
    body = {"cancel_order_id": first.json()["id"], "mode": "stop_on_failure", "order": rests | {"base_amount": "0.5"}}
    second = await stack.post(f"{path}/replace", body, key="limited")
    assert second.status_code == 202, second.text
    assert (await refusal(stack, path, rests | {"base_amount": "0.11"}))[1] == "key_limit_reached"
    body = {
        "cancel_order_id": second.json()["placed"]["id"],
        "mode": "stop_on_failure",
        "order": rests | {"base_amount": "0.2"},
    }
    refused = await stack.post(f"{path}/replace", body, key="limited")
    assert refused.json()["code"] == "key_limit_reached", refused.text
    # Refused as a whole: the old order is where it was.
    assert (await stack.get(f"/v1/orders/{second.json()['placed']['id']}")).json()["resting"] is True
    assert (await stack.post(path, rests | {"base_amount": "0.1"}, key="limited")).status_code == 202


async def test_a_key_of_one_market_trades_no_other_and_one_of_another_chain_nothing_here(stack: Stack) -> None:
    assets = stack.chain().assets
    other = assets.markets["WBTCETH"] if "WBTCETH" in assets.markets else assets.markets["ETHUSDT"]
    only = frozenset({MarketId(base=other.base.id, quote=other.quote.id)})
    stack = await limited(stack, Restrictions(markets=only), Permission.TRADE)
    status, code, detail = await refusal(stack, "/v1/ethereum/orders", BUY)
    assert (status, code) == (403, "key_restricted"), detail
    assert await left_nothing(stack)


async def test_f99_a_limit_in_dollars_fails_closed_when_the_feeds_are_stale(stack: Stack) -> None:
    stack = await limited(stack, Restrictions(daily_usd=10**12), Permission.TRADE)
    rpc = stack.rpcs["ethereum"]
    await asyncio.to_thread(rpc, "evm_increaseTime", hex(HEARTBEAT_S + FRESH_SLACK_S + 60))
    await stack.mine("ethereum")
    status, code, detail = await refusal(stack, "/v1/ethereum/orders", BUY)
    assert (status, code) == (503, "limit_price_unknown"), detail
    assert await left_nothing(stack)


async def test_the_withdrawals_of_a_day_stay_within_count_amount_and_worth(stack: Stack) -> None:
    """F65"""
    eth = stack.chain().assets.native.id
    restrictions = Restrictions(
        daily_withdrawals=2, daily_withdrawal_usd=2_000 * 10**6, daily_withdrawn={eth: E18 // 2}
    )
    stack = await limited(stack, restrictions, Permission.WITHDRAW)
    path, number = "/v1/ethereum/withdrawals", 0

    async def ask(asset: str, amount: str) -> str:
        nonlocal number
        number += 1
        body = {"asset": asset, "amount": amount, "address": BOB, "client_withdrawal_id": f"w-{number}"}
        answer = await stack.post(path, body, key="limited")
        return str(answer.json().get("code", answer.status_code))

    assert await ask("USDC", "2001") == "key_limit_reached"
    assert await ask("ETH", "0.500001") == "key_limit_reached"
    assert await left_nothing(stack)
    assert await ask("ETH", "0.1") == "202"
    assert await ask("USDC", "1") == "202"
    assert await ask("USDC", "1") == "key_limit_reached"


async def test_wrapping_first_withdraws_no_more_than_the_limit_of_the_native_asset(stack: Stack) -> None:
    eth = stack.chain().assets.native.id
    restrictions = Restrictions(daily_withdrawn={eth: E18 // 2})
    stack = await limited(stack, restrictions, Permission.TRADE, Permission.WITHDRAW)
    wrap = {"amount": "0.5", "client_transaction_id": "wrap"}
    wrapped = await stack.post("/v1/ethereum/wrap", wrap, key="limited")
    assert wrapped.status_code == 202, wrapped.text

    async def ask(asset: str, amount: str) -> str:
        name = f"{asset}-{amount}"
        body = {"asset": asset, "amount": amount, "address": BOB, "client_withdrawal_id": name.replace(".", "_")}
        answer = await stack.post("/v1/ethereum/withdrawals", body, key="limited")
        return str(answer.json().get("code", answer.status_code))

    await stack.settle(f"/v1/transactions/{wrapped.json()['id']}")
    assert await ask("ETH", "0.3") == "202"
    assert await ask("WETH", "0.200001") == "key_limit_reached"
    assert await ask("WETH", "0.19") == "202"
    assert await ask("ETH", "0.19") == "key_limit_reached"
