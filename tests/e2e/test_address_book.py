"""Withdrawals by the address book, on a chain: what cools is refused, what was removed in between is not paid."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from chains.types import Address
from contracts.deployments import load_deployments
from scripts.devnet.network import LocalChain
from service.addresses import storage
from service.addresses.storage import NewEntry
from service.control.acts import perform
from service.control.protocol import ActFailed
from service.control.server import Operator
from service.db import models as m
from tests.e2e.harness import CAROL, Stack, running

E18 = 10**18
FUNDS = {"ethereum": {"ETH": 5 * E18}}
PATH = "/v1/ethereum/withdrawals"
OPERATOR = Operator(uid=1000, name="root")
DAY_MS = 24 * 3_600_000


def pay(client_id: str) -> dict[str, Any]:
    return {"asset": "ETH", "amount": "0.25", "address": CAROL, "client_withdrawal_id": client_id}


async def by_the_book(stack: Stack) -> None:
    """The keys have no destinations of their own, as those that are made in a session."""

    def write(c: Connection) -> None:
        c.execute(delete(m.key_destinations))

    await stack.services.db.run(write)


async def do(stack: Stack, act: str, **params: Any) -> dict[str, Any]:
    return await perform(stack.services, act, params, OPERATOR)


async def cooling(stack: Stack, address: Address) -> int:
    """The id of an entry that an owner added now."""
    services, now_ms = stack.services, stack.services.clock.now_ms()

    def write(c: Connection) -> int:
        new = NewEntry(
            account_id=stack.wallet.account_id,
            chain_id=stack.chain().config.chain_id,
            address=address,
            name="carol",
            is_contract=False,
            added_by=None,
            created_ms=now_ms,
            in_force_ms=now_ms + DAY_MS,
        )
        return storage.insert_entry(c, new, master=services.master).id

    return await services.db.run(write)


async def test_a_withdrawal_goes_to_an_entry_in_force_and_to_nothing_else(ethereum: LocalChain, tmp_path: Path) -> None:
    """F64: refused at acceptance while it cools."""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await by_the_book(stack)
        refused = await stack.post(PATH, pay("none"), key="withdraw")
        assert (refused.status_code, refused.json()["code"]) == (403, "destination_not_allowed")
        entry = await cooling(stack, CAROL)
        refused = await stack.post(PATH, pay("cooling"), key="withdraw")
        assert (refused.status_code, refused.json()["code"]) == (403, "destination_cooling")
        assert await stack.count(m.withdrawals) == await stack.count(m.plans) == 0
        await do(stack, "address.remove", entry=entry)
        before = await stack.balance_of(CAROL, "ETH")
        await do(stack, "address.add", chain="ethereum", address=CAROL, name="carol")
        answer = await stack.post(PATH, pay("paid"), key="withdraw")
        assert answer.status_code == 202, answer.text
        withdrawal = await stack.settle(f"/v1/withdrawals/{answer.json()['id']}")
        assert withdrawal["state"] in ("confirmed", "final"), withdrawal
        assert await stack.balance_of(CAROL, "ETH") - before == E18 // 4
        await stack.check_books()


async def test_an_entry_removed_after_the_acceptance_is_not_paid(ethereum: LocalChain, tmp_path: Path) -> None:
    """F64: looked at again before the signature."""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        await by_the_book(stack)
        entry = (await do(stack, "address.add", chain="ethereum", address=CAROL, name="carol"))["entry"]
        before = await stack.balance_of(CAROL, "ETH")
        answer = await stack.post(PATH, pay("w"), key="withdraw")
        assert answer.status_code == 202, answer.text
        await do(stack, "address.remove", entry=entry)
        assert (await stack.settle(f"/v1/withdrawals/{answer.json()['id']}"))["state"] == "rejected"
        assert await stack.balance_of(CAROL, "ETH") == before
        assert await stack.nothing_reserved()


async def test_contracts_are_told_apart_by_what_the_chain_says(ethereum: LocalChain, tmp_path: Path) -> None:
    """F60."""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        known = load_deployments().contracts(stack.chain().config.chain_id)
        usdc = stack.chain().assets.by_symbol("USDC").address
        assert usdc is not None
        for address in (next(iter(known.values())), usdc):
            with pytest.raises(ActFailed) as failure:
                await do(stack, "address.add", chain="ethereum", address=address, name="lost")
            assert failure.value.code == "destination_unsafe"
        made = await do(stack, "address.add", chain="ethereum", address=stack.wallet.address, name="self")
        assert (made["state"], made["is_contract"]) == ("in_force", False)
