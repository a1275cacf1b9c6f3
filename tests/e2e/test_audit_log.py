"""What keys place is in the audit log, in the account's chain, committed with it."""

from pathlib import Path

from sqlalchemy import Connection, select

from scripts.devnet.network import LocalChain
from service.db.models import audit_entries
from tests.e2e.harness import BOB, Stack, running

FUNDS = {"ethereum": {"ETH": 5 * 10**18, "USDC": 1_000 * 10**6}}


async def _entries(stack: Stack) -> list[tuple[str, str, str, int]]:
    def find(c: Connection) -> list[tuple[str, str, str, int]]:
        rows = c.execute(
            select(audit_entries).where(audit_entries.c.chain == stack.wallet.account_id).order_by(audit_entries.c.seq)
        )
        return [(row.act, row.subject, row.actor, row.account_id) for row in rows]

    return await stack.services.db.read(find)


async def test_an_accepted_order_and_withdrawal_have_one_entry_each_and_what_is_refused_none(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as stack:
        order = {"market": "ETHUSDC", "side": "sell", "base_amount": "0.1", "client_order_id": "one"}
        placed = [await stack.post("/v1/ethereum/orders", order) for _ in range(2)]
        assert [answer.status_code for answer in placed] == [202, 200]
        refused = await stack.post("/v1/ethereum/orders", order | {"client_order_id": "two", "base_amount": "100"})
        assert refused.status_code == 409
        payment = {"asset": "USDC", "amount": "5", "address": BOB, "client_withdrawal_id": "w"}
        paid = await stack.post("/v1/ethereum/withdrawals", payment, key="withdraw")
        assert paid.status_code == 202, paid.text
        account = stack.wallet.account_id
        assert await _entries(stack) == [
            ("order.place", str(placed[0].json()["id"]), stack.keys["trade"].id, account),
            ("withdrawal.place", str(paid.json()["id"]), stack.keys["withdraw"].id, account),
        ]
