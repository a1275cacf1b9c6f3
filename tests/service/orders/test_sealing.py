"""Nothing is signed for an order, or a try of one, that something else than the service has written (F79)."""

from dataclasses import fields, replace
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Table

from chains.tx.model import Intent, IntentState, PlanId
from chains.tx.store import PreSignRefused
from service.auth.secrets import MasterKey
from service.db.engine import Database
from service.db.models import NOT_IN_MAC, intents, order_plans, orders, plans
from service.orders import sealing, storage
from service.orders.model import Order, OrderState, OrderTry
from service.workers.presign import PreSign
from tests.clock import FakeClock
from tests.service.books_seed import NOW_MS
from tests.service.orders.tampering import FIELDS, SHOWN_ONLY, copy, name_of, tamper, write
from tests.service.trading_seed import ASSETS, DEPLOYMENTS, MASTER, SOLD, STORE, Seeded, seed_order_of
from tests.service.workers.test_presign import seed_authority


async def accepted(db: Database) -> Seeded:
    def work(c: Connection) -> Seeded:
        owner, key_id = seed_authority(c)
        return seed_order_of(c, owner, key_id=key_id)

    return await db.run(work)


async def told(db: Database, plan_id: PlanId) -> list[PreSignRefused | None]:
    """What the last look says of each intent of a plan, as the lane has it from the rows."""
    check = PreSign(db=db, assets=ASSETS, deployments=DEPLOYMENTS, master=MASTER, clock=FakeClock())

    def waiting(c: Connection) -> list[Intent]:
        plan = STORE.plan(c, plan_id)
        return [] if plan is None else list(plan.intents)

    return list(await check.check_all(await db.read(waiting)))


async def order_now(db: Database, seeded: Seeded) -> Order:
    found = await db.read(lambda c: storage.order_by_id(c, seeded.id, wallet_id=seeded.owner.wallet_id))
    assert found is not None
    return found


def row_id(seeded: Seeded, table: Table) -> Any:
    return seeded.id if table is orders else seeded.plan.id


def test_what_the_mac_leaves_out_is_what_is_shown_only() -> None:
    """A column that is added is covered, and so in every test here, unless somebody decides that it is not."""
    assert {column.name for column in orders.columns if column.info.get(NOT_IN_MAC)} == SHOWN_ONLY
    assert not [column for column in order_plans.columns if column.info.get(NOT_IN_MAC)]
    assert {field.name for field in fields(Order)} == {column.name for column in orders.columns}
    assert {field.name for field in fields(OrderTry)} == {column.name for column in order_plans.columns}


async def test_what_was_accepted_is_signed(sqlite_db: Database) -> None:
    seeded = await accepted(sqlite_db)
    assert await told(sqlite_db, seeded.plan.id) == [None, None]


@pytest.mark.parametrize("to_null", [False, True], ids=["other", "null"])
@pytest.mark.parametrize(("table", "column"), FIELDS, ids=name_of)
async def test_with_one_field_edited_nothing_of_the_plan_is_signed(
    sqlite_db: Database, sqlite_url: str, table: Table, column: Column[Any], to_null: bool
) -> None:
    seeded = await accepted(sqlite_db)
    if not tamper(sqlite_url, column, row_id(seeded, table), to_null=to_null):
        assert to_null
        return
    assert None not in await told(sqlite_db, seeded.plan.id)


@pytest.mark.parametrize("name", sorted(SHOWN_ONLY))
async def test_what_is_shown_only_may_be_anything(sqlite_db: Database, sqlite_url: str, name: str) -> None:
    seeded = await accepted(sqlite_db)
    assert tamper(sqlite_url, orders.c[name], seeded.id)
    assert await told(sqlite_db, seeded.plan.id) == [None, None]


@pytest.mark.parametrize(("table", "column"), FIELDS, ids=name_of)
async def test_a_row_that_makes_no_sense_is_refused_and_ends_no_worker(
    sqlite_db: Database, sqlite_url: str, table: Table, column: Column[Any]
) -> None:
    seeded = await accepted(sqlite_db)
    [key] = [primary.name for primary in table.primary_key]
    if column.name == "id":
        return  # SQLite's row ids are integers, whatever is written
    write(sqlite_url, f'UPDATE {table.name} SET "{column.name}" = ? WHERE {key} = ?', "no/sense", row_id(seeded, table))
    assert None not in await told(sqlite_db, seeded.plan.id)


async def test_an_order_inserted_with_its_plan_is_not_signed(sqlite_db: Database, sqlite_url: str) -> None:
    """A copy of a right order, its try and its intents under other ids, with the MACs of the originals."""
    seeded = await accepted(sqlite_db)
    copy(sqlite_url, plans, sequence="77", id="'order:9:1'")
    copy(sqlite_url, orders, id="9", client_id="'copy'", plan_id="'order:9:1'")
    copy(sqlite_url, order_plans, plan_id="'order:9:1'", order_id="9")
    copy(sqlite_url, intents, id="'order:9:1/' || position", plan_id="'order:9:1'")
    refusals = await told(sqlite_db, PlanId("order:9:1"))
    assert [str(refused) for refused in refusals] == ["order 9 is not as it was accepted"] * 2
    assert await told(sqlite_db, seeded.plan.id) == [None, None]


async def test_a_try_moved_to_another_plan_is_not_signed(sqlite_db: Database, sqlite_url: str) -> None:
    seeded = await accepted(sqlite_db)
    copy(sqlite_url, plans, sequence="77", id="'other'")
    copy(sqlite_url, intents, id="'other/' || position", plan_id="'other'")
    write(sqlite_url, "UPDATE order_plans SET plan_id = 'other'")
    write(sqlite_url, "UPDATE orders SET plan_id = 'other'")
    assert None not in await told(sqlite_db, PlanId("other"))
    assert None not in await told(sqlite_db, seeded.plan.id)


@pytest.mark.parametrize(("of", "to"), [(1, 2), (0, 2), (0, -1)])
async def test_a_plan_with_one_more_call_is_not_signed(sqlite_db: Database, sqlite_url: str, of: int, to: int) -> None:
    """The swap, or the approval, a second time."""
    seeded = await accepted(sqlite_db)
    copy(sqlite_url, intents, where=f"position = {of}", id=f"plan_id || '/{to}'", position=str(to))
    assert None not in await told(sqlite_db, seeded.plan.id)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE intents SET gas_limit = 30000000",
        "UPDATE intents SET max_gas_cost_wei = printf('%078d', 1)",
        "DELETE FROM intents WHERE position = 0",
        "UPDATE intents SET position = 1 - position + 10",
    ],
)
async def test_a_plan_with_other_calls_than_those_that_were_accepted_is_not_signed(
    sqlite_db: Database, sqlite_url: str, statement: str
) -> None:
    seeded = await accepted(sqlite_db)
    write(sqlite_url, statement)
    assert None not in await told(sqlite_db, seeded.plan.id)


async def test_a_call_is_signed_for_one_nonce_only(sqlite_db: Database, sqlite_url: str) -> None:
    """Queued once more by an edit, with its slot given up by another one."""
    seeded = await accepted(sqlite_db)
    await sqlite_db.run(
        lambda c: STORE.reserve(
            c, seeded.plan.lane, [(one.id, 1) for one in seeded.plan.intents], first_nonce=0, now_ms=1
        )
    )
    assert await told(sqlite_db, seeded.plan.id) == [None, None]
    write(sqlite_url, "UPDATE intents SET state = ?", str(IntentState.QUEUED))
    write(sqlite_url, "UPDATE txs SET state = 'superseded'")
    assert [str(refused) for refused in await told(sqlite_db, seeded.plan.id)] == [
        "the call has had a nonce already"
    ] * 2


async def test_an_order_of_another_installation_is_not_signed(sqlite_db: Database) -> None:
    seeded = await accepted(sqlite_db)
    order = await order_now(sqlite_db, seeded)
    assert sealing.is_intact(MASTER, order)
    assert not sealing.is_intact(MasterKey(bytes([1]) * 32), order)


async def test_an_order_that_has_ended_has_no_mac_that_could_be_used_again(db: Database) -> None:
    seeded = await accepted(db)
    order = await order_now(db, seeded)

    def end(c: Connection) -> Order:
        return storage.move(c, order, expected=[OrderState.NEW], state=OrderState.CANCELED, now_ms=NOW_MS)

    ended = await db.run(end)
    assert (ended.mac, sealing.is_intact(MASTER, ended)) == (None, False)
    assert not sealing.is_intact(MASTER, replace(ended, state=OrderState.NEW))
    assert order.max_sold == SOLD
