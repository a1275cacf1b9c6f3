"""Wraps, unwraps and revoked allowances from the request to the books, on both chains."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from contracts import erc20
from scripts.devnet.network import LocalChain
from service.auth.keys import Permission
from service.auth.restrictions import Restrictions
from service.db import models as m
from tests.e2e.harness import CAROL, Stack, running
from tests.e2e.test_key_limits import limited

E18 = 10**18
FUNDS = {
    "ethereum": {"ETH": 5 * E18, "USDC": 10_000 * 10**6, "USDT": 1_000 * 10**6},
    "polygon": {"POL": 500 * E18, "USDC": 100 * 10**6},
}
NAMES = {"ethereum": ("ETH", "WETH"), "polygon": ("POL", "WPOL")}


async def placed(stack: Stack, path: str, body: dict[str, Any], chain: str = "ethereum") -> dict[str, Any]:
    """Accepted and settled."""
    answer = await stack.post(f"/v1/{chain}/{path}", body)
    assert (answer.status_code, answer.json()["state"]) == (202, "processing"), answer.text
    return await stack.settle(f"/v1/transactions/{answer.json()['id']}", chain)


@pytest.mark.parametrize("name", ["ethereum", "polygon"])
async def test_a_wrap_and_an_unwrap_are_one_for_one_to_the_wei(
    ethereum: LocalChain, polygon: LocalChain, tmp_path: Path, name: str
) -> None:
    native, wrapped = NAMES[name]
    chain = {"ethereum": ethereum, "polygon": polygon}[name]
    async with running(tmp_path, {name: chain}, funds=FUNDS) as stack:
        had = await stack.balance_of(stack.wallet.address, native, name)
        body = {"amount": "1.000000000000000001", "client_transaction_id": "w"}
        done = await placed(stack, "wrap", body, name)
        assert (done["kind"], done["state"], done["reason"]) == ("wrap", "confirmed", None), done
        assert {row["asset"]: row["amount"] for row in done["moved"]} == {
            native: "-1.000000000000000001",
            wrapped: "1.000000000000000001",
        }
        assert await stack.balance_of(stack.wallet.address, wrapped, name) == E18 + 1
        gas = stack.raw(native, done["gas"]["amount"], name)
        assert gas > 0
        assert await stack.balance_of(stack.wallet.address, native, name) == had - E18 - 1 - gas
        back = await placed(stack, "unwrap", {"amount": "0.4", "client_transaction_id": "w"}, name)
        assert (back["kind"], back["state"]) == ("unwrap", "confirmed")
        assert await stack.balance_of(stack.wallet.address, wrapped, name) == 6 * 10**17 + 1
        gas += stack.raw(native, back["gas"]["amount"], name)
        assert await stack.balance_of(stack.wallet.address, native, name) == had - 6 * 10**17 - 1 - gas
        await stack.check_books(name)
        assert await stack.nothing_reserved(name)


async def test_the_same_client_id_five_times_at_once_wraps_once(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        body = {"amount": "2", "client_transaction_id": "once"}
        answers = await asyncio.gather(*(stack.post("/v1/ethereum/wrap", body) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
        await stack.settle(f"/v1/transactions/{answers[0].json()['id']}")
        other = await stack.post("/v1/ethereum/wrap", body | {"amount": "1"})
        assert (other.status_code, other.json()["code"]) == (409, "conflict_client_id")
        assert await stack.count(m.transactions) == await stack.count(m.plans) == 1
        assert await stack.balance_of(stack.wallet.address, "WETH") == 2 * E18


@pytest.mark.parametrize(
    ("path", "amount", "code"),
    [
        ("wrap", "5", "insufficient_gas"),
        ("wrap", "0", "amount_too_small"),
        ("wrap", "0.0000000000000000001", "invalid_amount"),
        ("unwrap", "0.1", "insufficient_balance"),
    ],
)
async def test_what_cannot_be_wrapped_is_refused_and_leaves_nothing(
    ethereum: LocalChain, tmp_path: Path, path: str, amount: str, code: str
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        body = {"amount": amount, "client_transaction_id": "w"}
        answer = await stack.post(f"/v1/ethereum/{path}", body)
        assert answer.json()["code"] == code
        assert await stack.count(m.transactions) == await stack.count(m.plans) == 0
        assert await stack.nothing_reserved()


async def allowances(stack: Stack, **query: str) -> dict[str, Any]:
    answer = await stack.get("/v1/ethereum/allowances", **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def approve(stack: Stack, symbol: str, spender: Any, amount: int) -> None:
    """As an allowance of before, given elsewhere: the wallet's nonce is put back."""
    asset = stack.chain().assets.by_symbol(symbol)
    call = erc20.approve_call(asset.token_address, spender, amount=amount)
    rpc = stack.rpcs["ethereum"]
    sender = stack.wallet.address
    await asyncio.to_thread(rpc, "anvil_impersonateAccount", sender)
    sent = {"from": sender, "to": call.to, "data": "0x" + call.data.hex(), "gas": hex(200_000)}
    await asyncio.to_thread(rpc, "eth_sendTransaction", sent)
    await asyncio.to_thread(rpc, "anvil_stopImpersonatingAccount", sender)
    await stack.mine("ethereum")
    await asyncio.to_thread(rpc, "anvil_setNonce", sender, "0x0")


@pytest.mark.parametrize("symbol", ["USDC", "USDT"])
async def test_a_leftover_allowance_is_listed_and_revoked(ethereum: LocalChain, tmp_path: Path, symbol: str) -> None:
    """F55: USDT returns nothing."""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        router = next(iter(stack.chain().deployments.routers(stack.chain().config.chain_id))).address
        assert (await allowances(stack))["allowances"] == []
        await approve(stack, symbol, router, stack.raw(symbol, "12.5"))
        [found] = (await allowances(stack))["allowances"]
        assert (found["asset"], found["spender"], found["spender_name"]) == (symbol, router, "swap_router_02")
        assert (found["amount"], found["unlimited"], found["needed"]) == ("12.5", False, False)
        body = {"asset": symbol, "spender": router, "client_transaction_id": "r"}
        done = await placed(stack, "allowances/revoke", body)
        assert (done["state"], done["moved"]) == ("confirmed", [])
        assert (await allowances(stack))["allowances"] == []
        again = await stack.post("/v1/ethereum/allowances/revoke", body | {"client_transaction_id": "r2"})
        assert (again.status_code, again.json()["code"]) == (409, "allowance_is_zero")


async def test_a_spender_that_the_client_names_is_looked_at(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await approve(stack, "USDC", CAROL, 2**256 - 1)
        assert (await allowances(stack))["allowances"] == []
        [found] = (await allowances(stack, spender=CAROL))["allowances"]
        assert (found["spender"], found["spender_name"], found["unlimited"]) == (CAROL, None, True)


async def test_an_allowance_that_an_open_order_needs_is_not_revoked(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await approve(stack, "USDC", router_of(stack), stack.raw("USDC", "50"))
        order = {"market": "ETHUSDC", "side": "buy", "quote_amount": "50"}
        placed_order = await stack.post("/v1/ethereum/orders", order)
        assert placed_order.status_code == 202, placed_order.text
        [found] = (await allowances(stack))["allowances"]
        assert found["needed"] is True
        body = {"asset": "USDC", "spender": router_of(stack), "client_transaction_id": "r"}
        refused = await stack.post("/v1/ethereum/allowances/revoke", body)
        assert (refused.status_code, refused.json()["code"]) == (409, "allowance_in_use")
        done = await stack.settle(f"/v1/orders/{placed_order.json()['id']}")
        assert done["state"] == "FILLED", done


async def test_an_order_accepted_while_an_allowance_is_revoked_approves_for_itself(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await approve(stack, "USDC", router_of(stack), stack.raw("USDC", "50"))
        body = {"asset": "USDC", "spender": router_of(stack), "client_transaction_id": "r"}
        revoked = await stack.post("/v1/ethereum/allowances/revoke", body)
        assert revoked.status_code == 202, revoked.text
        order = await stack.post("/v1/ethereum/orders", {"market": "ETHUSDC", "side": "buy", "quote_amount": "50"})
        assert order.status_code == 202, order.text
        assert await stack.count(m.intents) == 3
        assert (await stack.settle(f"/v1/orders/{order.json()['id']}"))["state"] == "FILLED"
        assert (await allowances(stack))["allowances"] == []


def router_of(stack: Stack) -> Any:
    chain = stack.chain()
    return chain.deployments.routers(chain.config.chain_id)[0].address


async def test_an_allowance_that_cannot_be_read_is_unknown_and_not_zero(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        token = stack.chain().assets.by_symbol("USDT").token_address
        rpc, reverting = stack.rpcs["ethereum"], "0x60006000fd"
        code = "0x" + (await stack.chain().client.code(token)).hex()
        try:
            await asyncio.to_thread(rpc, "anvil_setCode", token, reverting)
            await stack.mine("ethereum")
            found = (await allowances(stack))["allowances"]
        finally:
            await asyncio.to_thread(rpc, "anvil_setCode", token, code)
            await stack.mine("ethereum")
        assert {row["asset"] for row in found} == {"USDT"}
        assert {(row["status"], row["amount"], row["unlimited"]) for row in found} == {("unknown", None, None)}
        assert (await allowances(stack))["allowances"] == []


async def test_a_key_s_assets_and_gas_of_a_day_hold_for_wraps_too(ethereum: LocalChain, tmp_path: Path) -> None:
    body = {"amount": "1", "client_transaction_id": "w"}
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        assets = stack.chain().assets
        chain_id = stack.chain().config.chain_id
        only_native = await limited(stack, Restrictions(assets=frozenset({assets.native.id})), Permission.TRADE)
        answer = await only_native.post("/v1/ethereum/wrap", body, key="limited")
        assert (answer.status_code, answer.json()["code"]) == (403, "key_restricted")
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "b", {"ethereum": ethereum}, funds=FUNDS) as stack:
        no_gas = await limited(stack, Restrictions(daily_gas={chain_id: 1}, daily_usd=1), Permission.TRADE)
        answer = await no_gas.post("/v1/ethereum/wrap", body, key="limited")
        assert (answer.status_code, answer.json()["code"]) == (403, "key_limit_reached")
        assert await stack.count(m.transactions) == await stack.count(m.plans) == 0


async def test_what_was_accepted_is_in_the_audit_log(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await stack.post("/v1/ethereum/wrap", {"amount": "1", "client_transaction_id": "w"})
        acts = await stack.services.db.read(
            lambda c: c.execute(select(m.audit_entries.c.act, m.audit_entries.c.details)).all()
        )
        [details] = [row.details for row in acts if row.act == "transaction.place"]
        assert '"kind":"wrap"' in details
        assert '"amount_raw":"1000000000000000000"' in details
