"""What becomes of a transaction as its plan is observed, and what its account is told."""

from typing import Any

import pytest
from sqlalchemy import Connection, select

from chains.tx.model import Outcome, Tx
from chains.types import Log, Receipt, address_bytes
from contracts.abi import load_abi
from service.db import models as m
from service.db.engine import Database
from service.journal import books, reservations
from service.transactions.model import Transaction, TransactionKind
from service.transactions.storage import (
    approved_spenders,
    approves_already,
    is_revoking,
    transaction_by_plan,
)
from tests.service.books_seed import ETHEREUM, tx_hash
from tests.service.trading_seed import (
    ASSETS,
    BOB,
    FEE,
    STORE,
    USDC,
    USDT,
    confirm,
    mine,
    observer,
    receipt_of,
    reserve,
    send,
)
from tests.service.transactions.seed import AMOUNT, VAULT, Seeded, seed_transaction

ETH, WETH = ASSETS.native, ASSETS.wrapped
KINDS = list(TransactionKind)


def now(c: Connection, found: Seeded) -> Transaction:
    stored = transaction_by_plan(c, found.plan.id)
    assert stored is not None
    return stored


def seeded(c: Connection, kind: TransactionKind) -> tuple[Seeded, list[Tx]]:
    """With its nonces, and every step sent."""
    found = seed_transaction(c, kind)
    txs = reserve(c, found.plan)
    for number, tx in enumerate(txs, 1):
        send(c, tx, number=number)
    observer().on_sent(c, list(zip(found.plan.intents, txs, strict=True)))
    return found, txs


def weth_log(receipt: Receipt, name: str, wallet: Any, raw: int) -> Receipt:
    """The receipt with a Deposit or Withdrawal of the wrapped token."""
    log = Log(
        address=WETH.token_address,
        topics=(load_abi("weth9").event(name).topic, bytes(12) + address_bytes(wallet)),
        data=raw.to_bytes(32, "big"),
        log_index=0,
        tx_hash=receipt.tx_hash,
        block=receipt.block,
    )
    return Receipt(**{name: getattr(receipt, name) for name in Receipt.__slots__ if name != "logs"}, logs=(log,))


def settled(c: Connection, tx: Tx, number: int, *, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> None:
    """Mined and confirmed, with what `receipt` makes of its receipt."""
    mined, intent = mine(c, tx, tx_hash(number), outcome=outcome)
    receipt = receipt_of(mined, intent, moves=more.get("moves", ()))
    make = more.get("receipt")
    receipt = receipt if make is None else make(receipt)
    observer().on_mined(c, intent, mined, receipt)
    done, intent = confirm(c, tx)
    observer().on_confirmed(c, intent, done, receipt)


@pytest.mark.parametrize(
    ("kind", "log", "moved"),
    [
        (TransactionKind.WRAP, "Deposit", {ETH.id: -7, WETH.id: 7}),
        (TransactionKind.UNWRAP, "Withdrawal", {ETH.id: 7, WETH.id: -7}),
    ],
)
async def test_a_wrap_is_confirmed_by_what_its_receipt_shows(
    db: Database, kind: TransactionKind, log: str, moved: dict[str, int]
) -> None:
    def work(c: Connection) -> None:
        found, [tx] = seeded(c, kind)
        assert now(c, found).state == "sent"
        settled(c, tx, 1, receipt=lambda one: weth_log(one, log, found.owner.address, 7))
        done = now(c, found)
        assert (done.state, done.reason, done.moved, done.gas_wei) == ("confirmed", None, moved, FEE)
        assert books.totals(c, found.owner.wallet_id, chain_id=ETHEREUM) == moved | {ETH.id: moved[ETH.id] - FEE}
        assert not reservations.held(c, found.owner.wallet_id, ETHEREUM)
        kinds = [event.kind for event in books.events(c, found.owner.account_id)]
        assert kinds == ["transaction", "balance", "transaction"]
        causes = set(c.execute(select(m.journal_entries.c.cause, m.journal_entries.c.cause_id)).all())
        assert causes == {("transaction", f"transaction:{done.id}"), ("gas", f"transaction:{done.id}")}

    await db.run(work)


async def test_a_wrap_of_another_amount_says_so_and_of_nothing_failed(sqlite_db: Database) -> None:
    def other(c: Connection) -> None:
        found, [tx] = seeded(c, TransactionKind.UNWRAP)
        settled(c, tx, 1, receipt=lambda one: weth_log(one, "Withdrawal", found.owner.address, 6))
        done = now(c, found)
        assert (done.state, done.reason) == ("confirmed", "other_amount_moved")

    def nothing(c: Connection) -> None:
        found, [tx] = seeded(c, TransactionKind.UNWRAP)
        settled(c, tx, 1)
        done = now(c, found)
        assert (done.state, done.reason, done.moved) == ("failed", "nothing_moved", {})
        raise Undone

    class Undone(Exception):
        pass

    with pytest.raises(Undone):
        await sqlite_db.run(nothing)
    await sqlite_db.run(other)


@pytest.mark.parametrize("kind", KINDS)
async def test_gas_is_booked_of_what_reverts_and_of_what_is_closed(sqlite_db: Database, kind: TransactionKind) -> None:
    def work(c: Connection) -> None:
        found, txs = seeded(c, kind)
        for number, tx in enumerate(txs, 1):
            settled(c, tx, number, outcome=Outcome.REVERTED)
        done = now(c, found)
        assert (done.state, done.reason, done.gas_wei) == ("failed", "reverted", len(txs) * FEE)
        assert books.totals(c, found.owner.wallet_id, chain_id=ETHEREUM) == {ETH.id: -len(txs) * FEE}
        assert not reservations.held(c, found.owner.wallet_id, ETHEREUM)

    await sqlite_db.run(work)


async def test_a_call_is_confirmed_by_its_last_step_and_says_when_more_left_than_declared(
    sqlite_db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def work(c: Connection) -> None:
        found, [approval, call] = seeded(c, TransactionKind.CONTRACT)
        settled(c, approval, 1)
        assert (now(c, found).state, now(c, found).gas_wei) == ("sent", FEE)
        assert reservations.held(c, found.owner.wallet_id, ETHEREUM)
        owner = found.owner.address
        settled(c, call, 2, moves=((USDC, owner, VAULT, AMOUNT), (USDT, owner, BOB, 1)))
        done = now(c, found)
        assert (done.state, done.reason) == ("confirmed", "more_left_than_declared")
        assert (done.moved, done.gas_wei) == ({USDC.id: -AMOUNT, USDT.id: -1}, 2 * FEE)

    await sqlite_db.run(work)
    assert USDT.id in caplog.text


async def test_a_reorg_takes_it_back_to_sent_and_the_books_with_it(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        found, [tx] = seeded(c, TransactionKind.WRAP)
        settled(c, tx, 1, receipt=lambda one: weth_log(one, "Deposit", found.owner.address, 7))
        slot = next(one for one in STORE.open_txs(c, ETHEREUM) if one.tx.id == tx.id)
        observer().on_reorged(c, slot.intent, slot.tx)
        done = now(c, found)
        assert (done.state, done.reason, done.moved, done.gas_wei) == ("sent", "reorged", None, 0)
        totals = books.totals(c, found.owner.wallet_id, chain_id=ETHEREUM)
        assert {asset: raw for asset, raw in totals.items() if raw} == {}

    await sqlite_db.run(work)


async def test_an_open_revocation_and_an_open_approval_are_known(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        found, [tx] = seeded(c, TransactionKind.REVOKE)
        wallet_id = found.owner.wallet_id
        assert is_revoking(c, wallet_id, asset_id=USDC.id)
        assert not is_revoking(c, wallet_id, asset_id=USDT.id)
        settled(c, tx, 1)
        assert now(c, found).state == "confirmed"
        assert not is_revoking(c, wallet_id, asset_id=USDC.id)
        authority = (found.owner, found.transaction.terms.key_id)
        seed_transaction(c, TransactionKind.CONTRACT, authority=authority)
        assert approves_already(c, wallet_id, asset_id=USDC.id, spender=VAULT)
        assert not approves_already(c, wallet_id, asset_id=USDC.id, spender=BOB)
        assert not approves_already(c, wallet_id, asset_id=USDT.id, spender=VAULT)
        assert approved_spenders(c, wallet_id, chain_id=ETHEREUM) == [VAULT]

    await sqlite_db.run(work)


async def test_what_is_rejected_tells_why_and_releases_what_it_held(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        found = seed_transaction(c, TransactionKind.WRAP)
        observer().on_rejected(c, found.plan, "simulation_reverted: no")
        done = now(c, found)
        assert (done.state, done.reason) == ("rejected", "simulation_reverted: no")
        assert not reservations.held(c, found.owner.wallet_id, ETHEREUM)

    await sqlite_db.run(work)


async def test_a_nonce_that_somebody_else_took_is_unknown(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        found, [tx] = seeded(c, TransactionKind.WRAP)
        observer().on_superseded(c, found.plan.intents[0], tx)
        assert (now(c, found).state, now(c, found).reason) == ("unknown", "nonce_taken")

    await sqlite_db.run(work)
