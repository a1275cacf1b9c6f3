"""Rows of the engine that something else has written so that they make no sense: all others are read as they are."""

from typing import Final

import pytest
from sqlalchemy import Connection, Integer, Table

from chains.tx.model import OPEN_TX_STATES, Lane, OpenTx, Plan, Unusable, Wish
from chains.tx.store import UnusableRow
from service.db import models as m
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from tests.service.books_seed import ETHEREUM, NOW_MS, address_of, make_plan
from tests.service.db.test_txstore import attempt_of, place
from tests.service.orders.tampering import read, write

LANE: Final = Lane(chain_id=ETHEREUM, wallet=address_of(1))
OTHER: Final = Lane(chain_id=ETHEREUM, wallet=address_of(2))
STORE: Final = SqlTxStore()
SENSELESS: Final = ("x'ff'", "1.5", "9223372036854775807", "CAST(x'ff' AS TEXT)")
TABLES: Final = (m.plans, m.intents, m.txs, m.attempts, m.tx_wishes, m.tx_notes)


def seed(c: Connection) -> None:
    """Of each lane a slot that was sent, and two plans that wait; of the first one's slot a wish and a note."""
    for number, lane in enumerate((LANE, OTHER)):
        [slot] = place(c, f"sent-{number}", lane=lane)
        attempt = attempt_of(slot, number + 1)
        STORE.save_attempts(c, [attempt], NOW_MS)
        STORE.mark_sent(c, [attempt.hash], NOW_MS)
        for name in ("waits", "after"):
            STORE.add_plan(c, make_plan(f"{name}-{number}", lane))
        if lane == LANE:
            STORE.wish(c, slot.id, Wish.BUMP, reason="asked", now_ms=NOW_MS)
            STORE.note_tx(c, slot.id, "fee_cap: dear")


def seen(c: Connection) -> tuple[list[OpenTx], list[Unusable], list[Plan], list[Plan]]:
    """Everything that an engine reads of many at once."""
    slots = list(STORE.open_txs(c, ETHEREUM))
    STORE.unfilled_lanes(c, ETHEREUM)
    STORE.queued_lanes(c, ETHEREUM)
    STORE.wishes(c, ETHEREUM)
    STORE.tx_ids(c, ETHEREUM, OPEN_TX_STATES)
    STORE.started_plan(c, LANE)
    STORE.astray(c, ETHEREUM)
    lost = list(STORE.unusable(c, ETHEREUM, slots, states=OPEN_TX_STATES))
    return slots, lost, list(STORE.next_plans(c, LANE, 9)), list(STORE.next_plans(c, OTHER, 9))


@pytest.mark.parametrize("table", TABLES, ids=str)
async def test_one_row_that_makes_no_sense_keeps_nothing_of_another_lane(
    sqlite_db: Database, sqlite_url: str, table: Table
) -> None:
    await sqlite_db.run(seed)
    before, _, _, others = await sqlite_db.read(seen)
    theirs = [slot for slot in before if slot.tx.lane == OTHER]
    [(first,)] = read(sqlite_url, f"SELECT min(rowid) FROM {table.name}")
    for column in table.columns:
        if column.primary_key and isinstance(column.type, Integer):
            continue  # takes whole numbers only
        [(was,)] = read(sqlite_url, f'SELECT "{column.name}" FROM {table.name} WHERE rowid = ?', first)
        for value in SENSELESS:
            write(sqlite_url, f'UPDATE {table.name} SET "{column.name}" = {value} WHERE rowid = ?', first)
            slots, _, _, plans = await sqlite_db.read(seen)
            assert [slot for slot in slots if slot.tx.lane == OTHER] == theirs, (column.name, value)
            assert plans == others, (column.name, value)
        write(sqlite_url, f'UPDATE {table.name} SET "{column.name}" = ? WHERE rowid = ?', was, first)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE txs SET gas_limit = 'x' WHERE id = 1",
        "UPDATE txs SET nonce = -1 WHERE id = 1",
        "UPDATE txs SET wallet = 7 WHERE id = 1",
        "UPDATE txs SET wallet = x'01' WHERE id = 1",
        "UPDATE txs SET outcome = 'zz' WHERE id = 1",
        "UPDATE txs SET intent_id = 'nobody' WHERE id = 1",
        "UPDATE intents SET value_wei = 'x' WHERE id = 'sent-0/0'",
        "UPDATE intents SET data = 9000000000000000000 WHERE id = 'sent-0/0'",
        "UPDATE intents SET state = 'zz' WHERE id = 'sent-0/0'",
        "UPDATE attempts SET max_fee_wei = 1.5 WHERE tx_id = 1",
        "UPDATE attempts SET raw = 4611686018427387904 WHERE tx_id = 1",
        "UPDATE attempts SET kind = 'zz' WHERE tx_id = 1",
        "UPDATE tx_wishes SET wish = 'zz' WHERE tx_id = 1",
        "UPDATE plans SET valid_until_ms = 'x' WHERE id = 'sent-0'",
    ],
)
async def test_a_slot_that_makes_no_sense_is_told_with_its_lane(
    sqlite_db: Database, sqlite_url: str, statement: str
) -> None:
    await sqlite_db.run(seed)
    write(sqlite_url, statement)
    slots, lost, _, _ = await sqlite_db.read(seen)
    assert [slot.tx.lane for slot in slots] == [OTHER]
    assert [(one.tx_id, one.lane) for one in lost] == [(1, LANE)]


async def test_one_of_many_slots_costs_a_few_statements_more(sqlite_db: Database, sqlite_url: str) -> None:
    await sqlite_db.run(lambda c: place(c, "many", intents=700))
    write(sqlite_url, "UPDATE txs SET gas_limit = 'x' WHERE id = 333")
    slots, lost, _, _ = await sqlite_db.read(seen)
    assert len(slots) == 699
    assert [one.tx_id for one in lost] == [333]
    assert [slot.tx.nonce for slot in slots] == sorted(slot.tx.nonce for slot in slots)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE plans SET created_ms = 'x' WHERE id = 'waits-0'",
        "UPDATE plans SET wallet = x'01' WHERE id = 'waits-0'",
        "UPDATE intents SET to_address = 12 WHERE plan_id = 'waits-0'",
        "UPDATE intents SET payload_hash = x'01' WHERE plan_id = 'waits-0'",
        "UPDATE intents SET gas_limit = -1 WHERE plan_id = 'waits-0'",
    ],
)
async def test_a_plan_that_makes_no_sense_is_named_in_its_place_and_can_be_rejected(
    sqlite_db: Database, sqlite_url: str, statement: str
) -> None:
    await sqlite_db.run(seed)
    write(sqlite_url, statement)
    _, _, plans, _ = await sqlite_db.read(seen)
    assert [(plan.id, plan.lane, plan.unusable) for plan in plans] == [
        ("waits-0", LANE, True),
        ("after-0", LANE, False),
    ]
    with pytest.raises(UnusableRow):
        await sqlite_db.read(lambda c: STORE.plan(c, plans[0].id))
    await sqlite_db.run(lambda c: STORE.reject_plan(c, plans[0].id, "unusable_row: x"))
    assert read(sqlite_url, "SELECT state FROM intents WHERE plan_id = 'waits-0'") == [("rejected",)]


@pytest.mark.parametrize("wallet", ["x'01'", "7", "'x'"])
async def test_a_queued_plan_of_no_wallet_is_found_by_its_own_row(
    sqlite_db: Database, sqlite_url: str, wallet: str
) -> None:
    await sqlite_db.run(seed)
    write(sqlite_url, f"UPDATE intents SET wallet = {wallet} WHERE plan_id = 'waits-0'")
    found = await sqlite_db.read(lambda c: STORE.astray(c, ETHEREUM))
    assert [(plan.id, plan.lane, plan.unusable) for plan in found] == [("waits-0", LANE, True)]


async def test_what_is_asked_for_by_itself_and_makes_no_sense_raises(sqlite_db: Database, sqlite_url: str) -> None:
    await sqlite_db.run(seed)
    write(sqlite_url, "UPDATE lanes SET next_nonce = 'x'")
    write(sqlite_url, "UPDATE attempts SET gas_limit = 'x'")
    with pytest.raises(UnusableRow):
        await sqlite_db.read(lambda c: STORE.lane(c, LANE))
    with pytest.raises(UnusableRow):
        await sqlite_db.read(lambda c: STORE.lane_load(c, LANE))
