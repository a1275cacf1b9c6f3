"""The whole service under the catalogue's cases, named by their ids: requests, engine and books behind a proxy."""

import asyncio
from typing import Any, Final

import pytest
from sqlalchemy import Connection, delete, select, update

from chains.tx.model import Lane, payload_hash
from chains.types import Address, CallRequest, ChainId
from service.db import models as m
from service.pauses import Scope, Target, pause, resume
from tests.e2e.harness import BOB, Stack
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Drop, Phase, Rule

E18: Final = 10**18
PATH: Final = "/v1/ethereum/withdrawals"
SEND: Final = "eth_sendRawTransaction"
REVERT_CODE: Final = "0x5f5ffd"
STRANGER: Final = Address("0x000000000000000000000000000000000000c0DE")
YEAR_MS: Final = 366 * 86_400_000

pytestmark = pytest.mark.chain


def pay(client_id: str, *, asset: str = "ETH", amount: str = "0.25", address: str = BOB) -> dict[str, str]:
    return {"asset": asset, "amount": amount, "address": address, "client_withdrawal_id": client_id}


async def accepted(stack: Stack, body: dict[str, str]) -> str:
    answer = await stack.post(PATH, body, key="withdraw")
    assert answer.status_code == 202, answer.text
    return f"/v1/withdrawals/{answer.json()['id']}"


async def tampered(stack: Stack, statement: Any) -> None:
    def change(c: Connection) -> None:
        assert c.execute(statement).rowcount == 1

    await stack.services.db.run(change)


def sent(proxy: FaultProxy, stack: Stack) -> int:
    return sum(tx.effect.sender == stack.wallet.address for tx in proxy.recorder.txs)


async def test_F02_a_withdrawal_whose_send_was_not_answered_is_paid_once_and_booked(
    stack: Stack, proxy: FaultProxy
) -> None:
    proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=1))
    before = await stack.balance_of(BOB, "ETH")
    found = await stack.settle(await accepted(stack, pay("w")))
    assert found["state"] in ("confirmed", "final")
    assert await stack.balance_of(BOB, "ETH") - before == 25 * E18 // 100
    assert sent(proxy, stack) == 1
    await stack.check_books()
    assert await stack.nothing_reserved()


async def test_F18_two_hundred_requests_at_once_on_one_wallet_get_gapless_nonces_and_are_mined_once(
    stack: Stack, proxy: FaultProxy
) -> None:
    before = await stack.balance_of(BOB, "USDC")
    paths = []
    for start in range(0, 200, 20):
        bodies = [pay(f"w{n}", asset="USDC", amount=f"1.{n:06d}") for n in range(start, start + 20)]
        paths += await asyncio.gather(*(accepted(stack, body) for body in bodies))
    assert len(set(paths)) == 200
    for _ in range(30):
        await stack.round()
        if await stack.nothing_reserved():
            break
    nonces = await stack.services.db.read(lambda c: sorted(c.execute(select(m.txs.c.nonce)).scalars()))
    assert nonces == list(range(200))
    assert all(len(used) == 1 for used in proxy.recorder.effects().values())
    assert await stack.balance_of(BOB, "USDC") - before == 200 * 10**6 + sum(range(200))
    await stack.check_books()


async def test_F51_a_router_that_is_not_in_the_registry_is_not_signed_for(stack: Stack, proxy: FaultProxy) -> None:
    body = {"market": "ETHUSDC", "side": "sell", "type": "market", "base_amount": "0.5"}
    order = (await stack.post("/v1/ethereum/orders", body)).json()
    row = await stack.services.db.read(lambda c: c.execute(select(m.intents)).one())
    lane = Lane(chain_id=ChainId(1), wallet=stack.wallet.address)
    # The payload's hash fits: only the decoded call shows it.
    forged = payload_hash(lane, CallRequest(to=STRANGER, value_wei=row.value_wei, data=row.data))
    await tampered(stack, update(m.intents).values(to_address=STRANGER, payload_hash=forged))
    found = await stack.settle(f"/v1/orders/{order['id']}")
    assert found["state"] == "REJECTED"
    assert sent(proxy, stack) == 0
    assert await stack.nothing_reserved()


async def test_F51_a_destination_edited_in_the_database_is_not_paid(stack: Stack, proxy: FaultProxy) -> None:
    path = await accepted(stack, pay("w"))
    await tampered(stack, update(m.withdrawals).values(destination=STRANGER))
    assert (await stack.settle(path))["state"] == "rejected"
    assert sent(proxy, stack) == 0


async def test_F55_a_usdt_like_token_with_a_leftover_allowance_is_reset_first(stack: Stack, proxy: FaultProxy) -> None:
    # The answer to every send is lost once: the plan of three is sent again in its order.
    steps = []
    for amount in ("0.05", "0.07"):
        proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=1))
        body = {"market": "ETHUSDT", "side": "buy", "type": "market", "base_amount": amount}
        order = (await stack.post("/v1/ethereum/orders", body)).json()
        found = await stack.settle(f"/v1/orders/{order['id']}")
        assert found["state"] == "FILLED"
        steps.append(len(found["transactions"]))
    assert steps == [2, 3]
    await stack.check_books()
    assert await stack.nothing_reserved()


@pytest.mark.parametrize(
    "amount",
    ["0", "-1", "0.0000000000000000001", "1e18", "NaN", "Infinity", "0x10", " 1", "\uff11", "1,5", "", "+1", "1" * 90],
)
async def test_F58_amounts_that_are_not_plain_decimals_are_refused(stack: Stack, amount: str) -> None:
    answer = await stack.post(PATH, pay("w", amount=amount), key="withdraw")
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"]
    assert await stack.count(m.plans) == 0


@pytest.mark.parametrize("raw", ["1", "0.3", "1e-5", "true", "null", "[1]"])
async def test_F59_amounts_that_are_json_numbers_are_refused(stack: Stack, raw: str) -> None:
    body = f'{{"asset":"ETH","amount":{raw},"address":"{BOB}","client_withdrawal_id":"w"}}'.encode()
    answer = await stack.post_raw(PATH, body, headers=stack.headers("POST", PATH, body, key="withdraw"))
    assert 400 <= answer.status_code < 500
    assert await stack.count(m.plans) == 0


async def test_F60_addresses_that_would_lose_the_coins_are_refused(stack: Stack) -> None:
    usdc = stack.chain().assets.by_symbol("USDC").token_address
    bad_checksum = BOB[:-1] + (BOB[-1].lower() if BOB[-1].isupper() else BOB[-1].upper())
    wrong = {
        "checksum": BOB.swapcase().replace("0X", "0x") if bad_checksum == BOB else bad_checksum,
        "zero": "0x" + "0" * 40,
        "token": usdc,
        "itself": stack.wallet.address,
        "name": "vitalik.eth",
        "short": BOB[:-2],
    }
    for why, address in wrong.items():
        answer = await stack.post(PATH, pay(f"w-{why}", address=address), key="withdraw")
        if address != BOB:
            assert 400 <= answer.status_code < 500, (why, answer.text)
    assert await stack.count(m.plans) == 0


async def test_F61_the_same_withdrawal_a_hundred_times_at_once_is_paid_once(stack: Stack, proxy: FaultProxy) -> None:
    before = await stack.balance_of(BOB, "ETH")
    answers = await asyncio.gather(*(stack.post(PATH, pay("once"), key="withdraw") for _ in range(100)))
    codes = [answer.status_code for answer in answers]
    assert codes.count(202) == 1
    assert set(codes) <= {200, 202, 429}
    assert len({answer.json()["id"] for answer in answers if answer.status_code in (200, 202)}) == 1
    number = next(answer.json()["id"] for answer in answers if answer.status_code == 202)
    await stack.settle(f"/v1/withdrawals/{number}")
    assert await stack.balance_of(BOB, "ETH") - before == 25 * E18 // 100
    assert sent(proxy, stack) == 1
    await stack.check_books()


async def test_F62_the_same_id_with_other_parameters_is_a_conflict_and_sends_nothing(
    stack: Stack, proxy: FaultProxy
) -> None:
    await accepted(stack, pay("w"))
    for other in (pay("w", amount="0.26"), pay("w", asset="USDC", amount="0.25")):
        answer = await stack.post(PATH, other, key="withdraw")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict_client_id")
    assert await stack.count(m.withdrawals) == await stack.count(m.plans) == 1
    assert sent(proxy, stack) == 0


async def test_F63_the_same_id_a_year_later_is_still_the_same_withdrawal(stack: Stack) -> None:
    path = await accepted(stack, pay("w"))
    await stack.settle(path)
    await tampered(stack, update(m.withdrawals).values(created_ms=m.withdrawals.c.created_ms - YEAR_MS))
    again = await stack.post(PATH, pay("w"), key="withdraw")
    assert (again.status_code, f"/v1/withdrawals/{again.json()['id']}") == (200, path)
    assert await stack.count(m.plans) == 1


async def test_F63_the_same_id_after_a_rejection_is_still_the_same_withdrawal(stack: Stack) -> None:
    path = await accepted(stack, pay("w"))
    await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setCode", BOB, REVERT_CODE)
    assert (await stack.settle(path))["state"] == "rejected"
    await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setCode", BOB, "0x")
    again = await stack.post(PATH, pay("w"), key="withdraw")
    assert (again.status_code, again.json()["state"]) == (200, "rejected")
    assert await stack.count(m.plans) == 1


async def test_F64_a_destination_taken_from_the_allowlist_after_acceptance_is_not_paid(
    stack: Stack, proxy: FaultProxy
) -> None:
    path = await accepted(stack, pay("w"))
    await stack.services.db.run(lambda c: c.execute(delete(m.key_destinations)).rowcount)
    assert (await stack.settle(path))["state"] == "rejected"
    assert sent(proxy, stack) == 0
    assert await stack.nothing_reserved()


async def test_F66_a_balance_that_went_away_after_acceptance_rejects_and_releases_once(
    stack: Stack, proxy: FaultProxy
) -> None:
    path = await accepted(stack, pay("w", amount="4"))
    await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setBalance", stack.wallet.address, hex(E18))
    assert (await stack.settle(path))["state"] == "rejected"
    assert sent(proxy, stack) == 0
    assert await stack.nothing_reserved()


async def test_F67_a_recipient_that_reverts_when_mined_fails_it_with_the_fee_booked(
    stack: Stack, proxy: FaultProxy
) -> None:
    path = await accepted(stack, pay("w"))
    await stack.chain().engine.step()
    assert sent(proxy, stack) == 1
    before = await stack.balance_of(stack.wallet.address, "ETH")
    await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setCode", BOB, "0x5b5f56")  # burns all gas it is given
    found = await stack.settle(path)
    assert found["state"] == "failed"
    lost = before - await stack.balance_of(stack.wallet.address, "ETH")
    assert 0 < lost < 10**16
    await stack.check_books()
    assert await stack.nothing_reserved()


def target_of(stack: Stack, scope: Scope) -> Target:
    subject = {
        Scope.ALL: "",
        Scope.CHAIN: "1",
        Scope.WALLET: stack.wallet.address,
        Scope.KEY: stack.keys["withdraw"].id,
    }
    return Target(scope=scope, subject=subject[scope])


@pytest.mark.parametrize("scope", list(Scope))
async def test_F97_a_pause_refuses_new_requests_holds_the_queue_and_lasts_over_a_restart(
    stack: Stack, proxy: FaultProxy, scope: Scope
) -> None:
    path = await accepted(stack, pay("queued"))
    target, now_ms = target_of(stack, scope), stack.services.clock.now_ms()
    await stack.services.db.run(lambda c: pause(c, target, reason="panic", now_ms=now_ms))
    again = await stack.restarted()
    try:
        await again.round()
        refused = await again.post(PATH, pay("new"), key="withdraw")
        assert (400 <= refused.status_code < 600, refused.json()["code"]) == (True, "paused")
        assert (await again.get(path)).json()["state"] == "processing"
        assert sent(proxy, again) == 0
        await again.services.db.run(lambda c: resume(c, target))
        assert (await again.settle(path))["state"] in ("confirmed", "final")
        await again.check_books()
    finally:
        await again.client.aclose()
        await again.services.close()


async def test_F97_a_pause_closes_what_was_sent_by_a_self_send_at_its_nonce(stack: Stack, proxy: FaultProxy) -> None:
    before = await stack.balance_of(BOB, "ETH")
    path = await accepted(stack, pay("w"))
    await stack.chain().engine.step()
    assert sent(proxy, stack) == 1
    target, now_ms = target_of(stack, Scope.WALLET), stack.services.clock.now_ms()
    await stack.services.db.run(lambda c: pause(c, target, reason="panic", now_ms=now_ms))
    for _ in range(2):
        await stack.chain().engine.step()
    assert (await stack.settle(path))["state"] == "cancelled"
    assert await stack.balance_of(BOB, "ETH") == before
    assert {tx.nonce for tx in proxy.recorder.txs if tx.effect.sender == stack.wallet.address} == {0}
    await stack.check_books()
    assert await stack.nothing_reserved()
