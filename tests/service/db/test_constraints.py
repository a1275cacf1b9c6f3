"""What the schema itself refuses, whatever the code above it believes; on both databases."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from chains.tx.model import Lane, TxState
from service.db import models as m
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from tests.service.books_seed import ETHEREUM, address_of, make_plan
from tests.service.trading_seed import reserve, seed_order, seed_withdrawal


def again(c: Connection, table: Table) -> None:
    """The table's one row once more, under a new id and for a plan of its own."""
    row = dict(c.execute(select(table)).mappings().one())
    del row["id"]
    SqlTxStore().add_plan(c, make_plan("other", Lane(chain_id=ETHEREUM, wallet=address_of(0xA11CE))))
    c.execute(insert(table), row | {"plan_id": "other"})


def second_order(c: Connection) -> None:
    seed_order(c)
    again(c, m.orders)


def second_withdrawal(c: Connection) -> None:
    seed_withdrawal(c)
    again(c, m.withdrawals)


def slot_of_the_same_intent(c: Connection) -> None:
    plan = seed_order(c).plan
    first = reserve(c, plan)[0]
    row = dict(c.execute(select(m.txs).where(m.txs.c.id == first.id)).mappings().one())
    del row["id"]
    c.execute(insert(m.txs), row | {"nonce": 99})


def order_with(**change: Any) -> Callable[[Connection], None]:
    def work(c: Connection) -> None:
        seed_order(c)
        c.execute(update(m.orders).values(**change))

    return work


REFUSED: Mapping[str, Callable[[Connection], None]] = {
    "a second order with a client id": second_order,
    "a second withdrawal with a client id": second_withdrawal,
    "a second slot for an intent": slot_of_the_same_intent,
    "an order of both amounts": order_with(quote_amount=1),
    "an order of no amount": order_with(base_amount=None),
    "an order in no known state": order_with(state="DONE"),
    "an order of nobody": order_with(account_id=999),
    "an order without its plan": order_with(plan_id="none"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_the_schema_refuses(db: Database, what: str) -> None:
    with pytest.raises(IntegrityError):
        await db.run(REFUSED[what])


async def test_a_slot_whose_nonce_a_foreign_transaction_took_makes_room_for_another(db: Database) -> None:
    def work(c: Connection) -> int:
        first = reserve(c, seed_order(c).plan)[0]
        c.execute(update(m.txs).where(m.txs.c.id == first.id).values(state=TxState.SUPERSEDED))
        row = dict(c.execute(select(m.txs).where(m.txs.c.id == first.id)).mappings().one())
        del row["id"]
        c.execute(insert(m.txs), row | {"nonce": 99, "state": TxState.RESERVED})
        return len(c.execute(select(m.txs).where(m.txs.c.intent_id == first.intent_id)).all())

    assert await db.run(work) == 2
