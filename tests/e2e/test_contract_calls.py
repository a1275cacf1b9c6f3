"""Calls of contracts: what a key lists, within what is declared; what a contract can take, and what it cannot."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from chains.tx.model import Lane, payload_hash
from chains.types import Address, CallRequest
from contracts.permit2 import PERMIT2
from scripts.devnet.network import LocalChain
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.control import key_acts, panic_acts
from service.control.key_limits import RestrictionParams, restrictions_of
from service.db import models as m
from service.transactions.placement import CALL_VALID_MS
from tests.e2e.harness import BOB, KEY_LIFETIME_MS, ApiKey, Stack, running
from tests.e2e.test_wraps import allowances, approve
from tests.e2e.vaults import DEPOSIT, PING, place_vault, turn

E18 = 10**18
FUNDS = {
    "ethereum": {"ETH": 5 * E18, "USDC": 10_000 * 10**6, "USDT": 1_000 * 10**6, "WETH": E18},
    "polygon": {"POL": 500 * E18, "USDC": 100 * 10**6},
}


@pytest.fixture
async def stack(ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as found:
        yield found


@pytest.fixture
def vault(stack: Stack) -> Address:
    return place_vault(stack.rpcs["ethereum"])


async def may_call(stack: Stack, *calls: str, **limits: Any) -> Stack:
    """The same stack, with a key as `caller` that lists those functions, as `contract:function=value`."""
    services, now_ms = stack.services, stack.services.clock.now_ms()
    chain = next(iter(services.chains))
    permissions = frozenset({Permission.READ, Permission.WITHDRAW})
    asked = RestrictionParams(calls=[f"{chain}:{call}" for call in calls], **limits)
    new = NewKey(
        account_id=stack.wallet.account_id,
        wallet_id=stack.wallet.id,
        label="caller",
        permissions=permissions,
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=stack.chain(chain).config.chain_id, address=BOB),),
        expires_ms=now_ms + KEY_LIFETIME_MS,
        restrictions=restrictions_of(services, asked, permissions=permissions),
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    key = ApiKey(id=made.key.id, secret=(made.secret or "").encode())
    return replace(stack, keys={**stack.keys, "caller": key})


def deposit(stack: Stack, vault: Address, symbol: str = "USDC", amount: str = "25", **more: Any) -> dict[str, Any]:
    """Into the vault, exactly approved."""
    chain = next(iter(stack.services.chains))
    token = stack.chain(chain).assets.by_symbol(symbol).token_address
    return {
        "contract": vault,
        "function": DEPOSIT,
        "args": [token, str(stack.raw(symbol, amount, chain))],
        "approvals": [{"asset": symbol, "amount": amount}],
        "max_out": [{"asset": symbol, "amount": amount}],
        "client_transaction_id": "call",
    } | more


async def call(stack: Stack, body: dict[str, Any], key: str = "caller") -> Any:
    return await stack.post("/v1/ethereum/transactions", body, key=key)


async def refused(stack: Stack, body: dict[str, Any], key: str = "caller") -> tuple[str, str]:
    """The code and detail; nothing was stored or reserved."""
    answer = await call(stack, body, key=key)
    assert answer.status_code >= 400, answer.text
    assert await stack.count(m.transactions) == await stack.count(m.plans) == 0
    assert await stack.nothing_reserved()
    return answer.json()["code"], answer.json().get("detail", "")


@pytest.mark.parametrize("symbol", ["USDC", "USDT"])
async def test_a_listed_call_takes_exactly_what_it_is_approved_for(stack: Stack, vault: Address, symbol: str) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    had = await stack.balance_of(stack.wallet.address, symbol)
    answer = await call(stack, deposit(stack, vault, symbol))
    assert (answer.status_code, answer.json()["state"]) == (202, "processing"), answer.text
    again = await call(stack, deposit(stack, vault, symbol))
    assert (again.status_code, again.json()["id"]) == (200, answer.json()["id"])
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert (done["state"], done["reason"], done["call"]["function"]) == ("confirmed", None, DEPOSIT), done
    assert [(row["asset"], row["amount"]) for row in done["moved"]] == [(symbol, "-25")]
    assert had - await stack.balance_of(stack.wallet.address, symbol) == stack.raw(symbol, "25")
    assert await stack.balance_of(vault, symbol) == stack.raw(symbol, "25")
    found = await allowances(stack)
    assert found["allowances"] == []
    assert vault in [spender["address"] for spender in found["spenders"]]
    assert stack.raw("ETH", done["gas"]["amount"]) > 0
    await stack.check_books()
    assert await stack.nothing_reserved()


async def test_a_listed_call_on_polygon_works_the_same(polygon: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"polygon": polygon}, funds=FUNDS) as stack:
        vault = await asyncio.to_thread(place_vault, stack.rpcs["polygon"])
        stack = await may_call(stack, f"{vault}:{DEPOSIT}")
        body = deposit(stack, vault)
        answer = await stack.post("/v1/polygon/transactions", body, key="caller")
        assert answer.status_code == 202, answer.text
        done = await stack.settle(f"/v1/transactions/{answer.json()['id']}", "polygon")
        assert (done["state"], done["reason"]) == ("confirmed", None)
        await stack.check_books("polygon")


async def test_native_value_leaves_up_to_the_key_s_limit_for_the_call(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{PING}=0.1")
    body = {"contract": vault, "function": PING, "value": "0.100000000000000001", "client_transaction_id": "call"}
    assert (await refused(stack, body))[0] == "call_not_allowed"
    answer = await call(stack, body | {"value": "0.1"})
    assert answer.status_code == 202, answer.text
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert [(row["asset"], row["amount"]) for row in done["moved"]] == [("ETH", "-0.1")]
    assert await stack.balance_of(vault, "ETH") == E18 // 10
    await stack.check_books()


async def test_a_key_calls_nothing_that_it_does_not_list(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{PING}", f"{BOB}:{DEPOSIT}")
    assert (await refused(stack, deposit(stack, vault)))[0] == "call_not_allowed"
    assert (await refused(stack, deposit(stack, vault), key="withdraw"))[0] == "call_not_allowed"
    assert (await refused(stack, deposit(stack, vault), key="trade"))[0] == "permission_denied"
    # Listed, but no contract is there.
    assert (await refused(stack, deposit(stack, BOB)))[0] == "invalid_call"


async def test_no_listing_lets_a_call_around_the_rules_of_orders_and_withdrawals(stack: Stack) -> None:
    """F54"""
    chain = stack.chain()
    usdc = chain.assets.by_symbol("USDC").token_address
    router = chain.deployments.routers(chain.config.chain_id)[0].address
    wrapped = chain.assets.wrapped.token_address
    cases = [
        (usdc, "transfer(address,uint256)", [BOB, "1"]),
        (usdc, "approve(address,uint256)", [BOB, "1"]),
        (usdc, "transferFrom(address,address,uint256)", [stack.wallet.address, BOB, "1"]),
        (usdc, "increaseAllowance(address,uint256)", [BOB, "1"]),
        (router, "multicall(bytes[])", [[]]),
        (PERMIT2, "approve(address,address,uint160,uint48)", [usdc, BOB, "1", "1"]),
        (wrapped, "deposit()", []),
        (stack.wallet.address, PING, []),
        ("0x0000000000000000000000000000000000001010", "transfer(address,uint256)", [BOB, "1"]),
    ]
    stack = await may_call(stack, *(f"{contract}:{function}=1" for contract, function, _ in cases))
    for contract, function, args in cases:
        body = {"contract": contract, "function": function, "args": args, "client_transaction_id": "call"}
        assert (await refused(stack, body))[0] == "call_refused", (contract, function)


async def test_more_than_is_declared_is_refused_by_the_simulation(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    await approve(stack, "USDC", vault, stack.raw("USDC", "1000"))
    await turn(stack.rpcs["ethereum"], vault, takes_more=1)
    body = deposit(stack, vault, approvals=[])
    code, detail = await refused(stack, body)
    assert (code, detail) == ("out_too_large", "25.000001 USDC would leave, and 25 may")
    trial = {name: value for name, value in body.items() if name != "client_transaction_id"}
    tried = (await stack.post("/v1/ethereum/transactions/test", trial, key="caller")).json()
    assert (tried["would_be_accepted"], tried["refused"]["code"]) == (False, "out_too_large")
    assert [(row["asset"], row["amount"]) for row in tried["changes"]] == [("USDC", "-25.000001")]
    wider = trial | {"max_out": [{"asset": "USDC", "amount": "25.000001"}]}
    tried = (await stack.post("/v1/ethereum/transactions/test", wider, key="caller")).json()
    assert (tried["would_be_accepted"], tried["refused"]) == (True, None)
    assert await stack.count(m.plans) == 0


async def test_a_contract_that_turns_before_the_signature_gets_none(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    await approve(stack, "USDC", vault, stack.raw("USDC", "1000"))
    answer = await call(stack, deposit(stack, vault, approvals=[]))
    assert answer.status_code == 202, answer.text
    await turn(stack.rpcs["ethereum"], vault, takes_more=10**6)
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert done["state"] == "rejected"
    assert "26 USDC would leave, and 25 may" in done["reason"]
    assert await stack.balance_of(vault, "USDC") == 0
    assert await stack.nothing_reserved()


async def test_one_that_turns_after_the_signature_takes_what_it_is_approved_for_and_that_is_told(
    stack: Stack, vault: Address
) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    await approve(stack, "USDC", vault, stack.raw("USDC", "40"))
    answer = await call(stack, deposit(stack, vault, approvals=[]))
    rpc = stack.rpcs["ethereum"]
    await asyncio.to_thread(rpc, "evm_setAutomine", False)
    try:
        await stack.chain().engine.step()
        await turn(rpc, vault, takes_more=stack.raw("USDC", "1"))
    finally:
        await asyncio.to_thread(rpc, "evm_setAutomine", True)
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert (done["state"], done["reason"]) == ("confirmed", "more_left_than_declared"), done
    assert await stack.balance_of(vault, "USDC") == stack.raw("USDC", "26")
    [left] = (await allowances(stack, spender=vault))["allowances"]
    assert (left["amount"], left["needed"]) == ("14", False)


async def test_with_exact_approvals_a_contract_that_turns_gets_nothing(stack: Stack, vault: Address) -> None:
    """F53"""
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    await turn(stack.rpcs["ethereum"], vault, takes_more=1)
    code, detail = await refused(stack, deposit(stack, vault))
    assert code == "would_revert", detail


async def test_a_call_counts_as_a_withdrawal_of_what_it_may_take(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}", daily_withdrawn=["ethereum:USDC=30"])
    assert (await call(stack, deposit(stack, vault))).status_code == 202
    second = await call(stack, deposit(stack, vault, amount="6", client_transaction_id="second"))
    assert (second.status_code, second.json()["code"]) == (403, "key_limit_reached")
    tables = await stack.services.db.read(lambda c: c.execute(select(m.key_usage.c.counter, m.key_usage.c.used)).all())
    assert [tuple(row) for row in tables] == [("withdrawn", stack.raw("USDC", "25"))]


async def test_arguments_edited_in_the_database_are_not_signed(stack: Stack, vault: Address) -> None:
    """F51, F52: payload, its hash and the row's calldata agree, and still nobody asked for it."""
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    answer = await call(stack, deposit(stack, vault))
    assert answer.status_code == 202, answer.text
    chain = stack.chain()
    lane = Lane(chain_id=chain.config.chain_id, wallet=stack.wallet.address)

    def edit(c: Any) -> None:
        row = c.execute(select(m.transactions)).one()
        assert row.valid_until_ms == row.created_ms + CALL_VALID_MS
        data = row.data[:-1] + bytes([row.data[-1] ^ 1])
        forged = CallRequest(to=vault, data=data)
        c.execute(update(m.transactions).values(data=data))
        c.execute(
            update(m.intents)
            .where(m.intents.c.to_address == vault)
            .values(data=data, payload_hash=payload_hash(lane, forged))
        )

    await stack.services.db.run(edit)
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert done["state"] == "rejected"
    assert "integrity" in done["reason"]
    assert await stack.balance_of(vault, "USDC") == 0


async def test_a_call_accepted_before_a_restart_is_made_after_it(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    answer = await call(stack, deposit(stack, vault))
    stack = await stack.restarted()
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert (done["state"], done["reason"]) == ("confirmed", None)
    assert await stack.balance_of(vault, "USDC") == stack.raw("USDC", "25")
    await stack.check_books()
    await stack.services.close()


async def test_an_unlimited_approval_cannot_be_had(stack: Stack, vault: Address) -> None:
    """F54: approvals are part of what may leave, and that is reserved."""
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    unlimited = str(2**256 - 1)
    text = f"{unlimited[:-6]}.{unlimited[-6:]}"
    for approvals, max_out, code in ((text, "25", "invalid_parameters"), (text, text, "insufficient_balance")):
        more: dict[str, Any] = {
            "approvals": [{"asset": "USDC", "amount": approvals}],
            "max_out": [{"asset": "USDC", "amount": max_out}],
        }
        assert (await refused(stack, deposit(stack, vault, **more)))[0] == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"function": "deposit(address,uint256) view"}, "invalid_call"),
        ({"function": "deposit(address"}, "invalid_call"),
        ({"args": ["25"]}, "invalid_call"),
        ({"contract": "0x12"}, "invalid_address"),
        ({"max_out": [{"asset": "ETH", "amount": "1"}]}, "invalid_parameters"),
        ({"max_out": [{"asset": "USDC", "amount": "25"}] * 2}, "invalid_parameters"),
        ({"value": "0.5"}, "call_not_allowed"),
    ],
)
async def test_what_is_no_call_is_refused(stack: Stack, vault: Address, change: dict[str, Any], code: str) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    assert (await refused(stack, deposit(stack, vault, **change)))[0] == code


async def test_revoking_the_key_rejects_its_queued_call_and_returns_what_it_held(stack: Stack, vault: Address) -> None:
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    answer = await call(stack, deposit(stack, vault))
    assert answer.status_code == 202, answer.text
    ended = await key_acts.revoke(stack.services, key_acts.RevokeKey(key="caller"))
    assert ended["rejected"] == 1
    done = (await stack.get(f"/v1/transactions/{answer.json()['id']}")).json()
    assert (done["state"], await stack.balance_of(vault, "USDC")) == ("rejected", 0)
    assert await stack.nothing_reserved()


async def test_pausing_the_key_closes_its_sent_call(stack: Stack, vault: Address) -> None:
    """F97 for a call: what was sent is closed by a self-send at its nonces."""
    stack = await may_call(stack, f"{vault}:{DEPOSIT}")
    rpc = stack.rpcs["ethereum"]
    await asyncio.to_thread(rpc, "evm_setAutomine", False)
    try:
        answer = await call(stack, deposit(stack, vault))
        await stack.chain().engine.step()
        await panic_acts.on(stack.services, panic_acts.PanicOn(key="caller", reason="strange"))
        await stack.chain().engine.step()
    finally:
        await asyncio.to_thread(rpc, "evm_setAutomine", True)
    done = await stack.settle(f"/v1/transactions/{answer.json()['id']}")
    assert (done["state"], await stack.balance_of(vault, "USDC")) == ("cancelled", 0), done
    assert stack.raw("ETH", done["gas"]["amount"]) > 0
    await stack.check_books()
