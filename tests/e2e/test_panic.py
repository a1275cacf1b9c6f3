"""The panic switch over the whole service: requests, lanes, what is open, and a restart."""

from pathlib import Path
from typing import Any

import pytest

from scripts.devnet.network import LocalChain
from service.auth.keys import list_keys
from service.control import acts
from service.control.protocol import ActFailed
from service.control.server import Operator
from tests.chainfixtures import manual_mining
from tests.e2e.harness import BOB, Stack, running

FUNDS = {"ethereum": {"ETH": 5 * 10**18}}
OPERATOR = Operator(uid=0, name="root")


async def act(stack: Stack, name: str, **params: Any) -> dict[str, Any]:
    return await acts.perform(stack.services, name, params, OPERATOR)


async def withdraw(stack: Stack, client_id: str) -> tuple[int, dict[str, Any]]:
    body = {"asset": "ETH", "amount": "0.1", "address": BOB, "client_withdrawal_id": client_id}
    answer = await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")
    return answer.status_code, answer.json()


async def closed(stack: Stack, withdrawal: dict[str, Any]) -> str:
    """Its state after the blocks that a self-send takes."""
    for _ in range(3):
        await stack.round()
    state: str = (await stack.get(f"/v1/withdrawals/{withdrawal['id']}")).json()["state"]
    return state


async def test_panic_refuses_requests_closes_what_is_open_and_holds_over_a_restart(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    """F97."""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        before = await stack.balance_of(BOB, "ETH")
        with manual_mining(stack.rpcs["ethereum"]):
            _, sent = await withdraw(stack, "sent")
            await stack.chain().engine.step()
            _, queued = await withdraw(stack, "queued")
            paused = await act(stack, "panic.on", reason="strange withdrawals")
            assert (paused["scope"], paused["closing"]) == ("all", 1)
            status, refused = await withdraw(stack, "late")
            assert (status, refused["code"]) == (503, "paused")
            assert (await withdraw(stack, "sent"))[0] == 200  # what was accepted before can still be asked for

            stack = await stack.restarted()
            await stack.chain().engine.step()
            assert len((await act(stack, "panic.status"))["pauses"]) == 1
        assert await closed(stack, sent) == "cancelled"
        assert await stack.balance_of(BOB, "ETH") == before
        assert (await stack.get(f"/v1/withdrawals/{queued['id']}")).json()["state"] == "processing"

        await act(stack, "panic.off")
        assert (await stack.settle(f"/v1/withdrawals/{queued['id']}"))["state"] in ("confirmed", "final")
        assert await stack.balance_of(BOB, "ETH") == before + 10**17
        await stack.check_books()
        assert await stack.nothing_reserved()
        with pytest.raises(ActFailed) as none:
            await act(stack, "panic.off")
        assert none.value.code == "not_paused"
        await stack.services.close()


async def test_a_revoked_keys_open_payment_is_closed_and_its_queued_one_is_not_paid(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        before = await stack.balance_of(BOB, "ETH")
        with manual_mining(stack.rpcs["ethereum"]):
            _, sent = await withdraw(stack, "sent")
            await stack.chain().engine.step()
            _, queued = await withdraw(stack, "queued")
            revoked = await act(stack, "key.revoke", key=stack.keys["withdraw"].id)
            assert (revoked["state"], revoked["closing"], revoked["rejected"]) == ("revoked", 1, 1)
            # At once, before a lane comes to it; and nothing stays reserved for it.
            found = (await stack.get(f"/v1/withdrawals/{queued['id']}")).json()
            assert (found["state"], "revoked" in found["reason"]) == ("rejected", True)
            await stack.chain().engine.step()
        assert await closed(stack, sent) == "cancelled"
        assert await closed(stack, queued) == "rejected"
        assert await stack.balance_of(BOB, "ETH") == before
        assert await stack.nothing_reserved()
        await stack.check_books()


@pytest.mark.parametrize("only", [{"chain": "eth"}, {"wallet": "main"}, {"key": "withdraw"}])
async def test_a_pause_of_one_chain_wallet_or_key_refuses_its_requests(
    ethereum: LocalChain, tmp_path: Path, only: dict[str, str]
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        names = {
            "chain": "eth",
            "wallet": stack.wallet.label,
            "key": next(
                key.label
                for key in await stack.services.db.read(lambda c: list_keys(c, master=stack.services.master))
                if key.id == stack.keys["withdraw"].id
            ),
        }
        (scope,) = only
        await act(stack, "panic.on", **{scope: names[scope]})
        assert (await withdraw(stack, "w"))[1]["code"] == "paused"
        await act(stack, "panic.off", **{scope: names[scope]})
        assert (await withdraw(stack, "w"))[0] == 202


async def test_a_pause_names_one_thing_that_exists(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        for params, code in (
            ({"chain": "eth", "wallet": "main"}, "bad_parameters"),
            ({"chain": "solana"}, "unknown_chain"),
            ({"wallet": "nobody"}, "no_such_wallet"),
            ({"key": "ck_nobody"}, "no_such_key"),
        ):
            with pytest.raises(ActFailed) as refused:
                await act(stack, "panic.on", **params)
            assert refused.value.code == code
