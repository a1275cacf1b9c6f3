"""What arrives, what leaves and what is set aside, to the wei: net, gross and all; hostile recipients; cancelling."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import select

from chains.units import format_units, parse_units
from scripts.devnet.network import LocalChain
from service.db import models as m
from tests.e2e.harness import BOB, Stack, running

E18: Final = 10**18
FUNDS: Final = {"ethereum": {"ETH": 5 * E18, "USDC": 1_000 * 10**6}}
PATH: Final = "/v1/ethereum/withdrawals"

# Runtime code of recipients. PUSH0 PUSH0 REVERT; JUMPDEST PUSH0 JUMP (burns all it gets); STOP.
REVERTS: Final = "0x5f5ffd"
BURNS: Final = "0x5b5f56"
TAKES: Final = "0x00"


def asking(amount: str | None, kind: str, *, asset: str = "ETH", client_id: str = "w") -> dict[str, Any]:
    body = {"asset": asset, "amount_is": kind, "address": BOB, "client_withdrawal_id": client_id}
    return body if amount is None else body | {"amount": amount}


def estimating(amount: str | None, kind: str, *, asset: str = "ETH") -> dict[str, Any]:
    body = asking(amount, kind, asset=asset)
    del body["client_withdrawal_id"]
    return body


async def ask(stack: Stack, body: dict[str, Any]) -> httpx.Response:
    return await stack.post(PATH, body, key="withdraw")


async def cancel(stack: Stack, withdrawal_id: int, query: str = "") -> httpx.Response:
    path = f"/v1/withdrawals/{withdrawal_id}{query}"
    return await stack.client.delete(path, headers=stack.headers("DELETE", path, b"", key="withdraw"))


async def code_at_bob(stack: Stack, code: str) -> None:
    """On a fork of its own: a snapshot does not take this back."""
    await asyncio.to_thread(stack.rpcs["ethereum"], "anvil_setCode", BOB, code)


async def only_the_test_mines(stack: Stack) -> None:
    await asyncio.to_thread(stack.rpcs["ethereum"], "evm_setAutomine", False)


def wei(text: str) -> int:
    return parse_units(text, 18)


async def test_a_net_withdrawal_arrives_whole_and_its_fee_is_on_top(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        ours, theirs = await stack.balance_of(stack.wallet.address, "ETH"), await stack.balance_of(BOB, "ETH")
        estimate = (await stack.post(f"{PATH}/estimate", estimating("0.25", "net"), key="withdraw")).json()
        assert (estimate["amount"], estimate["leaves_at_most"], estimate["gas_limit"]) == ("0.25", "0.25", 21_000)
        assert estimate["covered"] is True
        answer = await ask(stack, asking("0.25", "net"))
        ended = await stack.settle(f"/v1/withdrawals/{answer.json()['id']}")
        paid = wei(ended["gas"]["amount"])
        assert 0 < paid <= wei(estimate["max_fee"]["amount"])
        assert await stack.balance_of(BOB, "ETH") - theirs == wei("0.25")
        assert ours - await stack.balance_of(stack.wallet.address, "ETH") == wei("0.25") + paid
        assert ended["confirmations"] >= 2
        await stack.check_books()


async def test_a_gross_withdrawal_never_takes_more_than_its_amount_and_what_is_left_of_the_fee_stays(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        ours, theirs = await stack.balance_of(stack.wallet.address, "ETH"), await stack.balance_of(BOB, "ETH")
        answer = await ask(stack, asking("0.25", "gross"))
        assert answer.status_code == 202, answer.text
        asked = answer.json()
        assert asked["leaves_at_most"] == "0.25"
        assert wei(asked["amount"]) + wei(asked["max_fee"]["amount"]) == wei("0.25")
        ended = await stack.settle(f"/v1/withdrawals/{asked['id']}")
        left = ours - await stack.balance_of(stack.wallet.address, "ETH")
        assert await stack.balance_of(BOB, "ETH") - theirs == wei(asked["amount"])
        assert left == wei(asked["amount"]) + wei(ended["gas"]["amount"]) <= wei("0.25")
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_all_of_the_native_asset_leaves_nothing_but_what_the_fee_did_not_use(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        answer = await ask(stack, asking(None, "all"))
        assert answer.status_code == 202, answer.text
        asked = answer.json()
        assert asked["leaves_at_most"] == "5"
        again = await ask(stack, asking(None, "all"))
        assert (again.status_code, again.json()["id"]) == (200, asked["id"])
        ended = await stack.settle(f"/v1/withdrawals/{asked['id']}")
        assert ended["state"] in ("confirmed", "final")
        left = wei(asked["max_fee"]["amount"]) - wei(ended["gas"]["amount"])
        assert await stack.balance_of(stack.wallet.address, "ETH") == left
        await stack.check_books()


async def test_all_of_a_token_is_its_balance_less_what_is_reserved(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        first = await ask(stack, asking("400", "net", asset="USDC", client_id="first"))
        rest = await ask(stack, asking(None, "all", asset="USDC", client_id="rest"))
        assert (first.status_code, rest.status_code, rest.json()["amount"]) == (202, 202, "600")
        assert (await stack.settle(f"/v1/withdrawals/{rest.json()['id']}"))["state"] in ("confirmed", "final")
        assert await stack.balance_of(stack.wallet.address, "USDC") == 0
        nothing = await ask(stack, asking(None, "all", asset="USDC", client_id="nothing"))
        assert nothing.json()["code"] == "insufficient_balance"


async def test_a_token_is_never_gross_since_its_fee_is_paid_in_another_asset(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        refused = await ask(stack, asking("10", "gross", asset="USDC"))
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_parameters")
        both = await ask(stack, asking("10", "all", asset="USDC"))
        assert both.json()["code"] == "invalid_parameters"
        dust = await ask(stack, asking("0.000000000000000001", "gross"))
        assert dust.json()["code"] == "amount_too_small"


async def test_a_gross_withdrawal_that_is_made_dearer_stays_within_its_amount(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        runtime, rpc = stack.chain(), stack.rpcs["ethereum"]
        await only_the_test_mines(stack)
        asked = (await ask(stack, asking("0.25", "gross"))).json()
        await runtime.engine.step()
        # Other transactions' price goes up by a half at a time, the wallet's is bumped as often as it can be.
        for _ in range(4):
            [tx_id] = await stack.services.db.read(lambda c: c.execute(select(m.txs.c.id)).scalars().all())
            await runtime.engine.request_bump(tx_id, "test")
            head = await runtime.client.head()
            await asyncio.to_thread(rpc, "anvil_setNextBlockBaseFeePerGas", hex(head.base_fee_wei * 3 // 2))
            await runtime.engine.step()

        def costs(c: Any) -> list[int]:
            rows = c.execute(select(m.attempts.c.gas_limit, m.attempts.c.max_fee_wei)).all()
            return [gas * fee for gas, fee in rows]

        found = await stack.services.db.read(costs)
        assert len(found) > 1
        assert max(found) <= wei(asked["max_fee"]["amount"])


async def test_fees_above_what_was_set_aside_end_a_gross_withdrawal_before_anything_is_sent(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        asked = (await ask(stack, asking("0.25", "gross"))).json()
        head = await stack.chain().client.head()
        await asyncio.to_thread(
            stack.rpcs["ethereum"], "anvil_setNextBlockBaseFeePerGas", hex(head.base_fee_wei * 20 + 10**10)
        )
        await stack.mine("ethereum")
        await stack.chain().engine.step()
        ended = (await stack.get(f"/v1/withdrawals/{asked['id']}")).json()
        assert (ended["state"], ended["reason"].partition(":")[0]) == ("rejected", "fee_cap")
        assert await stack.count(m.attempts) == 0
        assert await stack.nothing_reserved()


async def test_f67_a_recipient_that_reverts_or_burns_its_gas_is_refused(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        for code in (REVERTS, BURNS):
            await code_at_bob(stack, code)
            refused = await ask(stack, asking("0.1", "net"))
            estimated = await stack.post(f"{PATH}/estimate", estimating("0.1", "net"), key="withdraw")
            assert refused.status_code == estimated.status_code == 409, refused.text
            assert refused.json()["code"] in ("would_revert", "transfer_too_costly"), refused.text
        assert await stack.count(m.withdrawals) == await stack.count(m.plans) == 0


async def test_f67_a_recipient_that_turns_hostile_before_the_signature_costs_nothing(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        await code_at_bob(stack, TAKES)
        asked = (await ask(stack, asking("0.1", "net"))).json()
        await code_at_bob(stack, BURNS)
        await stack.mine("ethereum")
        await stack.chain().engine.step()
        ended = (await stack.get(f"/v1/withdrawals/{asked['id']}")).json()
        assert ended["state"] == "rejected", ended
        assert ended["reason"].startswith("simulation_")
        assert await stack.count(m.attempts) == 0
        assert await stack.nothing_reserved()


async def test_f67_a_recipient_that_turns_hostile_after_the_signature_burns_its_gas_limit_at_most(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        ours = await stack.balance_of(stack.wallet.address, "ETH")
        await code_at_bob(stack, TAKES)
        estimate = (await stack.post(f"{PATH}/estimate", estimating("0.1", "net"), key="withdraw")).json()
        assert "contract_recipient" in [one["code"] for one in estimate["warnings"]]
        asked = (await ask(stack, asking("0.1", "net"))).json()
        await only_the_test_mines(stack)
        await stack.chain().engine.step()
        await code_at_bob(stack, BURNS)
        ended = await stack.settle(f"/v1/withdrawals/{asked['id']}")
        assert (ended["state"], ended["reason"]) == ("failed", "transfer_reverted")
        burnt = wei(ended["gas"]["amount"])
        assert 0 < burnt <= wei(asked["max_fee"]["amount"])
        assert ours - await stack.balance_of(stack.wallet.address, "ETH") == burnt
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_a_withdrawal_that_waits_is_cancelled_at_once_and_its_funds_are_free(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        theirs = await stack.balance_of(BOB, "USDC")
        asked = (await ask(stack, asking("900", "net", asset="USDC"))).json()
        cancelled = await cancel(stack, asked["id"])
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert await stack.nothing_reserved()
        assert (await cancel(stack, asked["id"])).json() == cancelled.json()
        again = await ask(stack, asking("900", "net", asset="USDC"))
        assert (again.status_code, again.json()["state"]) == (200, "cancelled")
        assert (await ask(stack, asking("900", "net", asset="USDC", client_id="other"))).status_code == 202
        await stack.round()
        assert await stack.balance_of(BOB, "USDC") - theirs == 900 * 10**6
        await stack.check_books()


async def test_what_is_sent_is_cancelled_only_by_a_self_send_and_what_is_mined_decides(
    fresh_ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        theirs = await stack.balance_of(BOB, "ETH")
        await only_the_test_mines(stack)
        asked = (await ask(stack, asking("1", "net"))).json()
        await stack.chain().engine.step()
        refused = await cancel(stack, asked["id"])
        assert (refused.status_code, refused.json()["code"]) == (409, "already_sent")
        accepted = await cancel(stack, asked["id"], "?if_sent=self_send")
        assert (accepted.status_code, accepted.json()["state"]) == (200, "sent")
        ended = await stack.settle(f"/v1/withdrawals/{asked['id']}")
        arrived = await stack.balance_of(BOB, "ETH") - theirs
        assert (ended["state"], arrived) in (("cancelled", 0), ("confirmed", E18), ("final", E18))
        late = await cancel(stack, asked["id"], "?if_sent=self_send")
        assert late.status_code == (200 if ended["state"] == "cancelled" else 409)
        await stack.check_books()


async def test_cancelling_while_the_lane_takes_it_has_one_outcome(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        theirs, paid = await stack.balance_of(BOB, "USDC"), 0
        for number in range(4):
            asked = (await ask(stack, asking("10", "net", asset="USDC", client_id=f"race-{number}"))).json()
            stepped, answer = await asyncio.gather(
                stack.chain().engine.step(), cancel(stack, asked["id"]), return_exceptions=True
            )
            assert not isinstance(answer, BaseException)
            await stack.round()
            ended = (await stack.get(f"/v1/withdrawals/{asked['id']}")).json()
            if answer.status_code == 200:
                assert ended["state"] == "cancelled"
            else:
                assert answer.json()["code"] in ("already_sent", "try_again")
                assert ended["state"] in ("confirmed", "final"), (ended, stepped)
                paid += 1
        assert await stack.balance_of(BOB, "USDC") - theirs == paid * 10 * 10**6
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_an_estimate_says_what_is_not_covered_and_reserves_nothing(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await ask(stack, asking("900", "net", asset="USDC"))
        estimate = (await stack.post(f"{PATH}/estimate", estimating("500", "net", asset="USDC"), key="withdraw")).json()
        assert (estimate["covered"], estimate["needs_approval"]) == (False, None)
        assert {"not_covered", "first_time"} <= {one["code"] for one in estimate["warnings"]}
        assert await stack.count(m.withdrawals) == 1
        everything = (await stack.post(f"{PATH}/estimate", estimating(None, "all"), key="withdraw")).json()
        asked = await ask(stack, asking(None, "all", client_id="all"))
        assert asked.json()["leaves_at_most"] == everything["leaves_at_most"]
        assert format_units(wei(everything["amount"]), 18) == everything["amount"]


async def test_history_is_filtered_by_asset_state_and_time(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        first = (await ask(stack, asking("1", "net", asset="USDC", client_id="a"))).json()
        second = (await ask(stack, asking("0.1", "net", client_id="b"))).json()
        await cancel(stack, second["id"])

        async def ids(**params: str) -> list[int]:
            found = (await stack.get("/v1/withdrawals", **params)).json()["withdrawals"]
            return [one["id"] for one in found]

        assert await ids() == [second["id"], first["id"]]
        assert await ids(asset="USDC") == [first["id"]]
        assert await ids(state="cancelled") == [second["id"]]
        assert await ids(since_ms=str(second["created_ms"] + 1)) == []
        assert await ids(until_ms=str(second["created_ms"] + 1), limit="1") == [second["id"]]
        assert await ids(before=str(second["id"])) == [first["id"]]
        unknown = await stack.get("/v1/withdrawals", asset="NOPE")
        assert unknown.json()["code"] == "unknown_asset"
