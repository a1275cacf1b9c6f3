"""What becomes of transactions whose order, withdrawal or call has a row that makes no sense: no worker ends over it,
what moved is booked, and what they were of ends."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from chains.tx.model import Outcome
from service.db import models as m
from service.db.engine import Database
from service.journal import books, reservations
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, seed_owner
from tests.service.orders.tampering import read, write
from tests.service.trading_seed import (
    MASTER,
    Seeded,
    confirm,
    mine,
    observer,
    receipt_of,
    reserve,
    seed_key,
    seed_order_of,
    seed_withdrawal_of,
    send,
    swap_moves,
)
from tests.service.workers.test_presign import seeded

SENSELESS: list[tuple[Callable[..., Seeded], str]] = [
    (seed_order_of, "UPDATE orders SET min_bought = 'x'"),
    (seed_order_of, "UPDATE orders SET quote = '{}'"),
    (seed_withdrawal_of, "UPDATE withdrawals SET amount = 'x'"),
    (seed_withdrawal_of, "UPDATE withdrawals SET asset = 'x'"),
]


def gas_booked(url: str) -> list[Any]:
    return read(url, "SELECT account_id FROM journal_entries WHERE cause = 'gas'")


@pytest.mark.parametrize(("seed", "statement"), SENSELESS)
async def test_what_moved_is_booked_and_nothing_is_held_any_more(
    sqlite_db: Database, sqlite_url: str, seed: Callable[..., Seeded], statement: str
) -> None:
    found = await seeded(sqlite_db, seed)
    write(sqlite_url, statement)

    def work(c: Connection) -> None:
        told = observer(FakeClock(NOW_MS))
        for at, tx in enumerate(reserve(c, found.plan), start=1):
            mined = send(c, tx, number=at)
            intent = found.plan.intents[at - 1]
            told.on_sent(c, [(intent, tx)])
            mined_tx, intent = mine(c, tx, mined, outcome=Outcome.SUCCEEDED)
            receipt = receipt_of(mined_tx, intent)
            told.on_mined(c, intent, mined_tx, receipt)
            done, intent = confirm(c, tx)
            told.on_confirmed(c, intent, done, receipt)
            told.on_final(c, intent, done)
        assert reservations.held(c, found.owner.wallet_id, ETHEREUM) == {}

    await sqlite_db.run(work)
    assert gas_booked(sqlite_url) == [(found.owner.account_id,)] * len(found.plan.intents)
    assert read(sqlite_url, "SELECT withdrawal_id FROM clearances WHERE ended_ms IS NULL") == []
    assert read(sqlite_url, "SELECT id FROM orders WHERE state = 'NEW'") == []


@pytest.mark.parametrize(("seed", "statement"), SENSELESS)
async def test_a_reorg_takes_it_out_of_the_books_again(
    sqlite_db: Database, sqlite_url: str, seed: Callable[..., Seeded], statement: str
) -> None:
    found = await seeded(sqlite_db, seed)
    write(sqlite_url, statement)

    def work(c: Connection) -> None:
        told = observer(FakeClock(NOW_MS))
        tx = reserve(c, found.plan)[0]
        mined_tx, intent = mine(c, tx, send(c, tx, number=1), outcome=Outcome.SUCCEEDED)
        done, intent = confirm(c, tx)
        told.on_confirmed(c, intent, done, receipt_of(mined_tx, intent))
        told.on_reorged(c, intent, done)

    await sqlite_db.run(work)
    causes = [cause for (cause,) in read(sqlite_url, "SELECT cause FROM journal_entries ORDER BY id")]
    assert causes == ["gas", "reversal"]


@pytest.mark.parametrize("name", ["on_rejected", "on_superseded"])
@pytest.mark.parametrize(("seed", "statement"), SENSELESS)
async def test_what_is_given_up_ends(
    sqlite_db: Database, sqlite_url: str, seed: Callable[..., Seeded], statement: str, name: str
) -> None:
    found = await seeded(sqlite_db, seed)
    write(sqlite_url, statement)

    def work(c: Connection) -> None:
        told = observer(FakeClock(NOW_MS))
        if name == "on_rejected":
            told.on_rejected(c, found.plan, "simulation_reverted: no")
            assert reservations.held(c, found.owner.wallet_id, ETHEREUM) == {}
        else:
            told.on_superseded(c, found.plan.intents[0], reserve(c, found.plan)[0])

    await sqlite_db.run(work)
    assert read(sqlite_url, "SELECT withdrawal_id FROM clearances WHERE ended_ms IS NULL") == []


async def test_one_that_makes_no_sense_keeps_no_other_from_being_shown_as_sent(
    sqlite_db: Database, sqlite_url: str
) -> None:
    def seed(c: Connection) -> list[Seeded]:
        found = []
        for number in (0xA1, 0xA2):
            owner = seed_owner(c, number)
            found.append(seed_withdrawal_of(c, owner, key_id=seed_key(c, owner, f"key-{number}"), master=MASTER))
        return found

    bad, good = await sqlite_db.run(seed)
    write(sqlite_url, "UPDATE withdrawals SET amount = 'x' WHERE id = ?", bad.id)

    def work(c: Connection) -> None:
        sent = []
        for number, one in enumerate((bad, good), start=1):
            (tx,) = reserve(c, one.plan)
            send(c, tx, number=number)
            sent.append((one.plan.intents[0], tx))
        observer().on_sent(c, sent)
        state = c.execute(select(m.withdrawals.c.state).where(m.withdrawals.c.id == good.id)).scalar_one()
        assert (state, len(books.events(c, good.owner.account_id))) == ("sent", 1)

    await sqlite_db.run(work)


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.REVERTED])
async def test_the_swap_of_a_try_that_makes_no_sense_fills_its_order_or_ends_it(
    sqlite_db: Database, sqlite_url: str, outcome: Outcome
) -> None:
    """Of the try nothing is needed to know what was traded."""
    found = await seeded(sqlite_db, seed_order_of)
    write(sqlite_url, "UPDATE order_plans SET max_sold = 'x', deadline_s = 'x'")

    def work(c: Connection) -> str:
        told = observer(FakeClock(NOW_MS))
        approval, swap = reserve(c, found.plan)
        for at, tx in enumerate((approval, swap), start=1):
            what = outcome if tx is swap else Outcome.SUCCEEDED
            mined_tx, intent = mine(c, tx, send(c, tx, number=at), outcome=what)
            moves = swap_moves(found.owner) if tx is swap and what is Outcome.SUCCEEDED else ()
            receipt = receipt_of(mined_tx, intent, moves=moves)
            told.on_mined(c, intent, mined_tx, receipt)
            done, intent = confirm(c, tx)
            told.on_confirmed(c, intent, done, receipt)
        return str(c.execute(select(m.orders.c.state)).scalar_one())

    state = await sqlite_db.run(work)
    assert state == ("FILLED" if outcome is Outcome.SUCCEEDED else "EXPIRED")
