"""A start while no endpoint of a chain answers: others work, nothing is sent, and the chain comes up by itself."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import update

from chains.errors import RpcUnavailable
from scripts.devnet.network import LocalChain
from service.build import Nodes, Services, build
from service.db import models as m
from service.health import readiness
from service.workers.runner import run_workers
from tests.e2e.harness import BOB, DONE, FUNDING_DEPTH, Stack, client_of, running
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import Drop, Rule

FUNDS: Final = {"ethereum": {"ETH": 10**18}}
DEADLINE_S: Final = 120
LOOK_EVERY_S: Final = 0.2
PATH: Final = "/v1/ethereum/withdrawals"


@pytest.fixture
def proxy(ethereum: LocalChain) -> Any:
    with ThreadedProxy(FaultProxy(ethereum.rpc_url)) as made:
        yield made


async def installed(directory: Path, chain: LocalChain, proxy: FaultProxy) -> tuple[Stack, str]:
    """An installation with an accepted withdrawal, closed."""
    async with running(directory, {"ethereum": replace(chain, rpc_url=proxy.url)}, funds=FUNDS) as stack:
        await stack.mine("ethereum", FUNDING_DEPTH)
        await stack.round("ethereum")
        body = {"asset": "ETH", "amount": "0.1", "address": BOB, "client_withdrawal_id": "w"}
        answer = await stack.post(PATH, body, key="withdraw")
        assert answer.status_code == 202, answer.text
        return stack, f"/v1/withdrawals/{answer.json()['id']}"


async def started(stack: Stack) -> Stack:
    services = await build(stack.services.settings, nodes=Nodes.AWAITED)
    services.keyring.add(stack.signing_key)
    return replace(stack, services=services, client=client_of(services))


async def chain_health(services: Services) -> tuple[str, str]:
    found = await readiness(services)
    return found.status, found.chains["ethereum"]


async def test_a_chain_whose_nodes_are_away_at_the_start_is_not_ready_and_comes_up_with_them(
    ethereum: LocalChain, proxy: FaultProxy, tmp_path: Path
) -> None:
    stack, path = await installed(tmp_path, ethereum, proxy)
    before = len(proxy.recorder.txs)
    proxy.add(Rule(action=Drop()))
    again = await started(stack)
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_workers(again.services, stop))
            assert await chain_health(again.services) == ("not_ready", "unreachable")
            # What needs no node works; what needs one says so.
            assert (await again.get(path)).json()["state"] == "processing"
            refused = await again.get("/v1/ethereum/balances")
            assert (refused.status_code, refused.json()["code"]) == (503, "node_unavailable")
            assert len(proxy.recorder.txs) == before

            proxy.clear()
            async with asyncio.timeout(DEADLINE_S):
                while (await again.get(path)).json()["state"] not in DONE:
                    await asyncio.sleep(LOOK_EVERY_S)
                    await asyncio.to_thread(again.rpcs["ethereum"], "anvil_mine", "0x1")
            assert (await chain_health(again.services))[1] == "ok"
            stop.set()
    finally:
        stop.set()
        await again.client.aclose()
        await again.services.close()


@pytest.mark.parametrize("column", ["genesis_hash", "checkpoint_hash"])
async def test_nodes_that_come_up_with_another_chain_are_not_used_and_sent_nothing(
    ethereum: LocalChain, proxy: FaultProxy, tmp_path: Path, column: str
) -> None:
    stack, path = await installed(tmp_path, ethereum, proxy)
    services = await build(stack.services.settings)
    await services.db.run(lambda c: c.execute(update(m.chain_bindings).values({column: "0x" + "ab" * 32})).rowcount)
    await services.close()
    before = len(proxy.recorder.txs)
    proxy.add(Rule(action=Drop()))
    again = await started(stack)
    try:
        proxy.clear()
        with pytest.raises(RpcUnavailable):
            await again.chain().client.head()
        await again.chain().engine.recover()
        await again.chain().engine.step()
        assert await chain_health(again.services) == ("not_ready", "unreachable")
        assert (await again.get(path)).json()["state"] == "processing"
        assert len(proxy.recorder.txs) == before
    finally:
        await again.client.aclose()
        await again.services.close()
