"""What the catalogue of faults says of swaps, limits and clients, over a chain, named by its ids."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from eth_abi.abi import encode

from chains.units import parse_units
from scripts.devnet.network import LocalChain
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.auth.restrictions import Restrictions
from service.db.models import orders, txs
from tests.chainfixtures import manual_mining
from tests.e2e.harness import BOB, KEY_LIFETIME_MS, ApiKey, Stack, running

E18 = 10**18
FUNDS = {"ethereum": {"ETH": 5 * E18, "USDC": 5_000 * 10**6}}
SELL = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1"}
OFFCHAIN_LOOKUP = bytes.fromhex("556f1830")
"""OffchainLookup(address,string[],bytes,bytes4,bytes), of EIP-3668."""
HOSTILE = "0x00000000000000000000000000000000c0de3668"


@pytest.fixture
async def stack(ethereum: LocalChain, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as found:
        yield found


async def test_f47_slippage_has_a_hard_maximum_and_a_default_and_every_swap_has_a_minimum(stack: Stack) -> None:
    most = stack.services.settings.max_slippage_bps
    for bps in (most + 1, 10_000):
        for path in ("/v1/ethereum/orders", "/v1/ethereum/orders/test"):
            answer = await stack.post(path, {**SELL, "slippage_bps": bps})
            assert (answer.status_code, answer.json()["code"]) == (400, "slippage_too_high"), bps
    assert (await stack.post("/v1/ethereum/orders", {**SELL, "slippage_bps": 10_001})).status_code == 422
    assert await stack.count(orders) == 0
    placed = (await stack.post("/v1/ethereum/orders", SELL)).json()
    quoted = parse_units(placed["quoted"]["buy"], 6)
    least = parse_units(placed["limit"]["min_bought"], 6)
    # Without a word about it: the default, and never nothing.
    assert least * 10_000 >= quoted * (10_000 - stack.services.settings.default_slippage_bps)
    assert least > 0
    done = await stack.settle(f"/v1/orders/{placed['id']}")
    assert parse_units(done["filled_quote"], 6) >= least


async def test_f50_a_swap_whose_deadline_passes_while_it_is_pending_never_trades_afterwards(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        placed = (await stack.post("/v1/ethereum/orders", SELL)).json()
        rpc = stack.rpcs["ethereum"]
        usdc = await stack.balance_of(stack.wallet.address, "USDC")
        with manual_mining(rpc):
            await stack.chain().engine.step()
            assert await stack.count(txs) == 1
            late_s = stack.services.settings.order_deadline_s + 60
            await asyncio.to_thread(rpc, "evm_increaseTime", hex(late_s))
            await stack.mine("ethereum", 1)
        order = await stack.settle(f"/v1/orders/{placed['id']}")
        assert order["state"] == "EXPIRED", order
        assert order["filled_base"] == "0"
        assert await stack.balance_of(stack.wallet.address, "USDC") == usdc
        # And stays so: nothing of it is left that could be mined later.
        for _ in range(3):
            await stack.round()
        assert (await stack.get(f"/v1/orders/{placed['id']}")).json()["state"] == "EXPIRED"
        assert await stack.nothing_reserved()


async def test_f65_withdrawals_at_once_just_under_the_daily_limit_are_within_it_together(stack: Stack) -> None:
    services, now_ms = stack.services, stack.services.clock.now_ms()
    usdc = stack.chain().assets.by_symbol("USDC").id
    new = NewKey(
        account_id=stack.wallet.account_id,
        wallet_id=stack.wallet.id,
        label="racing",
        permissions=frozenset({Permission.READ, Permission.WITHDRAW}),
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=stack.chain().config.chain_id, address=BOB),),
        expires_ms=now_ms + KEY_LIFETIME_MS,
        restrictions=Restrictions(daily_withdrawn={usdc: 100 * 10**6}),
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    racing = replace(
        stack, keys={**stack.keys, "racing": ApiKey(id=made.key.id, secret=(made.secret or "").encode())}
    )  # fmt: skip

    async def ask(number: int) -> tuple[int, str]:
        body = {"asset": "USDC", "amount": "30", "address": BOB, "client_withdrawal_id": f"race-{number}"}
        answer = await racing.post("/v1/ethereum/withdrawals", body, key="racing")
        return answer.status_code, answer.json().get("code", "")

    answers = await asyncio.gather(*(ask(number) for number in range(20)))
    before = await stack.balance_of(BOB, "USDC")
    assert sorted(answers).count((202, "")) == 3, answers
    assert {found for found in answers if found[0] != 202} == {(403, "key_limit_reached")}
    for _ in range(3):
        await stack.round()
    assert await stack.balance_of(BOB, "USDC") - before == 90 * 10**6


async def test_f82_a_contract_that_asks_for_an_offchain_lookup_makes_no_request(stack: Stack) -> None:
    """EIP-3668: the revert names addresses to ask; nobody asks them."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1_000))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        urls = [f"http://127.0.0.1:{port}/{{sender}}/{{data}}.json", f"http://127.0.0.1:{port}/post"]
        await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setCode", HOSTILE, _reverting(urls))
        call = {"to": HOSTILE, "function": "balanceOf(address)(uint256)", "args": [BOB]}
        answer = await stack.post("/v1/ethereum/contracts/call", call, key="read")
        assert (answer.status_code, answer.json()["code"]) == (400, "contract_reverted"), answer.text
        # As what somebody wants listed or paid, too.
        payment = {"asset": "ETH", "amount": "0.1", "address": HOSTILE, "client_withdrawal_id": "hostile"}
        refused = await stack.post("/v1/ethereum/withdrawals", payment, key="withdraw")
        assert refused.is_error
        await asyncio.sleep(0)
    assert asked == []


async def test_f93_a_client_that_goes_away_in_the_middle_of_a_post_and_tries_again_trades_once(stack: Stack) -> None:
    body = {**SELL, "client_order_id": f"away-{secrets.token_hex(4)}"}
    path, raw = "/v1/ethereum/orders", orjson.dumps(body)
    gone: list[Any] = []
    for wait_s in (0.0, 0.01, 0.05, 0.2):
        request = asyncio.create_task(
            stack.post_raw(path, raw, headers=stack.headers("POST", path, raw, key="trade"))
        )  # fmt: skip
        await asyncio.sleep(wait_s)
        request.cancel()
        gone += await asyncio.gather(request, return_exceptions=True)
    # A proxy in between repeats the very request.
    headers = stack.headers("POST", path, raw, key="trade")
    answers = [await stack.post_raw(path, raw, headers=headers) for _ in range(2)]
    assert [answer.status_code in (200, 202, 401) for answer in answers] == [True, True]
    assert answers[1].json()["code"] == "replayed"
    found = await stack.get("/v1/orders", client_order_id=body["client_order_id"])
    assert [one["client_order_id"] for one in found.json()["orders"]] == [body["client_order_id"]]
    assert await stack.count(orders) == 1


def _reverting(urls: Sequence[str]) -> str:
    """Runtime code that reverts with an OffchainLookup for those addresses."""
    data = OFFCHAIN_LOOKUP + encode(
        ["address", "string[]", "bytes", "bytes4", "bytes"], [HOSTILE, list(urls), b"\x01" * 36, b"\x02" * 4, b""]
    )
    size = len(data).to_bytes(2, "big")
    # PUSH2 size, PUSH1 where the data is, PUSH0, CODECOPY, PUSH2 size, PUSH0, REVERT
    code = b"\x61" + size + b"\x60\x0c\x5f\x39\x61" + size + b"\x5f\xfd"
    return "0x" + (code + data).hex()
