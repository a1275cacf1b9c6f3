"""Withdrawals from the request to the books, and what comes in from outside."""

import asyncio
from pathlib import Path

import pytest

from scripts.devnet.cheats import fund_native, fund_token
from scripts.devnet.network import LocalChain
from service.db import models as m
from service.journal.reconcile import Verdict
from tests.e2e.harness import BOB, CAROL, running

E18 = 10**18
FUNDS = {
    "ethereum": {"ETH": 5 * E18, "USDC": 1_000 * 10**6, "USDT": 1_000 * 10**6},
    "polygon": {"POL": 500 * E18, "USDC": 100 * 10**6},
}


@pytest.mark.parametrize(("asset", "amount"), [("ETH", "0.25"), ("USDC", "12.345678"), ("USDT", "7")])
async def test_an_allowed_destination_receives_exactly_the_amount(
    ethereum: LocalChain, tmp_path: Path, asset: str, amount: str
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        before = await stack.balance_of(BOB, asset)
        body = {"asset": asset, "amount": amount, "address": BOB, "client_withdrawal_id": "pay-bob"}
        answer = await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")
        assert (answer.status_code, answer.json()["state"]) == (202, "processing"), answer.text
        withdrawal = await stack.settle(f"/v1/withdrawals/{answer.json()['id']}")
        assert withdrawal["state"] in ("confirmed", "final"), withdrawal
        assert withdrawal["tx_hash"] is not None
        assert await stack.balance_of(BOB, asset) - before == stack.raw(asset, amount)
        await stack.check_books()
        assert await stack.nothing_reserved()


async def test_a_withdrawal_on_polygon_works_the_same(polygon: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"polygon": polygon}, funds=FUNDS) as stack:
        body = {"asset": "USDC", "amount": "50", "address": BOB, "client_withdrawal_id": "w"}
        answer = await stack.post("/v1/137/withdrawals", body, key="withdraw")
        assert answer.status_code == 202, answer.text
        withdrawal = await stack.settle(f"/v1/withdrawals/{answer.json()['id']}", "polygon")
        assert withdrawal["state"] in ("confirmed", "final")
        await stack.check_books("polygon")


async def test_a_destination_outside_the_allowlist_is_refused(ethereum: LocalChain, tmp_path: Path) -> None:
    """F64"""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        body = {"asset": "ETH", "amount": "0.1", "address": CAROL, "client_withdrawal_id": "w"}
        answer = await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")
        assert (answer.status_code, answer.json()["code"]) == (403, "destination_not_allowed")
        assert await stack.count(m.withdrawals) == await stack.count(m.plans) == 0
        assert await stack.nothing_reserved()


async def test_the_same_client_id_five_times_at_once_pays_once(ethereum: LocalChain, tmp_path: Path) -> None:
    """F61"""
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        before = await stack.balance_of(BOB, "USDC")
        body = {"asset": "USDC", "amount": "900", "address": BOB, "client_withdrawal_id": "once"}
        answers = await asyncio.gather(
            *(stack.post("/v1/ethereum/withdrawals", body, key="withdraw") for _ in range(5))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
        assert len({answer.json()["id"] for answer in answers}) == 1
        await stack.settle(f"/v1/withdrawals/{answers[0].json()['id']}")
        again = await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")
        assert again.status_code == 200
        other = await stack.post("/v1/ethereum/withdrawals", body | {"amount": "1"}, key="withdraw")
        assert (other.status_code, other.json()["code"]) == (409, "conflict_client_id")
        assert await stack.balance_of(BOB, "USDC") - before == 900 * 10**6
        assert await stack.count(m.withdrawals) == await stack.count(m.plans) == 1
        await stack.check_books()


async def test_what_came_in_from_outside_is_reported_as_unexplained(ethereum: LocalChain, tmp_path: Path) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        rpc = stack.rpcs["ethereum"]
        await asyncio.to_thread(fund_native, rpc, stack.wallet.address, 77)
        await asyncio.to_thread(fund_token, rpc, "ethereum", "USDC", stack.wallet.address, 5)
        await stack.round("ethereum")
        await stack.round("ethereum")
        rows = {row.asset.symbol: row for row in (await stack.books()).rows if row.asset is not None}
        assert (rows["ETH"].verdict, rows["ETH"].unexplained) == (Verdict.UNEXPLAINED, 77)
        assert (rows["USDC"].verdict, rows["USDC"].unexplained) == (Verdict.UNEXPLAINED, 5)
        assert rows["USDT"].verdict is Verdict.OK
