"""F29 with the whole service: a chain that takes back what is booked is frozen until a person thaws it."""

import asyncio
from pathlib import Path

import pytest

from scripts.devnet.cheats import fund_token
from scripts.devnet.network import LocalChain
from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import this_operator
from service.observability.scraping import page
from tests.chainfixtures import manual_mining
from tests.e2e.harness import BOB, Stack
from tests.e2e.test_tx_acts import operated, withdraw

ORDER = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.01"}
DEPTH = 6
"""Of the reorg: more than Ethereum's confirmed depth, less than what makes a block final."""


async def refused(stack: Stack) -> list[tuple[int, str]]:
    """What an order and a withdrawal are told."""
    body = {"asset": "ETH", "amount": "0.1", "address": BOB, "client_withdrawal_id": "while-frozen"}
    answers = [
        await stack.post("/v1/ethereum/orders", ORDER),
        await stack.post("/v1/ethereum/withdrawals", body, key="withdraw"),
    ]
    return [(answer.status_code, answer.json()["code"]) for answer in answers]


async def refusal(stack: Stack, act: str, **params: str) -> str:
    with pytest.raises(ActFailed) as failure:
        await perform(stack.services, act, params, this_operator())
    return failure.value.code


async def test_F29_a_booked_withdrawal_that_leaves_the_chain_freezes_it_until_it_is_thawed(
    fresh_ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, fresh_ethereum, monkeypatch) as (stack, shell):
        with manual_mining(stack.rpcs["ethereum"]):
            # Anvil 1.7.1 leaves storage that did not exist before the blocks that a reorg removes.
            await asyncio.to_thread(fund_token, stack.rpcs["ethereum"], "ethereum", "USDC", BOB, 1)
            await stack.mine("ethereum")
            asked = await withdraw(stack)
            path = f"/v1/withdrawals/{asked['id']}"
            await stack.settle(path)
            await stack.mine("ethereum", DEPTH - 3)
            await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_reorg", DEPTH, [])
            await stack.round()

            assert await refused(stack) == [(503, "chain_frozen")] * 2
            ready = await stack.client.get("/readyz")
            assert (ready.status_code, ready.json()["chains"]) == (503, {"ethereum": "frozen"})
            assert b'cambist_frozen_chains{chain="ethereum",code="deep_reorg"} 1.0' in await page(stack.services)
            [frozen] = (await shell.json("list"))["frozen"]
            reason = frozen["freeze_reason"]
            assert reason.startswith("deep_reorg: block ")
            assert await shell.refusal("thaw", "ethereum") == "confirmation_needed"
            assert await shell.refusal("thaw", "polygon", "--yes") == "not_frozen"

            again = await stack.restarted()
            try:
                await again.round()
                assert (await again.get(path)).json()["state"] == "confirmed"  # nothing is taken back by itself
                assert await refused(again) == [(503, "chain_frozen")] * 2
                held = {"chain": "ethereum", "wallet": "main", "hold_reason": reason}
                assert await refusal(again, "tx.resolve", **held) == "chain_frozen"
                assert await refusal(again, "tx.thaw", chain="ethereum", freeze_reason="another") == "other_reason"
                thaw = {"chain": "ethereum", "freeze_reason": reason}
                await perform(again.services, "tx.thaw", thaw, this_operator())
                await again.round()  # reversed, sent again at its nonce, mined and booked
                await again.round()
                [lane] = (await perform(again.services, "tx.list", {}, this_operator()))["held"]
                assert lane["hold_reason"].startswith("deep_reorg: a confirmed transaction left the chain")
                held["hold_reason"] = lane["hold_reason"]
                await perform(again.services, "tx.resolve", held, this_operator())
                assert (await again.settle(path))["state"] in ("confirmed", "final")
                await again.check_books()
                assert await again.balance_of(BOB, "USDC") == 1 + again.raw("USDC", "5")
            finally:
                await again.services.close()
