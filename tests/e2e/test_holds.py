"""For 24 hours after a change of somebody's password or authenticator nothing leaves by the keys that they made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from chains.types import Address
from scripts.devnet.network import LocalChain
from service.accounts import users
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.control.key_limits import RestrictionParams, restrictions_of
from tests.e2e.harness import BOB, ApiKey, Stack, running
from tests.e2e.people import person
from tests.e2e.test_contract_calls import deposit
from tests.e2e.vaults import DEPOSIT, place_vault

E18 = 10**18
FUNDS = {"ethereum": {"ETH": 5 * E18, "USDC": 1_000 * 10**6}}


async def key_of(stack: Stack, user_id: int, *, vault: Address) -> Stack:
    """The same stack, with a key of theirs as `theirs`, that may deposit in the vault, too."""
    services, now_ms = stack.services, stack.services.clock.now_ms()
    permissions = frozenset({Permission.WITHDRAW})
    asked = RestrictionParams(calls=[f"ethereum:{vault}:{DEPOSIT}"])
    new = NewKey(
        account_id=stack.wallet.account_id,
        wallet_id=stack.wallet.id,
        label="theirs",
        permissions=permissions,
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=stack.chain().config.chain_id, address=BOB),),
        expires_ms=now_ms + users.HOLD_MS,
        made_by=user_id,
        restrictions=restrictions_of(services, asked, permissions=permissions),
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    key = ApiKey(id=made.key.id, secret=(made.secret or "").encode())
    return replace(stack, keys={**stack.keys, "theirs": key})


async def change_password(stack: Stack, user_id: int) -> None:
    services = stack.services

    def write(c: Any) -> None:
        credential = users.credential_of(c, user_id, master=services.master)
        assert credential is not None
        users.set_password(
            c, credential, password_hash="another", keep=None, master=services.master, now_ms=services.clock.now_ms()
        )

    await services.db.run(write)


def pay(client_id: str) -> dict[str, Any]:
    return {"asset": "ETH", "amount": "0.25", "address": BOB, "client_withdrawal_id": client_id}


async def test_a_changed_password_holds_what_leaves_by_its_owners_keys_and_by_no_others(
    ethereum: LocalChain, tmp_path: Path
) -> None:
    async with running(tmp_path, {"ethereum": ethereum}, funds=FUNDS) as plain:
        owner = await person(plain)
        vault = place_vault(plain.rpcs["ethereum"])
        stack = await key_of(plain, owner.user_id, vault=vault)
        before = await stack.post("/v1/ethereum/withdrawals", pay("before"), key="theirs")
        assert before.status_code == 202, before.text
        await change_password(stack, owner.user_id)
        for path in ("/v1/ethereum/withdrawals", "/v1/ethereum/withdrawals/estimate"):
            body = pay("during")
            if path.endswith("estimate"):
                del body["client_withdrawal_id"]
            answer = await stack.post(path, body, key="theirs")
            assert (answer.status_code, answer.json()["code"]) == (403, "held"), answer.text
        answer = await stack.post("/v1/ethereum/transactions", deposit(stack, vault), key="theirs")
        assert (answer.status_code, answer.json()["code"]) == (403, "held"), answer.text
        # What was made on the host is nobody's, and what was accepted before goes on.
        others = await stack.post("/v1/ethereum/withdrawals", pay("others"), key="withdraw")
        assert others.status_code == 202, others.text
        again = await stack.post("/v1/ethereum/withdrawals", pay("before"), key="theirs")
        assert (again.status_code, again.json()["id"]) == (200, before.json()["id"])
