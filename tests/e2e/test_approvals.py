"""Withdrawals above an account's thresholds wait for a second person, on a real chain, over restarts and races."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from scripts.devnet.network import LocalChain
from service.accounts import people, totp, users
from service.accounts.people import Role
from service.approvals import policies
from service.approvals.model import Thresholds
from service.auth import keys
from service.auth.restrictions import Restrictions
from service.db import models as m
from service.ids import new_id
from tests.e2e.harness import BOB, Stack, running
from tests.e2e.people import signed_in
from tests.e2e.test_contract_calls import call, deposit, may_call
from tests.e2e.vaults import DEPOSIT, place_vault

E18: Final = 10**18
FUNDS: Final = {"ethereum": {"ETH": 5 * E18, "USDC": 100_000 * 10**6}}
PATH: Final = "/v1/ethereum/withdrawals"
LONG_AGO_MS: Final = 48 * 3_600_000


async def with_thresholds(stack: Stack, thresholds: Thresholds) -> None:
    now_ms, master = stack.services.clock.now_ms(), stack.services.master

    def write(c: Connection) -> None:
        owner = next(one for one in people.members(c, stack.wallet.account_id, master=master) if one.role is Role.OWNER)
        policies.change(c, stack.wallet.account_id, thresholds, user_id=owner.user_id, master=master, now_ms=now_ms)

    await stack.services.db.run(write)


async def approver(stack: Stack) -> tuple[str, bytes]:
    """The session of an approver, and the seed of their authenticator."""
    clock, master = stack.services.clock, stack.services.master
    now_ms, session_id = clock.now_ms(), new_id(clock)

    def write(c: Connection) -> tuple[str, bytes]:
        user = users.insert_user(c, "cleo", now_ms=now_ms)
        # Who is new approves nothing for a day.
        joined_ms = now_ms - LONG_AGO_MS
        people.add_member(
            c, user.id, account_id=stack.wallet.account_id, role=Role.APPROVER, master=master, now_ms=joined_ms
        )
        return signed_in(c, user, session_id=session_id, lasts_ms=LONG_AGO_MS, master=master, now_ms=now_ms)

    return await stack.services.db.run(write)


async def ask(stack: Stack, amount: str, client_id: str, *, asset: str = "USDC") -> dict[str, Any]:
    body = {"asset": asset, "amount": amount, "address": BOB, "client_withdrawal_id": client_id}
    answer = await stack.post(PATH, body, key="withdraw")
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def narrow(stack: Stack, restrictions: Restrictions) -> None:
    """The withdraw key's restrictions from now on, as its owner would set them."""
    services = stack.services

    def write(c: Connection) -> None:
        key = keys.load_key(c, stack.keys["withdraw"].id, master=services.master)
        assert key is not None
        rights = replace(key.rights, restrictions=restrictions)
        now_ms = services.clock.now_ms()
        keys.change_key(c, key, label=key.label, rights=rights, master=services.master, now_ms=now_ms)

    await services.db.run(write)


async def test_what_is_above_a_threshold_waits_over_a_restart_until_somebody_else_approves(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        theirs = await stack.balance_of(BOB, "USDC")
        token, seed = await approver(stack)
        await with_thresholds(stack, Thresholds(usd=10_000 * 10**6))
        small = await ask(stack, "1000", "small")
        large = await ask(stack, "25000", "large")
        assert (small["state"], large["state"]) == ("processing", "awaiting_approval")
        assert (await stack.settle(f"/v1/withdrawals/{small['id']}"))["state"] in ("confirmed", "final")
        again = await stack.restarted()
        try:
            for _ in range(3):
                await again.round()
            waits = (await again.get(f"/v1/withdrawals/{large['id']}")).json()
            assert waits["state"] == "awaiting_approval"
            assert not await again.nothing_reserved()
            headers = {"authorization": f"Bearer {token}"}
            path = f"/v1/approvals/{large['id']}"
            seen = (await again.client.get(path, headers=headers)).json()
            code = totp.code_at(seed, totp.step_at(again.services.clock.now_ms()))
            body = {"binding": seen["binding"], "totp_code": code}
            approved = await again.client.post(f"{path}/approve", json=body, headers=headers)
            assert (approved.status_code, approved.json()["state"]) == (200, "approved"), approved.text
            ended = await again.settle(f"/v1/withdrawals/{large['id']}")
            assert ended["state"] in ("confirmed", "final")
            assert await again.balance_of(BOB, "USDC") - theirs == 26_000 * 10**6
            await again.check_books()
            assert await again.nothing_reserved()
        finally:
            await again.client.aclose()
            await again.services.close()


async def test_many_small_ones_are_one_large_one(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        usdc = stack.chain().assets.by_symbol("USDC")
        await with_thresholds(stack, Thresholds(assets={usdc.id: 1_000 * 10**6}))
        made = await asyncio.gather(*(ask(stack, "400", f"part-{number}") for number in range(5)))
        states = sorted(one["state"] for one in made)
        assert states == ["awaiting_approval"] * 3 + ["processing"] * 2
        estimate = await stack.post(
            f"{PATH}/estimate", {"asset": "USDC", "amount": "400", "address": BOB}, key="withdraw"
        )
        assert estimate.json()["needs_approval"] == "over_amount"


async def test_the_worth_that_no_feed_says_needs_a_second_person(fresh_ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": fresh_ethereum}, funds=FUNDS) as stack:
        await with_thresholds(stack, Thresholds(usd=10**18))
        assert (await ask(stack, "1", "known"))["state"] == "processing"
        rpc = stack.rpcs["ethereum"]
        # A day and more without an answer of any feed.
        await asyncio.to_thread(rpc, "evm_increaseTime", 3 * 86_400)
        await stack.mine("ethereum")
        assert (await ask(stack, "1", "unknown"))["state"] == "awaiting_approval"


async def test_f65_parallel_withdrawals_never_take_more_than_the_daily_limit(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        usdc = stack.chain().assets.by_symbol("USDC")
        await narrow(stack, Restrictions(daily_withdrawn={usdc.id: 1_000 * 10**6}))
        bodies = [
            {"asset": "USDC", "amount": "300", "address": BOB, "client_withdrawal_id": f"p-{number}"}
            for number in range(10)
        ]
        answers = await asyncio.gather(*(stack.post(PATH, body, key="withdraw") for body in bodies))
        accepted = [answer for answer in answers if answer.status_code == 202]
        assert len(accepted) == 3
        assert {answer.json()["code"] for answer in answers if answer.is_error} == {"key_limit_reached"}
        for answer in accepted:
            await stack.settle(f"/v1/withdrawals/{answer.json()['id']}")
        await stack.check_books()


async def test_f64_a_key_narrowed_after_acceptance_is_refused_before_the_signature(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        native = stack.chain().assets.native
        usdc = stack.chain().assets.by_symbol("USDC")
        before = await ask(stack, "300", "fits")
        await narrow(stack, Restrictions(daily_withdrawn={usdc.id: 300 * 10**6}))
        assert (await stack.settle(f"/v1/withdrawals/{before['id']}"))["state"] in ("confirmed", "final")
        await narrow(stack, Restrictions())
        for number, restrictions in enumerate(
            (Restrictions(daily_withdrawn={usdc.id: 299 * 10**6}), Restrictions(assets=frozenset({native.id})))
        ):
            asked = await ask(stack, "300", f"narrowed-{number}")
            await narrow(stack, restrictions)
            ended = await stack.settle(f"/v1/withdrawals/{asked['id']}")
            assert ended["state"] == "rejected", ended
            assert ended["reason"].startswith("presign_refused: the key's limits are narrower now"), ended
            await narrow(stack, Restrictions())
        assert await stack.nothing_reserved()
        assert await stack.count(m.txs) == 1


async def test_a_contract_call_that_would_need_a_second_person_is_refused(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        vault = place_vault(stack.rpcs["ethereum"])
        key = await may_call(stack, f"{vault}:{DEPOSIT}")
        await with_thresholds(stack, Thresholds(usd=100 * 10**6))
        refused = await call(key, deposit(key, vault, amount="101", client_transaction_id="large"))
        assert (refused.status_code, refused.json()["code"]) == (403, "approval_required"), refused.text
        fits = await call(key, deposit(key, vault, amount="25", client_transaction_id="small"))
        assert fits.status_code == 202, fits.text
