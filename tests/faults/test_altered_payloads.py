"""F51: a payload that was changed in the database, at each moment of its way; only its own wallet is concerned."""

import asyncio
import secrets
from typing import Final

import pytest
from sqlalchemy import Connection, select, update
from structlog.testing import capture_logs

from chains.errors import SignerUnavailable
from chains.signing.signer import UnlockedKey
from chains.tx.model import Outcome, TxState, Wish
from chains.tx.sending import FIRST_RETRY_MS
from chains.types import Address, SignedTx, UnsignedTx
from scripts.devnet.cheats import fund_native
from service.accounts.registration import register_wallet
from service.auth.keys import Destination, NewKey, Permission, create_key, parse_network
from service.control.acts import perform
from service.control.server import this_operator
from service.db import models as m
from service.db.txstore import SqlTxStore
from tests.e2e.harness import BOB, KEY_LIFETIME_MS, ApiKey, Stack
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Drop, Rule

E18: Final = 10**18
PATH: Final = "/v1/ethereum/withdrawals"
STRANGER: Final = Address("0x000000000000000000000000000000000000c0DE")
AMOUNT: Final = 25 * E18 // 100

pytestmark = pytest.mark.chain


async def accepted(stack: Stack, client_id: str, *, key: str = "withdraw") -> str:
    body = {"asset": "ETH", "amount": "0.25", "address": BOB, "client_withdrawal_id": client_id}
    answer = await stack.post(PATH, body, key=key)
    assert answer.status_code == 202, answer.text
    return f"/v1/withdrawals/{answer.json()['id']}"


async def redirect(stack: Stack, path: str) -> None:
    """The stored payload pays somebody else; its hash stays."""

    def change(c: Connection) -> None:
        of = select(m.withdrawals.c.plan_id).where(m.withdrawals.c.id == int(path.rsplit("/", 1)[1]))
        edit = update(m.intents).where(m.intents.c.plan_id == of.scalar_subquery()).values(to_address=STRANGER)
        assert c.execute(edit).rowcount == 1

    await stack.services.db.run(change)


async def second_wallet(stack: Stack) -> str:
    """Another wallet of the account, with funds and a key named "other"."""
    key = UnlockedKey(secrets.token_bytes(32))
    await asyncio.to_thread(fund_native, stack.rpcs["ethereum"], key.address, 5 * E18)
    await stack.mine("ethereum", 5)
    services = stack.services
    services.keyring.add(key)
    wallet = await register_wallet(
        services, account_id=stack.wallet.account_id, address=key.address, label="other", signer="keystore"
    )
    now_ms = services.clock.now_ms()
    new = NewKey(
        account_id=wallet.account_id,
        wallet_id=wallet.id,
        label="other",
        permissions=frozenset({Permission.READ, Permission.WITHDRAW}),
        ip_allowlist=(parse_network("127.0.0.1/32"),),
        destinations=(Destination(chain_id=stack.chain().config.chain_id, address=BOB),),
        expires_ms=now_ms + KEY_LIFETIME_MS,
    )
    made = await services.db.run(lambda c: create_key(c, new, master=services.master, now_ms=now_ms))
    assert made.secret is not None
    stack.keys = {**stack.keys, "other": ApiKey(id=made.key.id, secret=made.secret.encode())}
    return "other"


async def holds(stack: Stack) -> dict[str, str | None]:
    return await stack.services.db.read(
        lambda c: {row.wallet: row.hold_reason for row in c.execute(select(m.lanes.c.wallet, m.lanes.c.hold_reason))}
    )


def sent_by(proxy: FaultProxy, wallet: Address) -> list[tuple[int, str | None]]:
    return [(tx.nonce, tx.effect.to) for tx in proxy.recorder.txs if tx.effect.sender == wallet]


async def test_F51_a_queued_plan_whose_payload_was_changed_is_rejected_and_another_wallet_goes_on(
    stack: Stack, proxy: FaultProxy
) -> None:
    other = await second_wallet(stack)
    path, well = await accepted(stack, "w"), await accepted(stack, "well", key=other)
    await redirect(stack, path)
    with capture_logs() as logs:
        assert (await stack.settle(path))["state"] == "rejected"
    assert sent_by(proxy, stack.wallet.address) == []
    assert [entry["plan"] for entry in logs if entry["event"] == "payload_changed"] != []
    assert {entry["log_level"] for entry in logs if entry["event"] == "payload_changed"} == {"critical"}
    assert (await stack.get(well, key=other)).json()["state"] in ("confirmed", "final")
    assert await stack.nothing_reserved()
    # Nothing was taken, so nobody is held: the next withdrawal goes out.
    assert set((await holds(stack)).values()) == {None}
    assert (await stack.settle(await accepted(stack, "next")))["state"] in ("confirmed", "final")
    await stack.check_books()


async def test_F51_a_payload_changed_after_its_nonce_was_taken_closes_the_nonce_and_holds_only_that_wallet(
    stack: Stack, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await second_wallet(stack)
    path = await accepted(stack, "w")

    async def busy(sender: Address, tx: UnsignedTx) -> SignedTx:
        raise SignerUnavailable("the signer is busy")

    with monkeypatch.context() as patched:
        patched.setattr(stack.services.signers, "sign", busy)
        await stack.chain().engine.step()
    assert [row[0] for row in await states(stack)] == [TxState.RESERVED]
    await redirect(stack, path)
    before = await stack.balance_of(BOB, "ETH")
    with capture_logs() as logs:
        assert (await stack.settle(path))["state"] == "cancelled"
    assert sent_by(proxy, stack.wallet.address) == [(0, stack.wallet.address)]
    assert await stack.balance_of(BOB, "ETH") == before
    held = await holds(stack)
    assert (held[stack.wallet.address] or "").startswith("payload_mismatch: ")
    assert any(entry["event"] == "wallet_held" and entry["log_level"] == "critical" for entry in logs)
    well = await accepted(stack, "well", key=other)
    for _ in range(3):
        await stack.round()
    assert (await stack.get(well, key=other)).json()["state"] in ("confirmed", "final")
    await stack.check_books()


async def test_F51_a_payload_changed_after_it_was_sent_pays_what_was_accepted_and_holds_the_wallet(
    stack: Stack, proxy: FaultProxy
) -> None:
    proxy.add(Rule(action=Drop(), method="eth_sendRawTransaction", times=1))
    path = await accepted(stack, "w")
    await stack.chain().engine.step()
    await redirect(stack, path)
    before = await stack.balance_of(BOB, "ETH")
    # The same bytes go out again once they are due, which on a fast machine is after all rounds of the waiting below.
    # They, not the row, say what was accepted.
    await asyncio.sleep(FIRST_RETRY_MS / 1000)
    await stack.chain().engine.recover()
    assert (await stack.settle(path))["state"] in ("confirmed", "final")
    assert await stack.balance_of(BOB, "ETH") - before == AMOUNT
    assert set(sent_by(proxy, stack.wallet.address)) == {(0, BOB)}
    held = await holds(stack)
    assert (held[stack.wallet.address] or "").startswith("payload_mismatch: ")
    await stack.check_books()
    shown = await perform(stack.services, "tx.show", {"named": f"withdrawal:{path.rsplit('/', 1)[1]}"}, this_operator())
    assert [step["altered"] for step in shown["steps"]] == [True]


async def test_F51_a_slot_given_another_nonce_while_it_is_under_way_pays_once_and_holds_the_wallet(
    stack: Stack, proxy: FaultProxy
) -> None:
    path = await accepted(stack, "w")
    before = await stack.balance_of(BOB, "ETH")
    await stack.chain().engine.step()

    def change(c: Connection) -> None:
        [tx_id] = c.execute(update(m.txs).values(nonce=m.txs.c.nonce + 1).returning(m.txs.c.id)).scalars()
        SqlTxStore().wish(c, tx_id, Wish.BUMP, reason="asked", now_ms=1)

    await stack.services.db.run(change)
    assert (await stack.settle(path))["state"] in ("confirmed", "final")
    assert await stack.balance_of(BOB, "ETH") - before == AMOUNT
    assert set(sent_by(proxy, stack.wallet.address)) == {(0, BOB)}
    assert ((await holds(stack))[stack.wallet.address] or "").startswith("payload_mismatch: ")
    await stack.check_books()


async def states(stack: Stack) -> list[tuple[TxState, Outcome]]:
    return await stack.services.db.read(
        lambda c: [(TxState(row.state), Outcome(row.outcome)) for row in c.execute(select(m.txs))]
    )
