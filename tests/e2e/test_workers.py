"""The workers on their own: nobody steps an engine here."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from chains.rpc.addresses import parse_sockets
from scripts.devnet.network import LocalChain
from service.workers.runner import run_workers
from tests.e2e.harness import BOB, DONE, Stack, running

FUNDS = {"ethereum": {"ETH": 10**18, "USDC": 10**9}}
DEADLINE_S = 120
BLOCK_S = 0.2
NEVER_MS = 3_600_000


async def settled(stack: Stack, path: str) -> dict[str, Any]:
    """Blocks keep coming until what `path` answers has come to its end."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found: dict[str, Any] = (await stack.get(path)).json()
            if found["state"] in DONE:
                return found
            await stack.mine("ethereum")
            # What is waited for is the engine's own poll of the chain.
            await asyncio.sleep(BLOCK_S)


async def test_the_workers_carry_out_what_is_accepted_until_they_are_stopped(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            workers = group.create_task(run_workers(stack.services, stop))
            order = {"market": "ETHUSDC", "side": "buy", "quote_amount": "100"}
            placed = (await stack.post("/v1/ethereum/orders", order)).json()
            body = {"asset": "USDC", "amount": "5", "address": BOB, "client_withdrawal_id": "w"}
            asked = (await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")).json()
            assert (await settled(stack, f"/v1/orders/{placed['id']}"))["state"] == "FILLED"
            assert (await settled(stack, f"/v1/withdrawals/{asked['id']}"))["state"] in ("confirmed", "final")
            assert not workers.done()
            stop.set()
        await stack.check_books()


async def test_what_was_accepted_before_a_stop_is_carried_out_after_the_next_start(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        order = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.01"}
        placed = (await stack.post("/v1/ethereum/orders", order)).json()
        again = await stack.restarted()
        try:
            found = await again.settle(f"/v1/orders/{placed['id']}")
            assert found["state"] == "FILLED"
            await again.check_books()
        finally:
            await again.services.close()


async def test_F43_a_chain_s_websocket_makes_its_engine_look_at_once(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        sockets = parse_sockets(ethereum.rpc_url.replace("http://", "ws://"), chain="ethereum")
        settings = stack.services.settings.model_copy(update={"ws": {"ethereum": sockets}})
        engine, stop = stack.chain().engine, asyncio.Event()
        engine._poll_ms = NEVER_MS
        async with asyncio.TaskGroup() as group, asyncio.timeout(DEADLINE_S):
            group.create_task(run_workers(replace(stack.services, settings=settings), stop))
            for _ in range(3):
                before = engine.known_head
                assert before is not None
                while engine.known_head == before:
                    # Again and again, since the first blocks may come before the subscription.
                    await stack.mine("ethereum")
                    await asyncio.sleep(BLOCK_S)
            stop.set()
