"""The whole service over several endpoints a chain: one that is dead, one that lies, one that is behind."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from scripts.devnet.network import LocalChain
from service.db.models import lanes, txs
from tests.e2e.harness import BOB, Stack, running
from tests.faults.proxy import FaultProxy
from tests.faults.rules import About, Drop, Freeze, Lie, Rule, Silence
from tests.slack import slack

FUNDS = {"ethereum": {"ETH": 10**18, "USDC": 10**9}}
READ_S = 2.0
SEND_S = 5.0
FINAL_DEPTH = 80
"""More than Anvil's finalized tag is behind its head."""
WITHDRAWAL = {"asset": "USDC", "amount": "5", "address": BOB, "client_withdrawal_id": "w"}
ORDER = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.01"}


@pytest.fixture
async def proxies(ethereum: LocalChain) -> AsyncIterator[list[FaultProxy]]:
    made = [FaultProxy(ethereum.rpc_url, name=name) for name in ("a", "b", "c")]
    for proxy in made:
        await proxy.start()
    try:
        yield made
    finally:
        for proxy in made:
            await proxy.stop()


def setting(*proxies: FaultProxy) -> dict[str, str]:
    return {"ethereum": ", ".join(f"{proxy.name}={proxy.url}" for proxy in proxies)}


async def tx_states(stack: Stack) -> list[str]:
    return await stack.services.db.read(lambda c: list(c.execute(select(txs.c.state)).scalars()))


async def lane_holds(stack: Stack) -> list[str | None]:
    return await stack.services.db.read(lambda c: list(c.execute(select(lanes.c.hold_reason)).scalars()))


@pytest.mark.parametrize("fault", [Silence(), Drop()], ids=["silent", "refusing"])
async def test_with_a_dead_primary_from_the_start_reads_cost_below_2_s_and_a_send_below_5_s(
    ethereum: LocalChain, proxies: list[FaultProxy], tmp_path: Path, fault: Silence | Drop
) -> None:
    dead, live, _ = proxies
    dead.add(Rule(action=fault))
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=setting(dead, live)) as stack:
        async with slack(lambda: stack.get("/v1/orders")) as busy:
            for path in ("/v1/ethereum/balances", "/v1/ethereum/ticker", "/readyz"):
                began = time.monotonic()
                answer = await stack.get(path)
                assert time.monotonic() - began < READ_S + busy.seconds, path
                assert answer.status_code == 200, answer.text
            placed = await stack.post("/v1/ethereum/orders", ORDER)
            assert placed.status_code == 202, placed.text
            began = time.monotonic()
            await stack.chain().engine.step()
            assert time.monotonic() - began < SEND_S + busy.seconds
        assert live.count("eth_sendRawTransaction") == 1
        assert (await stack.settle(f"/v1/orders/{placed.json()['id']}"))["state"] == "FILLED"


async def test_with_one_endpoint_of_three_dead_a_withdrawal_is_accepted_and_sent_in_time(
    ethereum: LocalChain, proxies: list[FaultProxy], tmp_path: Path
) -> None:
    dead, live, _ = proxies
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=setting(*proxies)) as stack:
        dead.add(Rule(action=Silence()))
        async with slack(lambda: stack.get("/v1/orders")) as busy:
            began = time.monotonic()
            asked = await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")
            assert asked.status_code == 202, asked.text
            assert time.monotonic() - began < SEND_S + busy.seconds
            began = time.monotonic()
            await stack.chain().engine.step()
            assert time.monotonic() - began < SEND_S + busy.seconds
        assert live.count("eth_sendRawTransaction") == 1
        found = await stack.settle(f"/v1/withdrawals/{asked.json()['id']}")
        assert found["state"] in ("confirmed", "final")


async def test_a_withdrawal_waits_until_two_endpoints_give_the_same_balance(
    ethereum: LocalChain, proxies: list[FaultProxy], tmp_path: Path
) -> None:
    first, second, _ = proxies
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=setting(first, second)) as stack:
        second.add(Rule(action=Lie(about=About.CALL, value="0x" + "00" * 64)))
        async with slack(lambda: stack.get("/v1/orders")) as busy:
            began = time.monotonic()
            refused = await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")
            assert time.monotonic() - began < SEND_S + busy.seconds
        assert refused.status_code == 503, refused.text
        assert await stack.nothing_reserved()
        second.clear()
        asked = await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")
        assert asked.status_code == 202, asked.text


async def test_an_endpoint_that_is_a_block_behind_for_a_moment_does_not_refuse_a_withdrawal(
    ethereum: LocalChain, proxies: list[FaultProxy], tmp_path: Path
) -> None:
    first, second, _ = proxies
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=setting(first, second)) as stack:
        head = await stack.chain().client.head()
        await stack.mine("ethereum")
        behind = Rule(action=Freeze(block=head.number), method="eth_call", times=1)
        second.add(behind)
        asked = await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")
        assert asked.status_code == 202, asked.text
        assert second.applied(behind) == 1


async def test_a_transaction_is_not_final_while_an_endpoint_says_that_it_reverted(
    ethereum: LocalChain, proxies: list[FaultProxy], tmp_path: Path
) -> None:
    first, second, _ = proxies
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=setting(first, second)) as stack:
        asked = (await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")).json()
        await stack.settle(f"/v1/withdrawals/{asked['id']}")
        second.add(Rule(action=Lie(about=About.RECEIPT_STATUS, value=0)))
        await stack.mine("ethereum", FINAL_DEPTH)
        await stack.round()
        assert await tx_states(stack) == ["confirmed"]
        second.clear()
        await stack.round()
        assert await tx_states(stack) == ["final"]
        assert await lane_holds(stack) == [None]


async def test_what_both_endpoints_tell_otherwise_than_it_was_booked_holds_the_wallet_for_a_person(
    ethereum: LocalChain, proxies: list[FaultProxy], tmp_path: Path
) -> None:
    first, second, _ = proxies
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS, endpoints=setting(first, second)) as stack:
        asked = (await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")).json()
        await stack.settle(f"/v1/withdrawals/{asked['id']}")
        for proxy in (first, second):
            proxy.add(Rule(action=Lie(about=About.RECEIPT_STATUS, value=0)))
        await stack.mine("ethereum", FINAL_DEPTH)
        await stack.round()
        assert await tx_states(stack) == ["confirmed"]
        [held] = await lane_holds(stack)
        assert held is not None
        assert held.startswith("contradicted: ")
