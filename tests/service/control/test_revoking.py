"""No row that something else has written keeps a key from being revoked: what makes no sense is ended by its id."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, select

from chains.tx.model import IntentState
from service.audit.acts import ORDER_ALTERED, SIGNING_REFUSED
from service.audit.reading import Wanted, newest
from service.control.rejecting import Rejecter
from service.control.revoking import Ended, end_what_is_open
from service.db import models as m
from service.db.engine import Database
from service.orders import storage
from tests.clock import FakeClock
from tests.service.books_seed import NOW_MS
from tests.service.orders.resting_seed import held_now, order_now, seed_rest
from tests.service.orders.tampering import read, write
from tests.service.trading_seed import ASSETS, CONFIG, DEPLOYMENTS, MASTER, Seeded, seed_order_of, seed_withdrawal_of
from tests.service.workers.test_presign import seed_authority

Seed = Callable[..., Seeded]
NOT_LOOKED_AT = frozenset(
    {
        "UPDATE order_plans SET max_sold = 'x'",
        "UPDATE orders SET quote = '{}'",
        "UPDATE clearances SET usd = 'x'",
    }
)


def end(c: Connection, key_id: str) -> Ended:
    rejecter = Rejecter(
        configs={CONFIG.key: CONFIG},
        assets={CONFIG.chain_id: ASSETS},
        deployments=DEPLOYMENTS,
        master=MASTER,
        clock=FakeClock(NOW_MS),
    )
    return end_what_is_open(c, key_id, rejecter=rejecter, now_ms=NOW_MS)


def acts(c: Connection) -> list[str]:
    return [entry.act for entry in newest(c, Wanted(), limit=9)]


@pytest.mark.parametrize("change", ["price = 'x'", "min_bought = 'x'", "venue = 'zz'", "quote = 'x'", "quote = '{}'"])
async def test_a_bad_row_of_a_resting_order_does_not_keep_its_key_in_force(
    sqlite_db: Database, sqlite_url: str, change: str
) -> None:
    def seed(c: Connection) -> tuple[Any, Any]:
        first = seed_rest(c, number=0xA1)
        return first, seed_rest(c, number=0xA2, of=(first.owner, first.key_id))

    bad, good = await sqlite_db.run(seed)
    write(sqlite_url, f"UPDATE orders SET {change} WHERE id = ?", bad.order.id)

    def work(c: Connection) -> None:
        assert end(c, bad.key_id).cancelled == 2
        assert (order_now(c, good).reason, held_now(c, good)) == ("key_revoked", {})
        assert ORDER_ALTERED in acts(c)
        assert [row.state for row in c.execute(select(m.orders.c.state))] == ["CANCELED", "CANCELED"]

    await sqlite_db.run(work)


@pytest.mark.parametrize(
    ("seed", "statement"),
    [
        (seed_order_of, "UPDATE orders SET price = 'x'"),
        (seed_order_of, "UPDATE order_plans SET max_sold = 'x'"),
        (seed_order_of, "UPDATE intents SET value_wei = 'x'"),
        (seed_order_of, "UPDATE intents SET state = 'rejected' WHERE position = 0"),
        (seed_order_of, "UPDATE orders SET quote = '{}'"),
        (seed_withdrawal_of, "UPDATE withdrawals SET amount = 'x'"),
        (seed_withdrawal_of, "UPDATE withdrawals SET amount_is = 'zz'"),
        (seed_withdrawal_of, "UPDATE withdrawals SET asset = 'x'"),
        (seed_withdrawal_of, "UPDATE clearances SET usd = 'x'"),
    ],
)
async def test_a_bad_row_of_what_waits_does_not_keep_its_key_in_force(
    sqlite_db: Database, sqlite_url: str, seed: Seed, statement: str
) -> None:
    """With it the key's other plans are given up."""

    def start(c: Connection) -> str:
        owner, key_id = seed_authority(c)
        seed(c, owner, key_id=key_id, master=MASTER)
        return key_id

    key_id = await sqlite_db.run(start)
    write(sqlite_url, statement)

    def work(c: Connection) -> None:
        assert end(c, key_id).rejected == 1
        # Told of where it had to be read; what is not looked at to end it is ended as any other.
        assert (SIGNING_REFUSED in acts(c)) is (statement not in NOT_LOOKED_AT)

    await sqlite_db.run(work)
    states = {state for (state,) in read(sqlite_url, "SELECT state FROM intents")}
    assert states == {IntentState.REJECTED.value}
    of = "orders" if seed is seed_order_of else "withdrawals"
    assert next(row[0].lower() for row in read(sqlite_url, f"SELECT state FROM {of}")) in ("canceled", "rejected")
    assert read(sqlite_url, "SELECT id FROM reservations WHERE released_ms IS NULL") == []


async def test_a_list_of_orders_names_those_that_make_no_sense_and_shows_the_others(
    sqlite_db: Database, sqlite_url: str
) -> None:
    def seed(c: Connection) -> tuple[Any, Any]:
        first = seed_rest(c, number=0xA1)
        return first, seed_rest(c, number=0xA2, of=(first.owner, first.key_id))

    bad, good = await sqlite_db.run(seed)
    write(sqlite_url, "UPDATE orders SET price = 'x' WHERE id = ?", bad.order.id)
    wallet_id = bad.owner.wallet_id

    def work(c: Connection) -> None:
        unfiltered: dict[str, Any] = dict.fromkeys(("chain_id", "market", "states", "client_id", "before_id"))
        for found in (
            storage.open_of_wallet(c, wallet_id),
            storage.list_orders(c, wallet_id, **unfiltered, limit=10),
        ):
            assert [order.id for order in found.intact] == [good.order.id]
            assert found.unusable == [str(bad.order.id)]

    await sqlite_db.read(work)


@pytest.mark.parametrize("seed", [seed_order_of, seed_withdrawal_of])
async def test_an_ordinary_revocation_is_no_alarm_of_a_signature_that_was_refused(
    sqlite_db: Database, seed: Seed
) -> None:
    def work(c: Connection) -> None:
        owner, key_id = seed_authority(c)
        seed(c, owner, key_id=key_id, master=MASTER)
        assert end(c, key_id).rejected == 1
        assert SIGNING_REFUSED not in acts(c)
        reasons = c.execute(select(m.intents.c.reject_reason)).scalars().all()
        assert reasons
        assert set(reasons) == {"given_up: its key was revoked"}

    await sqlite_db.run(work)
