"""F79: rows of the engine that something else has written so that they make no sense. No worker ends over them: what
they belong to stands still and is told, all else goes on, and nothing is signed for them."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from chains.errors import SignerUnavailable
from chains.types import Address, SignedTx, UnsignedTx
from service.control.acts import perform
from service.control.server import this_operator
from service.observability import scraping
from tests.e2e.harness import BOB, Stack
from tests.faults.proxy import FaultProxy
from tests.faults.test_altered_payloads import AMOUNT, accepted, holds, second_wallet, sent_by
from tests.service.orders.tampering import read, write

pytestmark = pytest.mark.chain

DONE = ("confirmed", "final")


def url_of(stack: Stack) -> str:
    return f"sqlite:///{stack.services.settings.data_dir / 'cambist.sqlite'}"


async def works(stack: Stack, other: str, name: str) -> None:
    """A withdrawal of the other wallet is carried out and booked."""
    well = await accepted(stack, name, key=other)
    for _ in range(4):
        await stack.round()
    assert (await stack.get(well, key=other)).json()["state"] in DONE


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE intents SET data = 4611686018427387904",
        "UPDATE intents SET max_gas_cost_wei = 'x'",
        "UPDATE intents SET wallet = x'01'",
        "UPDATE plans SET created_ms = 'x'",
        "UPDATE intents SET reject_reason = 'x'",
    ],
)
async def test_a_queued_plan_that_makes_no_sense_is_rejected_and_all_others_go_on(
    stack: Stack, proxy: FaultProxy, statement: str
) -> None:
    other = await second_wallet(stack)
    path = await accepted(stack, "w")
    write(url_of(stack), statement)
    await works(stack, other, "well")
    shown = (await stack.get(path)).json()
    assert (shown["state"], shown["reason"].partition(":")[0]) == ("rejected", "unusable_row")
    assert sent_by(proxy, stack.wallet.address) == []
    assert await stack.nothing_reserved()
    # Nothing was taken, so nobody is held: the next withdrawal goes out.
    assert set((await holds(stack)).values()) == {None}
    assert (await stack.settle(await accepted(stack, "next")))["state"] in DONE
    assert len(read(url_of(stack), "SELECT seq FROM audit_entries WHERE act = 'signing.refused'")) == 1


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("txs", "gas_limit", "x"),
        ("txs", "wallet", b"\x01"),
        ("intents", "value_wei", 1.5),
        ("attempts", "raw", 4611686018427387904),
        ("plans", "valid_until_ms", "x"),
    ],
)
async def test_a_slot_under_way_that_makes_no_sense_holds_its_wallet_and_is_booked_once_its_row_is_put_back(
    stack: Stack, proxy: FaultProxy, table: str, column: str, value: Any
) -> None:
    other = await second_wallet(stack)
    before = await stack.balance_of(BOB, "ETH")
    path = await accepted(stack, "w")
    await stack.chain().engine.step()
    [(row, was)] = read(url_of(stack), f"SELECT rowid, {column} FROM {table}")
    write(url_of(stack), f"UPDATE {table} SET {column} = ?", value)

    with capture_logs() as logs:
        await works(stack, other, "well")

    assert ((await holds(stack))[stack.wallet.address] or "").startswith("unusable_row: ")
    assert any(entry["event"] == "wallet_held" and entry["log_level"] == "critical" for entry in logs)
    assert b'cambist_held_lanes{chain="ethereum",code="unusable_row"} 1.0' in await scraping.page(stack.services)
    listed = await perform(stack.services, "tx.list", {}, this_operator())
    assert [lane["wallet"] for lane in listed["held"]] == [stack.wallet.address]
    if table == "txs":
        assert listed["unusable"] == ["1"]
    body = {"asset": "ETH", "amount": "0.25", "address": BOB, "client_withdrawal_id": "next"}
    assert (await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")).json()["code"] == "wallet_held"

    write(url_of(stack), f"UPDATE {table} SET {column} = ? WHERE rowid = ?", was, row)
    held = (await holds(stack))[stack.wallet.address]
    asked = {"chain": "ethereum", "wallet": stack.wallet.address, "hold_reason": held}
    await perform(stack.services, "tx.resolve", asked, this_operator())
    for one in (path, await accepted(stack, "next")):
        assert (await stack.settle(one))["state"] in DONE
    assert await stack.balance_of(BOB, "ETH") - before == 3 * AMOUNT
    assert sent_by(proxy, stack.wallet.address) == [(0, BOB), (1, BOB)]
    assert await stack.nothing_reserved()
    await stack.check_books()


async def test_a_nonce_that_was_taken_and_makes_no_sense_gets_no_signature(
    stack: Stack, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await second_wallet(stack)
    await accepted(stack, "w")

    async def busy(sender: Address, tx: UnsignedTx) -> SignedTx:
        raise SignerUnavailable("the signer is busy")

    with monkeypatch.context() as patched:
        patched.setattr(stack.services.signers, "sign", busy)
        await stack.chain().engine.step()
    write(url_of(stack), "UPDATE txs SET gas_limit = x'ff'")
    await works(stack, other, "well")
    assert sent_by(proxy, stack.wallet.address) == []
    assert ((await holds(stack))[stack.wallet.address] or "").startswith("unusable_row: ")


@pytest.mark.parametrize(
    ("statement", "back"),
    [
        ("UPDATE accounts SET event_seq = 0 WHERE id = ?", "UPDATE accounts SET event_seq = ? WHERE id = ?"),
        ("UPDATE accounts SET event_seq = 'x' WHERE id = ?", "UPDATE accounts SET event_seq = ? WHERE id = ?"),
    ],
)
async def test_books_that_cannot_be_written_hold_the_wallet_and_are_written_once_their_row_is_put_back(
    stack: Stack, statement: str, back: str
) -> None:
    path = await accepted(stack, "w")
    await stack.chain().engine.step()
    account = stack.wallet.account_id
    [(seq,)] = read(url_of(stack), "SELECT event_seq FROM accounts WHERE id = ?", account)
    assert seq > 0
    write(url_of(stack), statement, account)
    for _ in range(4):
        await stack.round()
    assert ((await holds(stack))[stack.wallet.address] or "").startswith("unusable_row: ")
    write(url_of(stack), back, seq, account)
    assert (await stack.settle(path))["state"] in DONE
    await stack.check_books()


async def test_a_payload_signed_once_is_not_signed_at_another_nonce_whatever_its_rows_say(
    stack: Stack, proxy: FaultProxy
) -> None:
    """All that is known of the first payment is removed, and its plan waits again, as it was when it was accepted."""
    before = await stack.balance_of(BOB, "ETH")
    await accepted(stack, "w")
    [(withdrawal,)] = read(url_of(stack), "SELECT state FROM withdrawals")
    await stack.chain().engine.step()
    await stack.mine("ethereum", 1)
    for statement in (
        "DELETE FROM attempts",
        "DELETE FROM txs",
        "UPDATE intents SET state = 'queued'",
        f"UPDATE withdrawals SET state = '{withdrawal}', tx_hash = NULL",
    ):
        write(url_of(stack), statement)
    for _ in range(4):
        await stack.round()
    assert sent_by(proxy, stack.wallet.address) == [(0, BOB)]
    assert await stack.balance_of(BOB, "ETH") - before == AMOUNT
    [(reason,)] = read(url_of(stack), "SELECT reject_reason FROM intents")
    assert reason.startswith("signed_before: ")


async def test_a_nonce_moved_between_two_signatures_gets_no_second_payment(stack: Stack, proxy: FaultProxy) -> None:
    """Its attempts are removed, its nonce is another one, and it waits for a signature again."""
    await accepted(stack, "w")
    await stack.chain().engine.step()
    for statement in (
        "DELETE FROM attempts",
        "UPDATE txs SET nonce = nonce + 1, state = 'reserved'",
        "UPDATE lanes SET next_nonce = next_nonce + 1",
    ):
        write(url_of(stack), statement)
    for _ in range(4):
        await stack.round()
    assert sent_by(proxy, stack.wallet.address) == [(0, BOB)]
    assert ((await holds(stack))[stack.wallet.address] or "").startswith("signing_failed: ")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("chain_cursors", "block_hash", 4611686018427387904),
        ("canonical_blocks", "hash", b"\x01"),
        ("finalized_blocks", "number", "x"),
        ("chain_cursors", "block_number", "x"),
        ("lanes", "next_nonce", "x"),
    ],
)
async def test_a_row_of_the_chain_or_the_lane_itself_ends_nothing_and_it_goes_on_once_it_is_put_back(
    stack: Stack, table: str, column: str, value: Any
) -> None:
    first = await accepted(stack, "first")
    assert (await stack.settle(first))["state"] in DONE
    [(row, was), *_] = read(url_of(stack), f"SELECT rowid, {column} FROM {table} ORDER BY rowid DESC")
    write(url_of(stack), f"UPDATE {table} SET {column} = ? WHERE rowid = ?", value, row)
    # What is refused at acceptance is refused; what waits, waits.
    body = {"asset": "ETH", "amount": "0.25", "address": BOB, "client_withdrawal_id": "w"}
    answer = await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")
    assert answer.json().get("code") == ("record_tampered" if table == "lanes" else None), answer.text
    for _ in range(2):
        await stack.round()
    await scraping.page(stack.services)
    await perform(stack.services, "tx.list", {}, this_operator())
    write(url_of(stack), f"UPDATE {table} SET {column} = ? WHERE rowid = ?", was, row)
    if table == "lanes":
        assert (await stack.post("/v1/ethereum/withdrawals", body, key="withdraw")).status_code == 202
    [(withdrawal,)] = read(url_of(stack), "SELECT id FROM withdrawals WHERE client_id = 'w'")
    assert (await stack.settle(f"/v1/withdrawals/{withdrawal}"))["state"] in DONE
    await stack.check_books()
