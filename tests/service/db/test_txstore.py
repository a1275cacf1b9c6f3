"""What the SQL store has beside the contract: tampered rows, large groups, races, and what the schema refuses."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from chains.signing.signer import LocalSigner, UnlockedKey
from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    IntentId,
    Lane,
    OpenTx,
    PlanId,
    Tx,
    TxState,
)
from chains.tx.signing import SignedHere, sign_attempt
from chains.tx.store import DuplicateId, StaleState, TxStore
from chains.types import Fees
from service.db import models as m
from service.db import txstory
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from tests.service.books_seed import ETHEREUM, NOW_MS, address_of, make_plan, tx_hash

LANE = Lane(chain_id=ETHEREUM, wallet=address_of(1))
OTHER = Lane(chain_id=ETHEREUM, wallet=address_of(2))
STORE = SqlTxStore()


def attempt_of(tx: Tx, number: int, *, max_fee_wei: int = 30, created_ms: int = NOW_MS) -> Attempt:
    return Attempt(
        hash=tx_hash(number),
        tx_id=tx.id,
        kind=AttemptKind.REAL,
        raw=bytes([2, number % 256]),
        fees=Fees(max_fee_wei=max_fee_wei, priority_fee_wei=1),
        gas_limit=tx.gas_limit,
        state=AttemptState.SIGNED,
        created_ms=created_ms,
    )


def place(c: Connection, name: str = "plan", *, lane: Lane = LANE, intents: int = 1) -> list[Tx]:
    """A plan with its slots reserved at the lane's next nonce."""
    state = STORE.open_lane(c, lane, 5)
    plan = make_plan(name, lane, intents=intents)
    STORE.add_plan(c, plan)
    wanted = [(intent.id, 21_000 + intent.position) for intent in plan.intents]
    return list(STORE.reserve(c, lane, wanted, first_nonce=state.next_nonce, now_ms=NOW_MS))


def test_it_is_a_store_of_the_engine() -> None:
    store: TxStore[Connection] = STORE
    assert store is STORE


async def test_a_plan_or_intent_id_is_unique_and_the_transaction_survives_the_refusal(db: Database) -> None:
    def work(c: Connection) -> None:
        STORE.add_plan(c, make_plan("plan", LANE))
        with pytest.raises(DuplicateId):
            STORE.add_plan(c, make_plan("plan", OTHER))
        taken = make_plan("another", LANE)
        taken = replace(taken, intents=(replace(taken.intents[0], id=IntentId("plan/0")),))
        with pytest.raises(DuplicateId):
            STORE.add_plan(c, taken)
        STORE.open_lane(c, LANE, 0)

    await db.run(work)
    assert await db.read(lambda c: STORE.lane(c, LANE)) is not None


async def test_a_payload_changed_in_the_database_is_handed_out_as_altered_and_others_as_they_are(db: Database) -> None:
    await db.run(lambda c: place(c))
    for plan_id in ("next", "after"):
        await db.run(lambda c, plan_id=plan_id: STORE.add_plan(c, make_plan(plan_id, LANE)))  # type: ignore[misc]
    one_of = m.intents.c.plan_id.in_(["plan", "next"])
    await db.run(lambda c: c.execute(update(m.intents).where(one_of).values(to_address=address_of(0xBAD))))
    plan = await db.read(lambda c: STORE.plan(c, PlanId("plan")))
    assert plan is not None
    assert all(intent.altered for intent in plan.intents)
    waiting = await db.read(lambda c: STORE.next_plans(c, LANE, 2))
    assert [[intent.altered for intent in one.intents] for one in waiting] == [[True], [False]]
    assert all(slot.intent.altered for slot in await db.read(lambda c: STORE.open_txs(c, ETHEREUM)))


async def test_a_changed_payload_is_restored_from_the_bytes_that_were_signed_for_it(db: Database) -> None:
    key = UnlockedKey(b"\x09" * 32)
    lane = Lane(chain_id=ETHEREUM, wallet=key.address)
    [slot] = await db.run(lambda c: place(c, lane=lane))
    intent = make_plan("plan", lane).intents[0]
    fees = Fees(max_fee_wei=2, priority_fee_wei=1)
    open_slot = OpenTx(tx=slot, intent=intent, attempts=())
    real = await sign_attempt(LocalSigner([key]), open_slot, fees, kind=AttemptKind.REAL, now_ms=1, signed=SignedHere())
    await db.run(lambda c: STORE.save_attempts(c, [real], 1))
    for change in ({"to_address": address_of(0xBAD)}, {"value_wei": 999}, {"data": b"\xff"}, {"wallet": LANE.wallet}):
        await db.run(lambda c, change=change: c.execute(update(m.intents).values(**change)))  # type: ignore[misc]
        [found] = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
        assert (found.intent.altered, found.intent.call, found.intent.lane) == (True, intent.call, lane)
    # Bytes of another payload, or a hash that was changed too, restore nothing.
    await db.run(lambda c: c.execute(update(m.intents).values(payload_hash=tx_hash(9))))
    [found] = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert found.intent.altered
    assert found.intent.call.to == address_of(0xBAD)


@pytest.mark.parametrize("column", ["value_wei", "data", "chain_id", "wallet", "to_address", "payload_hash"])
async def test_every_column_of_a_payload_is_bound_to_its_hash(sqlite_db: Database, column: str) -> None:
    changed = {
        "value_wei": 999,
        "data": b"\x01",
        "chain_id": 137,
        "wallet": address_of(9),
        "to_address": address_of(9),
        "payload_hash": tx_hash(9),
    }
    await sqlite_db.run(lambda c: STORE.add_plan(c, make_plan("plan", LANE)))
    await sqlite_db.run(lambda c: c.execute(update(m.intents).values({column: changed[column]})))
    plan = await sqlite_db.read(lambda c: STORE.plan(c, PlanId("plan")))
    assert plan is not None
    assert [intent.altered for intent in plan.intents] == [True]


async def test_a_nonce_is_given_out_once_under_concurrency(db: Database) -> None:
    def prepare(c: Connection) -> None:
        STORE.open_lane(c, LANE, 0)
        for number in range(4):
            STORE.add_plan(c, make_plan(f"p{number}", LANE))

    await db.run(prepare)

    async def reserve(number: int) -> bool:
        try:
            await db.run(
                lambda c: STORE.reserve(c, LANE, [(IntentId(f"p{number}/0"), 1)], first_nonce=0, now_ms=NOW_MS)
            )
        except StaleState:
            return False
        return True

    assert sum(await asyncio.gather(*(reserve(number) for number in range(4)))) == 1
    assert await db.read(lambda c: c.execute(select(func.count()).select_from(m.txs)).scalar_one()) == 1


async def test_a_group_larger_than_one_statement_is_written_whole(db: Database) -> None:
    count = 1_203
    txs = await db.run(lambda c: place(c, intents=count))
    assert [tx.nonce for tx in txs] == list(range(5, 5 + count))
    made = [attempt_of(tx, number) for number, tx in enumerate(txs)]
    await db.run(lambda c: STORE.save_attempts(c, made, NOW_MS))
    await db.run(lambda c: STORE.mark_sent(c, [a.hash for a in made], NOW_MS))
    opened = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert {o.tx.state for o in opened} == {TxState.BROADCAST}
    assert [o.attempts[0].hash for o in opened] == [a.hash for a in made]


async def test_the_newest_attempt_is_the_dearest_whatever_the_clock_of_its_process_said(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))
    first = attempt_of(tx, 1)
    fees = Fees(max_fee_wei=first.fees.max_fee_wei * 2, priority_fee_wei=first.fees.priority_fee_wei * 2)
    second = replace(attempt_of(tx, 2), fees=fees, created_ms=first.created_ms - 30_000)
    await db.run(lambda c: STORE.save_attempts(c, [first], NOW_MS))
    await db.run(lambda c: STORE.mark_sent(c, [first.hash], NOW_MS))
    await db.run(lambda c: STORE.save_attempts(c, [second], NOW_MS, after=[first.hash]))
    (slot,) = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert [attempt.hash for attempt in slot.attempts] == [first.hash, second.hash]
    told = await db.read(lambda c: txstory.story(c, slot.intent.plan_id))
    assert told is not None
    assert [attempt.hash for attempt in told.attempts[tx.id]] == [first.hash, second.hash]


async def test_the_schema_itself_refuses_a_second_unsent_attempt(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))
    await db.run(lambda c: STORE.save_attempts(c, [attempt_of(tx, 1)], NOW_MS))
    row = {
        "hash": tx_hash(2),
        "tx_id": tx.id,
        "kind": "real",
        "raw": b"",
        "max_fee_wei": 1,
        "priority_fee_wei": 1,
        "gas_limit": 1,
        "state": "signed",
        "created_ms": NOW_MS,
    }
    with pytest.raises(IntegrityError):
        await db.run(lambda c: c.execute(insert(m.attempts), row))


async def test_the_schema_refuses_a_nonce_twice(db: Database) -> None:
    await db.run(lambda c: place(c))
    await db.run(lambda c: STORE.add_plan(c, make_plan("next", LANE)))
    row = {
        "intent_id": "next/0",
        "chain_id": ETHEREUM,
        "wallet": LANE.wallet,
        "nonce": 5,
        "gas_limit": 1,
        "state": "reserved",
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    with pytest.raises(IntegrityError):
        await db.run(lambda c: c.execute(insert(m.txs), row))


async def test_the_schema_refuses_a_mined_slot_without_a_block(db: Database) -> None:
    await db.run(lambda c: place(c))
    with pytest.raises(IntegrityError):
        await db.run(lambda c: c.execute(update(m.txs).values(state=TxState.MINED)))
