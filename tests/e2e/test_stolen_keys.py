"""What a thief gets out of a stolen key: everything the API offers, by a key with limits, until they are used up.

The limits are of a day and counted, so that an hour, or a day, of further requests gets no more than what is taken
here: each attack goes on until its limits refuse everything, and then once more over all routes.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from chains.types import Address, ChainId, address_from_bytes
from chains.units import parse_units
from contracts.ratio import Ratio
from scripts.devnet.network import LocalChain
from service.addresses.storage import NewEntry, insert_entry
from service.app import create_app
from service.auth import budgets
from service.auth.caveats import Counter, Tally
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.restrictions import Restrictions
from service.db.models import reservations, withdrawals
from service.settings import Settings
from service.workers.keeper import keeper_of
from tests.chainfixtures import manual_mining
from tests.e2e import traders
from tests.e2e.attacks import EVE, Shot, fire, holdings_of, routes_of, volley
from tests.e2e.harness import BOB, CAROL, KEY_LIFETIME_MS, ApiKey, Stack, running, with_settings
from tests.e2e.people import person
from tests.slack import slack

E18 = 10**18
USD = 10**6
"""Micro-dollars."""
FUNDS = {"ethereum": {"ETH": 5 * E18, "WETH": 2 * E18, "USDC": 9_000 * USD, "USDT": 2_000 * USD}}
DAILY_USD = 3_000 * USD
DAILY_ORDERS = 60
DAILY_GAS = E18 // 10
COOLING_MS = 24 * 3_600_000
MANY = 1_000_000
VOLLEYS = 2
CHURNS = 40
STABLE = ("USDC", "USDT", "DAI", "USDCE")
ETHEREUM = ChainId(1)
BPS = 10_000
STRANGER = address_from_bytes(bytes.fromhex("57a257a257a257a257a257a257a257a257a257a2"))
"""In no list, and nobody's contract."""
TO_BOB = Destination(chain_id=ETHEREUM, address=BOB)


@pytest.fixture
async def stack(fresh_ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as found:
        # How often may not be what saves the account: the thief may come from many addresses, for days.
        unlimited = {name: MANY for name in Settings.model_fields if name.endswith("_per_minute")}
        yield with_settings(found, **unlimited)


async def stolen(
    stack: Stack,
    restrictions: Restrictions,
    permission: Permission,
    *,
    destinations: Sequence[Destination] = (TO_BOB,),
) -> Stack:
    """The same stack; the thief's key is `stolen`. Without destinations an owner made it: it has the book."""
    services, now_ms = stack.services, stack.services.clock.now_ms()
    withdraws = permission is Permission.WITHDRAW
    made_by = None if destinations else (await person(stack)).user_id
    new = NewKey(
        account_id=stack.wallet.account_id,
        wallet_id=stack.wallet.id,
        label="stolen",
        permissions=frozenset({Permission.READ, permission}),
        ip_allowlist=(parse_network("127.0.0.1/32"),) if withdraws else (),
        destinations=tuple(destinations) if withdraws else (),
        expires_ms=now_ms + KEY_LIFETIME_MS,
        restrictions=restrictions,
        made_by=made_by,
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    key = ApiKey(id=made.key.id, secret=(made.secret or "").encode())
    return replace(stack, keys={**stack.keys, "stolen": key})


async def worked(stack: Stack, rounds: int = 1) -> None:
    """What was accepted is done: the engine, the keeper, blocks."""
    keeper = keeper_of(stack.services, stack.chain())
    for _ in range(rounds):
        await keeper.step()
        await stack.round()


async def attack(stack: Stack, *, seed: int) -> Mapping[str, int]:
    """A round over all routes by the stolen key; how many requests were answered with which status or code."""
    counts: dict[str, int] = {}
    for shot in volley(await routes_of(stack), seed=seed):
        answer = await fire(stack, shot, key="stolen")
        assert answer.status_code < 500 or answer.status_code == 503, (shot, answer.text)
        told = answer.json().get("code", "") if answer.is_error else str(answer.status_code)
        counts[told] = counts.get(told, 0) + 1
    return counts


async def eth_price(stack: Stack) -> Ratio:
    """USDC base units for one wei, at the pools' mid price now."""
    answer = await stack.get("/v1/ethereum/quote", market="ETHUSDC", side="sell", base_amount="0.01")
    assert answer.status_code == 200, answer.text
    return Ratio.of(parse_units(answer.json()["mid_price"], 18), 10**12 * E18)


def worth(holdings: Mapping[str, int], price: Ratio) -> int:
    """Micro-dollars at that price of ether; assets that are neither ether nor a dollar are not held here."""
    ether = holdings["ETH"] + holdings["WETH"]
    return sum(holdings.get(name, 0) for name in STABLE) + price.times(ether)


async def used(stack: Stack) -> Mapping[Tally, int]:
    services, key_id = stack.services, stack.keys["stolen"].id
    return await services.db.read(lambda c: budgets.used(c, key_id, now_ms=services.clock.now_ms()))


async def standing_allowances(stack: Stack) -> list[dict[str, Any]]:
    answer = await stack.get("/v1/ethereum/allowances", spender=EVE)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["allowances"]
    return found


async def churned(stack: Stack, number: int) -> str:
    """One step of trading back and forth as badly as is allowed; what it was told."""
    worst = {
        "slippage_bps": 300,
        "max_price_impact_bps": 500,
        "client_order_id": f"churn-{number}-{secrets.token_hex(4)}",
    }
    buy = number % 2 == 0
    answer = await stack.get("/v1/ethereum/quote", market="ETHUSDC", side="sell", base_amount="0.01")
    mid, _, _ = answer.json()["mid_price"].partition(".")
    dear, cheap = str(int(mid) * 104 // 100), str(int(mid) * 96 // 100)
    resting = {"type": "limit", "time_in_force": "gtc", "price": cheap if buy else dear, "base_amount": "0.05"}
    taking = {"type": "limit", "time_in_force": "ioc", "price": dear if buy else cheap, "base_amount": "0.05"}
    order = [{"quote_amount": "300"} if buy else {"base_amount": "0.1"}, resting, taking][number % 3]
    body = {"market": "ETHUSDC", "side": "buy" if buy else "sell", **worst, **order}
    if order is not resting and "type" in order:
        body.pop("max_price_impact_bps")
    placed = await stack.post("/v1/ethereum/orders", body, key="stolen")
    if placed.status_code == 202 and order is resting:
        other = body | {"client_order_id": f"again-{number}-{secrets.token_hex(4)}"}
        replace_it = {"cancel_order_id": placed.json()["id"], "order": other}
        placed = await stack.post("/v1/ethereum/orders/replace", replace_it, key="stolen")
    wrap = {"amount": "0.1", "client_transaction_id": f"wrap-{number}"}
    await stack.post(f"/v1/ethereum/{'wrap' if buy else 'unwrap'}", wrap, key="stolen")
    return str(placed.json()["code"]) if placed.is_error else str(placed.status_code)


async def test_a_stolen_trade_key_moves_nothing_out_and_loses_what_its_limits_let_it(stack: Stack) -> None:
    limits = Restrictions(daily_usd=DAILY_USD, daily_orders=DAILY_ORDERS, daily_gas={ETHEREUM: DAILY_GAS})
    stack = await stolen(stack, limits, Permission.TRADE)
    wallet = stack.wallet.address
    price = await eth_price(stack)
    before, eves_before = await holdings_of(stack, wallet), await holdings_of(stack, EVE)

    first = await attack(stack, seed=1)
    await worked(stack)
    told = [await _churn(stack, number) for number in range(CHURNS)]
    assert "202" in told, told
    # On to the end of the limits, and then once more over everything.
    for number in range(CHURNS, 3 * CHURNS):
        if told[-6:] == ["key_limit_reached"] * 6:
            break
        told.append(await _churn(stack, number))
    assert "key_limit_reached" in told, told
    last = await attack(stack, seed=2)
    for _ in range(3):
        await worked(stack)

    # Nothing is anybody else's: not coins, not the right to take them.
    assert await holdings_of(stack, EVE) == eves_before
    for one in await standing_allowances(stack):
        assert one["spender"] != EVE
    # What is lost is within notional x (slippage and what a price may be off) + gas.
    counted = await used(stack)
    notional, gas = counted[Tally(counter=Counter.ORDER_USD)], counted[Tally(counter=Counter.GAS, of="1")]
    assert notional <= DAILY_USD
    assert gas <= DAILY_GAS
    assert counted[Tally(counter=Counter.ORDERS)] <= DAILY_ORDERS
    settings = stack.services.settings
    off_bps = settings.max_slippage_bps + settings.max_price_impact_bps + settings.max_price_deviation_bps
    bound = Ratio.of(off_bps, BPS).times_up(notional) + price.times_up(gas)
    lost = worth(before, price) - worth(await holdings_of(stack, wallet), price)
    assert lost <= bound, (lost, bound, notional, gas, told, first, last)
    # A bound that everything would pass proves nothing.
    assert 0 < bound < worth(before, price) // 10
    await stack.check_books()


async def test_a_thief_who_also_trades_around_the_stolen_keys_orders_gets_no_more_than_the_bound(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    """F48, for profit: pushed before each swap in its own block, and back afterwards."""
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as found:
        limits = Restrictions(daily_usd=DAILY_USD, daily_orders=DAILY_ORDERS, daily_gas={ETHEREUM: DAILY_GAS})
        stack = await stolen(found, limits, Permission.TRADE)
        rpc = stack.rpcs["ethereum"]
        await asyncio.to_thread(traders.ready_to_push, rpc)
        wallet, price = stack.wallet.address, await eth_price(stack)
        before = await holdings_of(stack, wallet)
        states = []
        # The thief does not know how much the pools bear: from a little to too much.
        for number, ether in enumerate((400, 800, 1_600, 2_400, 5_000)):
            body = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1", "slippage_bps": 300}
            placed = await stack.post(
                "/v1/ethereum/orders", body | {"client_order_id": f"lunch-{number}"}, key="stolen"
            )
            if placed.is_error:
                states.append(placed.json()["code"])
                continue
            with manual_mining(rpc):
                await stack.chain().engine.step()
                await asyncio.to_thread(traders.push, rpc, sold="WETH", raw=ether * E18)
                await stack.mine("ethereum", 1)
                back = price.times(ether * E18)
                await asyncio.to_thread(traders.push, rpc, sold="USDC", raw=back)
                await stack.mine("ethereum", 1)
            states.append((await stack.settle(f"/v1/orders/{placed.json()['id']}"))["state"])
        counted = await used(stack)
        notional, gas = counted[Tally(counter=Counter.ORDER_USD)], counted[Tally(counter=Counter.GAS, of="1")]
        slippage = stack.services.settings.max_slippage_bps
        off_bps = slippage + stack.services.settings.max_price_impact_bps
        bound = Ratio.of(off_bps, BPS).times_up(notional) + price.times_up(gas)
        lost = worth(before, price) - worth(await holdings_of(stack, wallet), price)
        assert 0 < lost <= bound, (lost, bound, states)
        assert {"FILLED", "EXPIRED"} <= set(states), (states, lost, bound)
        await stack.check_books()


async def _churn(stack: Stack, number: int) -> str:
    told = await churned(stack, number)
    if number % 3 == 2:
        await worked(stack)
    return told


async def in_the_book(stack: Stack, address: Address, *, cools: bool) -> None:
    """An entry that an owner added two days ago, or now."""
    services, now_ms = stack.services, stack.services.clock.now_ms()
    created_ms = now_ms if cools else now_ms - 2 * COOLING_MS
    new = NewEntry(
        account_id=stack.wallet.account_id,
        chain_id=ETHEREUM,
        address=address,
        name=f"entry-{address[2:8].lower()}",
        is_contract=False,
        added_by=None,
        created_ms=created_ms,
        in_force_ms=created_ms + COOLING_MS,
    )
    await services.db.run(lambda c: insert_entry(c, new, master=services.master))


@pytest.mark.parametrize("own", [True, False], ids=["its-own-destinations", "the-address-book"])
async def test_a_stolen_withdraw_key_reaches_its_destinations_and_its_daily_limit_and_nothing_else(
    stack: Stack, own: bool
) -> None:
    """Of the book what is in force. With destinations of its own nothing of the book."""
    eth = stack.chain().assets.native.id
    limits = Restrictions(
        daily_withdrawals=8,
        daily_withdrawal_usd=1_000 * USD,
        daily_withdrawn={eth: E18 // 5},
        daily_gas={ETHEREUM: DAILY_GAS},
    )
    # What the key does not reach: in the book by the owner's hand, in force where the key has its own, else cooling.
    await in_the_book(stack, CAROL, cools=not own)
    if not own:
        await in_the_book(stack, BOB, cools=False)
        await in_the_book(stack, EVE, cools=True)
    stack = await stolen(stack, limits, Permission.WITHDRAW, destinations=[TO_BOB] if own else [])
    wallet = stack.wallet.address
    price = await eth_price(stack)
    before, bobs, eves, carols = [await holdings_of(stack, who) for who in (wallet, BOB, EVE, CAROL)]

    counts = await attack(stack, seed=3)
    refusal = "destination_not_allowed" if own else "destination_cooling"
    assert counts.get(refusal, 0) > 0, counts
    for number, (address, told_of) in enumerate({CAROL: refusal, STRANGER: "destination_not_allowed"}.items()):
        assert await _drain(stack, 100 + number, address=address) == told_of
    told = [await _drain(stack, number) for number in range(30)]
    assert "202" in told, told
    assert told[-1] == "key_limit_reached", told
    await worked(stack, 3)
    await attack(stack, seed=4)
    await worked(stack, 3)

    assert await holdings_of(stack, EVE) == eves
    assert await holdings_of(stack, CAROL) == carols
    arrived = {name: raw - bobs[name] for name, raw in (await holdings_of(stack, BOB)).items()}
    assert worth(arrived, price) <= 1_020 * USD, (arrived, told)
    assert 0 < arrived["ETH"] <= E18 // 5
    counted = await used(stack)
    assert counted[Tally(counter=Counter.WITHDRAWALS)] <= 8
    gas = counted[Tally(counter=Counter.GAS, of="1")]
    assert gas <= DAILY_GAS
    after = await holdings_of(stack, wallet)
    gone = {name: before[name] - after[name] for name in before}
    assert {name: raw for name, raw in gone.items() if name != "ETH"} == {
        name: raw for name, raw in arrived.items() if name != "ETH"
    }
    assert 0 <= gone["ETH"] - arrived["ETH"] <= gas
    await stack.check_books()


async def test_a_stolen_withdraw_key_from_another_address_gets_nothing_from_any_route(stack: Stack) -> None:
    stack = await stolen(stack, Restrictions(), Permission.WITHDRAW)
    transport = httpx.ASGITransport(app=create_app(stack.services), client=("203.0.113.9", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        elsewhere = replace(stack, client=client)
        public = {(one.method, one.path) for one in await routes_of(stack) if one.needs == "public"}
        for one in await routes_of(stack):
            if (one.method, one.path) in public:
                continue
            for shot in volley([one], seed=5):
                answer = await fire(elsewhere, shot, key="stolen")
                assert (answer.status_code, answer.json()["code"]) == (403, "ip_not_allowed"), shot
    assert await stack.count(withdrawals) == 0


async def _drain(stack: Stack, number: int, *, address: Address = BOB) -> str:
    """One more withdrawal, to the one destination there is or to another one; what it was told."""
    asset, amount = (("USDC", "90"), ("ETH", "0.03"))[number % 2]
    body = {"asset": asset, "amount": amount, "address": address, "client_withdrawal_id": f"drain-{number}"}
    answer = await stack.post("/v1/ethereum/withdrawals", body, key="stolen")
    return str(answer.json()["code"]) if answer.is_error else str(answer.status_code)


async def test_after_its_owner_revokes_it_a_stolen_key_gets_nothing_and_what_it_left_resting_is_cancelled(
    stack: Stack,
) -> None:
    """F78"""
    stack = await stolen(stack, Restrictions(), Permission.TRADE)
    answer = await stack.get("/v1/ethereum/quote", market="ETHUSDC", side="sell", base_amount="0.01")
    dear = str(int(answer.json()["mid_price"].partition(".")[0]) * 110 // 100)
    body = {
        "market": "ETHUSDC",
        "side": "sell",
        "type": "limit",
        "time_in_force": "gtc",
        "base_amount": "0.1",
        "price": dear,
    }
    ids = []
    for number in range(5):
        placed = await stack.post("/v1/ethereum/orders", body | {"client_order_id": f"rest-{number}"}, key="stolen")
        assert placed.status_code == 202, placed.text
        ids.append(placed.json()["id"])
    owner = await person(stack)
    async with slack(lambda: stack.get(f"/v1/orders/{ids[0]}")) as busy:
        began_s = asyncio.get_running_loop().time()
        revoked = await owner.ask("DELETE", f"/v1/keys/{stack.keys['stolen'].id}")
        assert revoked.status_code == 200, revoked.text
        refused = await fire(stack, Shot(method="GET", target="/v1/orders", body=b""), key="stolen")
        states = [(await stack.get(f"/v1/orders/{one}")).json()["state"] for one in ids]
        assert asyncio.get_running_loop().time() - began_s < 1 + busy.seconds
    assert refused.json()["code"] == "key_revoked"
    assert states == ["CANCELED"] * 5
    left = await stack.services.db.read(
        lambda c: c.execute(select(reservations).where(reservations.c.released_ms.is_(None))).all()
    )
    assert left == []
