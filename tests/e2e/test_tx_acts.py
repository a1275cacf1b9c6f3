"""`cambist tx` over the control socket of a service at work: its stories, and the acts that help what is stuck."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scripts.devnet.cheats import impersonate
from scripts.devnet.network import LocalChain
from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import Operator, control_server, this_operator
from service.db.models import lanes
from tests.chainfixtures import manual_mining
from tests.e2e.harness import BOB, Stack, running

FUNDS = {"ethereum": {"ETH": 10**18, "USDC": 10**9}}
WITHDRAWAL = {"asset": "USDC", "amount": "5", "address": BOB, "client_withdrawal_id": "w"}


@asynccontextmanager
async def operated(
    directory: Path, chain: LocalChain, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Stack, "Shell"]]:
    """A service whose control socket is open, and a shell with its settings."""
    async with running(directory, {"ethereum": chain}, funds=FUNDS) as stack:
        settings = stack.services.settings
        monkeypatch.setenv("CAMBIST_DATA_DIR", str(settings.data_dir))
        monkeypatch.setenv("CAMBIST_MASTER_KEY_FILE", str(settings.master_key_file))

        async def act(name: str, params: Mapping[str, Any], operator: Operator) -> Mapping[str, Any]:
            return await perform(stack.services, name, params, operator)

        async with control_server(settings.control_socket, act):
            yield stack, Shell()


class Shell:
    """Runs commands as an operator types them; the server goes on meanwhile."""

    async def run(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        command = [sys.executable, "-c", "import sys; from service.cli import main; sys.exit(main())", "tx", *words]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def json(self, *words: str) -> dict[str, Any]:
        status, out, err = await self.run(*words, "--json")
        assert status == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    async def refusal(self, *words: str) -> str:
        """The code of a command that does not do what it is asked."""
        status, _, err = await self.run(*words, "--json")
        assert status != 0
        return str(json.loads(err.splitlines()[-1])["error"]["code"])


async def withdraw(stack: Stack, client_id: str = "w") -> dict[str, Any]:
    body = WITHDRAWAL | {"client_withdrawal_id": client_id}
    asked = await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")
    assert asked.status_code == 202, asked.text
    found: dict[str, Any] = asked.json()
    return found


async def test_a_transaction_s_story_goes_from_who_asked_to_its_block(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, ethereum, monkeypatch) as (stack, shell):
        asked = await withdraw(stack)
        with manual_mining(stack.rpcs["ethereum"]):
            await stack.chain().engine.step()
            [row] = (await shell.json("list"))["transactions"]
            assert (row["chain"], row["wallet"], row["state"]) == ("ethereum", stack.wallet.address, "broadcast")
        await stack.settle(f"/v1/withdrawals/{asked['id']}")
        story = await shell.json("show", f"withdrawal:{asked['id']}")
        by = story["asked_by"]
        assert (by["id"], by["client_id"], by["key_id"]) == (asked["id"], "w", stack.keys["withdraw"].id)
        [step] = story["steps"]
        [tx] = step["transactions"]
        [attempt] = tx["attempts"]
        assert (tx["tx"], tx["outcome"], tx["mined_hash"]) == (row["tx"], "succeeded", attempt["hash"])
        for name in (str(tx["tx"]), attempt["hash"], story["plan"], step["intent"]):
            assert await shell.json("show", name) == story
        _, shown, _ = await shell.run("show", str(tx["tx"]))
        for part in ("accepted", f"took nonce {tx['nonce']}", attempt["hash"], "succeeded, in block", "sent last"):
            assert part in shown
        assert "raw" not in attempt


async def test_what_is_not_there_is_said_with_its_code(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, ethereum, monkeypatch) as (stack, _):
        for named in ("1", "9" * 40, "0x" + "ab" * 32, "order:1", "nothing"):
            with pytest.raises(ActFailed) as failure:
                await perform(stack.services, "tx.show", {"named": named}, this_operator())
            assert failure.value.code == "no_such_transaction"


async def test_a_bump_and_a_cancel_asked_for_are_made_at_the_same_nonce(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, ethereum, monkeypatch) as (stack, shell):
        await withdraw(stack)
        with manual_mining(stack.rpcs["ethereum"]):
            await stack.chain().engine.step()
            [row] = (await shell.json("list"))["transactions"]
            assert (await shell.json("bump", str(row["tx"])))["is_new"] is True
            await stack.chain().engine.step()
            assert await shell.refusal("cancel", str(row["tx"])) == "confirmation_needed"
            assert (await shell.json("cancel", str(row["tx"]), "--yes", "--reason", "wrong amount"))["is_new"] is True
            await stack.chain().engine.step()
            [step] = (await shell.json("show", str(row["tx"])))["steps"]
            [tx] = step["transactions"]
            assert [attempt["kind"] for attempt in tx["attempts"]] == ["real", "real", "cancel"]
            assert (tx["wish"], tx["wish_reason"]) == ("cancel", "wrong amount")
        await stack.round()
        with pytest.raises(ActFailed, match="mined or closed"):
            await perform(stack.services, "tx.bump", {"tx": row["tx"]}, this_operator())


async def test_a_wallet_used_by_another_program_goes_on_from_the_chain_s_nonce_once_a_person_says_so(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, ethereum, monkeypatch) as (stack, shell):
        first = await withdraw(stack)
        await stack.settle(f"/v1/withdrawals/{first['id']}")
        await stack.mine("ethereum", 80)
        await stack.round()
        rpc, wallet = stack.rpcs["ethereum"], stack.wallet.address
        impersonate(rpc, wallet)
        await asyncio.to_thread(rpc, "eth_sendTransaction", {"from": wallet, "to": BOB, "value": "0x1"})
        second = await withdraw(stack, "v")
        await stack.round()
        [held] = (await shell.json("list"))["held"]
        assert held["hold_reason"].startswith("foreign_nonce: ")
        assert await shell.refusal("resolve", "ethereum", "main") == "confirmation_needed"
        assert await shell.refusal("resolve", "ethereum", "main", "--yes") == "next_nonce_needed"
        nonce = int(await asyncio.to_thread(rpc, "eth_getTransactionCount", wallet, "latest"), 16)
        skipped = ("resolve", "ethereum", "main", "--yes", "--next-nonce", str(nonce + 1))
        assert await shell.refusal(*skipped) == "wrong_next_nonce"
        done = await shell.json("resolve", "ethereum", "main", "--yes", "--next-nonce", str(nonce))
        assert (done["nonce_before"], done["next_nonce"]) == (nonce - 1, nonce)
        assert (await stack.settle(f"/v1/withdrawals/{second['id']}"))["state"] in ("confirmed", "final")
        assert (await shell.json("list"))["held"] == []


async def test_a_wallet_is_released_only_for_the_reason_that_was_looked_at(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, ethereum, monkeypatch) as (stack, _):
        asked = await withdraw(stack)
        await stack.settle(f"/v1/withdrawals/{asked['id']}")
        params = {"chain": "ethereum", "wallet": "main", "hold_reason": "deep_reorg: a"}
        with pytest.raises(ActFailed) as failure:
            await perform(stack.services, "tx.resolve", params, this_operator())
        assert failure.value.code == "not_held"
        await stack.services.db.run(lambda c: c.execute(lanes.update().values(hold_reason="deep_reorg: b")))
        with pytest.raises(ActFailed) as failure:
            await perform(stack.services, "tx.resolve", params, this_operator())
        assert failure.value.code == "other_reason"
        await perform(stack.services, "tx.resolve", params | {"hold_reason": "deep_reorg: b"}, this_operator())


async def test_a_withdrawal_that_waits_for_gas_is_given_up_by_a_person_and_makes_way(
    ethereum: LocalChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operated(tmp_path, ethereum, monkeypatch) as (stack, shell):
        asked = (await stack.post("/v1/ethereum/withdrawals", WITHDRAWAL, key="withdraw")).json()
        named = f"withdrawal:{asked['id']}"
        rpc = stack.rpcs["ethereum"]
        await asyncio.to_thread(rpc, "anvil_setBalance", stack.wallet.address, hex(1_000))
        await stack.round()
        assert (await stack.get(f"/v1/withdrawals/{asked['id']}")).json()["state"] == "processing"
        assert (await shell.json("reject", named, "--reason", "no gas", "--yes"))["named"] == named
        found = (await stack.get(f"/v1/withdrawals/{asked['id']}")).json()
        assert found["state"] == "rejected"
        assert "no gas" in found["reason"]
        assert await stack.nothing_reserved()
        assert "nothing_queued" in await shell.refusal("reject", named, "--yes")
        assert "no_such_transaction" in await shell.refusal("reject", "withdrawal:999", "--yes")
        # The next one is first in the queue, and goes out with the funds.
        await asyncio.to_thread(rpc, "anvil_setBalance", stack.wallet.address, hex(10**18))
        again = {**WITHDRAWAL, "client_withdrawal_id": "again"}
        next_one = (await stack.post("/v1/ethereum/withdrawals", again, key="withdraw")).json()
        assert (await stack.settle(f"/v1/withdrawals/{next_one['id']}"))["state"] in ("confirmed", "final")
