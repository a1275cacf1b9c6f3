"""A row that makes no sense, since something else has written it, has its own plan refused: it ends no worker and keeps
no other from being signed."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from chains.tx.store import PreSignRefused
from service.db.engine import Database
from service.orders import sealing, storage
from service.transactions.model import TransactionKind
from tests.service.books_seed import ETHEREUM
from tests.service.orders.resting_seed import seed_rest
from tests.service.orders.tampering import write
from tests.service.trading_seed import MASTER, seed_order_of, seed_withdrawal_of
from tests.service.transactions import test_presigning as transactions
from tests.service.workers.test_presign import presign, seeded

SENSELESS = [
    (seed_withdrawal_of, "UPDATE withdrawals SET amount = 'x'"),
    (seed_withdrawal_of, "UPDATE withdrawals SET state = 'zz'"),
    (seed_withdrawal_of, "UPDATE withdrawals SET destination = x'01'"),
    (seed_withdrawal_of, "UPDATE withdrawals SET asset = CAST(x'ff' AS TEXT)"),
    (seed_withdrawal_of, "UPDATE clearances SET usd = 'x'"),
    (seed_withdrawal_of, "UPDATE clearances SET state = 'zz'"),
    (seed_withdrawal_of, "UPDATE api_keys SET restrictions = '[1]'"),
    (seed_order_of, "UPDATE orders SET market = CAST(x'ff' AS TEXT)"),
    (seed_order_of, "UPDATE orders SET expires_ms = 1.5"),
    (seed_order_of, "UPDATE orders SET mac = 'x'"),
    (seed_order_of, "UPDATE order_plans SET deadline_s = 'x'"),
    (seed_order_of, "UPDATE order_plans SET max_sold = 'x'"),
    (seed_order_of, "UPDATE wallets SET address = x'01'"),
]


@pytest.mark.parametrize(("seed", "statement"), SENSELESS)
async def test_what_a_senseless_row_asked_for_is_refused(
    sqlite_db: Database, sqlite_url: str, seed: Callable[..., Any], statement: str
) -> None:
    found = await seeded(sqlite_db, seed)
    write(sqlite_url, statement)
    for refused in await presign(sqlite_db).check_all(found.plan.intents):
        assert isinstance(refused, PreSignRefused)


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'zz'",
        "max_out = '[1]'",
        "amount = 'x'",
        "state = 'zz'",
        "contract = x'01'",
        "asset = CAST(x'ff' AS TEXT)",
    ],
)
async def test_what_a_senseless_row_of_a_transaction_asked_for_is_refused(
    sqlite_db: Database, sqlite_url: str, change: str
) -> None:
    found = await transactions.seeded(sqlite_db, TransactionKind.CONTRACT)
    write(sqlite_url, f"UPDATE transactions SET {change}")
    for refused in await transactions.presign(sqlite_db).check_all(found.plan.intents):
        assert isinstance(refused, PreSignRefused)


async def test_another_wallet_that_is_no_address_keeps_no_call_from_being_signed(
    sqlite_db: Database, sqlite_url: str
) -> None:
    found = await transactions.seeded(sqlite_db, TransactionKind.CONTRACT)
    write(
        sqlite_url,
        "INSERT INTO wallets SELECT id + 1, account_id, x'01', label || '2', signer, created_ms, mac FROM wallets",
    )
    assert await transactions.presign(sqlite_db).check_all(found.plan.intents) == [None] * len(found.plan.intents)


async def test_text_that_is_none_in_one_order_keeps_no_other_from_its_keeper(
    sqlite_db: Database, sqlite_url: str
) -> None:
    bad, good = [await sqlite_db.run(partial(seed_rest, number=number)) for number in (0xA1, 0xA2)]
    write(sqlite_url, "UPDATE orders SET market = CAST(x'ff' AS TEXT) WHERE id = ?", bad.order.id)
    found = await sqlite_db.read(lambda c: storage.resting(c, ETHEREUM))
    assert [sealing.is_intact(MASTER, order) for order in found] == [False, True]
    assert found[1].id == good.order.id


async def test_a_value_that_has_no_encoding_is_not_as_it_was_written(sqlite_db: Database) -> None:
    """JSON that is read, and nested too deep to be written."""
    rests = await sqlite_db.run(seed_rest)
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    assert sealing.is_intact(MASTER, rests.order)
    assert not sealing.is_intact(MASTER, replace(rests.order, quote=deep))
