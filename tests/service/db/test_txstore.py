"""The SQL store of the engine, on both databases."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    IntentId,
    IntentState,
    Lane,
    Outcome,
    PlanId,
    Tx,
    TxId,
    TxState,
    payload_hash,
)
from chains.tx.store import DuplicateId, StaleState, TxStore
from chains.types import Fees
from service.db import models as m
from service.db.engine import Database
from service.db.txrows import TamperedPayload
from service.db.txstore import SqlTxStore
from tests.service.books_seed import ETHEREUM, NOW_MS, POLYGON, address_of, block_at, make_plan, tx_hash

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


def send(c: Connection, tx: Tx, number: int = 1) -> None:
    STORE.save_attempts(c, [attempt_of(tx, number)], NOW_MS)
    STORE.mark_sent(c, [tx_hash(number)], NOW_MS + 1)


def mine(c: Connection, tx: Tx, number: int = 1) -> None:
    STORE.mark_mined(c, tx.id, tx_hash(number), block=block_at(100), outcome=Outcome.SUCCEEDED, now_ms=NOW_MS + 2)


def test_it_is_a_store_of_the_engine() -> None:
    store: TxStore[Connection] = STORE
    assert store is STORE


async def test_a_plan_comes_back_as_it_was_stored(db: Database) -> None:
    plan = replace(make_plan("plan", LANE, intents=3), valid_until_ms=NOW_MS + 60_000)
    large = replace(plan.intents[0].call, value_wei=2**255, data=b"\x00\xff")
    first = replace(plan.intents[0], call=large, payload_hash=payload_hash(LANE, large), gas_limit=90_000)
    plan = replace(plan, intents=(first, *plan.intents[1:]))
    await db.run(lambda c: STORE.add_plan(c, plan))
    assert await db.read(lambda c: STORE.plan(c, plan.id)) == plan
    assert await db.read(lambda c: STORE.plan(c, PlanId("other"))) is None


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


async def test_a_payload_changed_in_the_database_is_never_handed_out(db: Database) -> None:
    await db.run(lambda c: place(c))
    await db.run(lambda c: STORE.add_plan(c, make_plan("next", LANE)))
    await db.run(lambda c: c.execute(update(m.intents).values(to_address=address_of(0xBAD))))
    with pytest.raises(TamperedPayload):
        await db.read(lambda c: STORE.plan(c, PlanId("plan")))
    with pytest.raises(TamperedPayload):
        await db.read(lambda c: STORE.next_plan(c, LANE))
    with pytest.raises(TamperedPayload):
        await db.read(lambda c: STORE.open_txs(c, ETHEREUM))


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
    with pytest.raises(TamperedPayload):
        await sqlite_db.read(lambda c: STORE.plan(c, PlanId("plan")))


async def test_plans_of_a_lane_come_first_in_first_out_and_only_when_all_their_intents_are_queued(
    db: Database,
) -> None:
    def work(c: Connection) -> None:
        waiting = make_plan("z waits", LANE, intents=2)
        half = (waiting.intents[0], replace(waiting.intents[1], state=IntentState.ACCEPTED))
        STORE.add_plan(c, replace(waiting, intents=half))
        STORE.add_plan(c, make_plan("y other lane", OTHER))
        STORE.add_plan(c, make_plan("x first", LANE))
        STORE.add_plan(c, make_plan("a second", LANE))

    await db.run(work)
    found = await db.read(lambda c: STORE.next_plan(c, LANE))
    assert found is not None
    assert found.id == "x first"
    assert await db.read(lambda c: STORE.queued_lanes(c, ETHEREUM)) == sorted([LANE, OTHER])
    assert await db.read(lambda c: STORE.queued_lanes(c, POLYGON)) == []
    await db.run(lambda c: STORE.reject_plan(c, PlanId("x first"), "too late"))
    found = await db.read(lambda c: STORE.next_plan(c, LANE))
    assert found is not None
    assert found.id == "a second"


async def test_a_plan_is_rejected_whole_and_once(db: Database) -> None:
    await db.run(lambda c: STORE.add_plan(c, make_plan("plan", LANE, intents=2)))
    await db.run(lambda c: STORE.reject_plan(c, PlanId("plan"), "no funds"))
    plan = await db.read(lambda c: STORE.plan(c, PlanId("plan")))
    assert plan is not None
    assert {(i.state, i.reject_reason) for i in plan.intents} == {(IntentState.REJECTED, "no funds")}
    for name in ("plan", "unknown"):
        with pytest.raises(StaleState):
            await db.run(lambda c, name=name: STORE.reject_plan(c, PlanId(name), "again"))  # type: ignore[misc]


async def test_opening_a_lane_twice_keeps_its_nonce(db: Database) -> None:
    assert (await db.run(lambda c: STORE.open_lane(c, LANE, 5))).next_nonce == 5
    assert (await db.run(lambda c: STORE.open_lane(c, LANE, 9))).next_nonce == 5


async def test_reserving_gives_adjacent_nonces_in_the_order_asked(db: Database) -> None:
    txs = await db.run(lambda c: place(c, intents=3))
    assert [(tx.intent_id, tx.nonce, tx.gas_limit, tx.state) for tx in txs] == [
        ("plan/0", 5, 21_000, TxState.RESERVED),
        ("plan/1", 6, 21_001, TxState.RESERVED),
        ("plan/2", 7, 21_002, TxState.RESERVED),
    ]
    lane = await db.read(lambda c: STORE.lane(c, LANE))
    assert lane is not None
    assert lane.next_nonce == 8


async def test_a_reservation_at_the_wrong_nonce_or_of_a_placed_intent_leaves_nothing(db: Database) -> None:
    await db.run(lambda c: place(c))
    await db.run(lambda c: STORE.add_plan(c, make_plan("next", LANE, intents=2)))

    def reserve(c: Connection, intents: list[str], first_nonce: int) -> None:
        STORE.reserve(c, LANE, [(IntentId(i), 1) for i in intents], first_nonce=first_nonce, now_ms=NOW_MS)

    with pytest.raises(StaleState):
        await db.run(lambda c: reserve(c, ["next/0"], 5))
    with pytest.raises(StaleState):
        await db.run(lambda c: reserve(c, ["next/0", "plan/0"], 6))
    lane = await db.read(lambda c: STORE.lane(c, LANE))
    plan = await db.read(lambda c: STORE.plan(c, PlanId("next")))
    assert lane is not None
    assert plan is not None
    assert lane.next_nonce == 6
    assert {i.state for i in plan.intents} == {IntentState.QUEUED}


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


async def test_a_slot_has_at_most_one_unsent_attempt(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))
    await db.run(lambda c: STORE.save_attempts(c, [attempt_of(tx, 1)], NOW_MS))
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.save_attempts(c, [attempt_of(tx, 2)], NOW_MS))
    await db.run(lambda c: STORE.mark_sent(c, [tx_hash(1)], NOW_MS))
    await db.run(lambda c: STORE.save_attempts(c, [attempt_of(tx, 2, max_fee_wei=40)], NOW_MS))
    (opened,) = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert [a.hash for a in opened.attempts] == [tx_hash(1), tx_hash(2)]
    # A slot that is broadcast stays so while its bump waits to be sent.
    assert opened.tx.state is TxState.BROADCAST


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


async def test_sending_again_clears_the_nodes_answer_and_needs_known_attempts(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))
    await db.run(lambda c: STORE.save_attempts(c, [attempt_of(tx, 1)], NOW_MS))
    await db.run(lambda c: STORE.note_answer(c, tx_hash(1), "pool_limit: txpool is full"))
    (opened,) = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert opened.attempts[0].node_answer == "pool_limit: txpool is full"
    assert opened.tx.state is TxState.SIGNED
    for later in (1, 2):
        await db.run(lambda c, later=later: STORE.mark_sent(c, [tx_hash(1)], NOW_MS + later))  # type: ignore[misc]
    (opened,) = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert (opened.attempts[0].state, opened.attempts[0].node_answer) == (AttemptState.SENT, None)
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.mark_sent(c, [tx_hash(1), tx_hash(404)], NOW_MS))
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.note_answer(c, tx_hash(404), "?"))


async def test_mined_by_one_attempt_the_others_are_lost_and_a_reorg_brings_all_back(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))

    def work(c: Connection) -> None:
        send(c, tx, 1)
        STORE.save_attempts(c, [attempt_of(tx, 2, max_fee_wei=40)], NOW_MS)
        STORE.mark_sent(c, [tx_hash(2)], NOW_MS)
        mine(c, tx, 1)

    await db.run(work)
    (opened,) = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert (opened.tx.state, opened.tx.outcome) == (TxState.MINED, Outcome.SUCCEEDED)
    assert (opened.tx.block, opened.tx.mined_hash) == (block_at(100), tx_hash(1))
    assert [a.state for a in opened.attempts] == [AttemptState.MINED, AttemptState.LOST]
    await db.run(lambda c: STORE.mark_confirmed(c, tx.id, NOW_MS))
    await db.run(lambda c: STORE.mark_reorged(c, tx.id, NOW_MS))
    (opened,) = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert (opened.tx.state, opened.tx.outcome) == (TxState.BROADCAST, Outcome.NONE)
    assert (opened.tx.block, opened.tx.mined_hash) == (None, None)
    assert [a.state for a in opened.attempts] == [AttemptState.SENT, AttemptState.SENT]


async def test_a_slot_is_not_mined_by_another_slots_attempt(db: Database) -> None:
    first, second = await db.run(lambda c: place(c, intents=2))
    await db.run(lambda c: send(c, first, 1))
    await db.run(lambda c: send(c, second, 2))
    with pytest.raises(StaleState):
        await db.run(lambda c: mine(c, first, 2))
    opened = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert {o.tx.state for o in opened} == {TxState.BROADCAST}


async def test_a_final_slot_is_closed_and_no_state_is_skipped_or_repeated(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))
    await db.run(lambda c: send(c, tx))
    for early in (STORE.mark_confirmed, STORE.mark_final, STORE.mark_reorged):
        with pytest.raises(StaleState):
            await db.run(lambda c, early=early: early(c, tx.id, NOW_MS))  # type: ignore[misc]
    await db.run(lambda c: mine(c, tx))
    with pytest.raises(StaleState):
        await db.run(lambda c: mine(c, tx))
    await db.run(lambda c: STORE.mark_confirmed(c, tx.id, NOW_MS))
    await db.run(lambda c: STORE.mark_final(c, tx.id, NOW_MS))
    assert await db.read(lambda c: STORE.open_txs(c, ETHEREUM)) == []
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.mark_reorged(c, tx.id, NOW_MS))
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.mark_final(c, TxId(404), NOW_MS))


async def test_a_superseded_slot_is_closed_and_frees_the_lane_for_a_person(db: Database) -> None:
    (tx,) = await db.run(lambda c: place(c))
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.set_next_nonce(c, LANE, 6, 9))
    await db.run(lambda c: STORE.mark_superseded(c, tx.id, NOW_MS))
    assert await db.read(lambda c: STORE.open_txs(c, ETHEREUM)) == []
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.set_next_nonce(c, LANE, 5, 9))
    await db.run(lambda c: STORE.set_next_nonce(c, LANE, 6, 9))
    lane = await db.read(lambda c: STORE.lane(c, LANE))
    assert lane is not None
    assert lane.next_nonce == 9


async def test_open_slots_come_by_lane_and_nonce_with_their_attempts_oldest_first(db: Database) -> None:
    def work(c: Connection) -> None:
        for name, lane in (("b", OTHER), ("a", LANE), ("c", Lane(chain_id=POLYGON, wallet=address_of(1)))):
            for tx in reversed(place(c, name, lane=lane, intents=2)):
                STORE.save_attempts(c, [attempt_of(tx, tx.id * 10 + 1, created_ms=NOW_MS + 5)], NOW_MS)
                STORE.mark_sent(c, [tx_hash(tx.id * 10 + 1)], NOW_MS)
                STORE.save_attempts(c, [attempt_of(tx, tx.id * 10, created_ms=NOW_MS)], NOW_MS)

    await db.run(work)
    opened = await db.read(lambda c: STORE.open_txs(c, ETHEREUM))
    assert [(o.tx.lane, o.tx.nonce) for o in opened] == [(LANE, 5), (LANE, 6), (OTHER, 5), (OTHER, 6)]
    assert all([a.hash for a in o.attempts] == [tx_hash(o.tx.id * 10), tx_hash(o.tx.id * 10 + 1)] for o in opened)
    assert [o.intent.id for o in opened] == ["a/0", "a/1", "b/0", "b/1"]


async def test_a_held_lane_keeps_its_reason_until_it_is_released(db: Database) -> None:
    await db.run(lambda c: STORE.open_lane(c, LANE, 0))
    for reason in ("nonce gap", None):
        await db.run(lambda c, reason=reason: STORE.hold_lane(c, LANE, reason))  # type: ignore[misc]
        lane = await db.read(lambda c: STORE.lane(c, LANE))
        assert lane is not None
        assert lane.hold_reason == reason
    with pytest.raises(StaleState):
        await db.run(lambda c: STORE.hold_lane(c, OTHER, "unknown lane"))


async def test_the_cursor_is_set_and_moved(db: Database) -> None:
    assert await db.read(lambda c: STORE.cursor(c, ETHEREUM)) is None
    for number in (7, 8):
        await db.run(lambda c, number=number: STORE.set_cursor(c, ETHEREUM, block_at(number)))  # type: ignore[misc]
        assert await db.read(lambda c: STORE.cursor(c, ETHEREUM)) == block_at(number)
    assert await db.read(lambda c: STORE.cursor(c, POLYGON)) is None


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
