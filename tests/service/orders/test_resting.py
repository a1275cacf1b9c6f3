"""Orders that rest, are tried, rest again, and end: rows, holds and races, on both databases."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, func, select, update

from chains.tx.model import IntentState, Outcome
from chains.tx.reasons import RejectCode
from chains.tx.reasons import reason as reason_of
from chains.tx.store import StaleState
from service.db import models as m
from service.db.engine import Database
from service.db.txstore import SqlTxStore
from service.errors import ApiError
from service.journal import books
from service.orders import storage
from service.orders.backoff import MARGIN_MS, MOST_REVERTS, retry_after_ms
from service.orders.closing import cancel, cancel_of_key
from service.orders.model import OrderState, OrderType, TimeInForce
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, tx_hash
from tests.service.orders.resting_seed import HELD, Rests, held_now, order_now, seed_rest, settle, start
from tests.service.trading_seed import (
    DEADLINE_S,
    FEE,
    MASTER,
    confirm,
    mine,
    observer,
    receipt_of,
    reserve,
    send,
    swap_moves,
)


def ended(c: Connection, rests: Rests, *, outcome: Outcome, number: int = 1) -> None:
    """A try whose approval went well and whose swap ended so, confirmed."""
    _, plan = start(c, rests)
    settle(c, rests, plan.id, outcome=outcome, number=number)


async def test_a_reverted_try_rests_again_with_the_hold_the_gas_and_a_pause_until_its_deadline(db: Database) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c)
        ended(c, rests, outcome=Outcome.REVERTED)
        order = order_now(c, rests)
        assert (order.state, order.is_resting, order.reason) == (OrderState.NEW, True, "swap_reverted")
        assert (order.tries, order.gas_wei) == (1, 2 * FEE)
        assert order.retry_after_ms == DEADLINE_S * 1000 + MARGIN_MS
        assert held_now(c, rests) == HELD
        # It is found by the plan that it no longer has, and can be tried again.
        first = storage.tries_of(c, order.id)[0].plan_id
        found = storage.order_by_plan(c, first)
        assert found is not None
        assert found.id == order.id
        again, _ = start(c, rests)
        assert (again.tries, again.reason, again.retry_after_ms) == (2, None, None)
        assert [tried.plan_id for tried in storage.tries_of(c, order.id)] == [first, again.plan_id]

    await db.run(work)


async def test_a_filled_try_ends_the_order_and_its_hold(db: Database) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c)
        ended(c, rests, outcome=Outcome.SUCCEEDED)
        order = order_now(c, rests)
        assert (order.state, order.reason) == (OrderState.FILLED, None)
        assert order.filled_base > 0
        assert held_now(c, rests) == {}

    await db.run(work)


async def test_a_swap_of_an_earlier_try_that_succeeds_after_all_fills_the_resting_order(db: Database) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c)
        _, plan = start(c, rests)
        told = observer(FakeClock(NOW_MS))
        approval, swap = reserve(c, plan)
        for tx, number in ((approval, 1), (swap, 2)):
            send(c, tx, number=number)
        # As if another process had put it back to rest: the plan is no longer the order's.
        storage.rest_again(
            c,
            order_now(c, rests),
            plan_id=plan.id,
            retry_after_ms=NOW_MS,
            reason="swap_reverted",
            master=MASTER,
            now_ms=NOW_MS,
        )
        for tx, number in ((approval, 1), (swap, 2)):
            moves = swap_moves(rests.owner) if tx is swap else ()
            done, intent = mine(c, tx, tx_hash(number), outcome=Outcome.SUCCEEDED)
            receipt = receipt_of(done, intent, moves=moves)
            told.on_mined(c, intent, done, receipt)
            done, intent = confirm(c, tx)
            told.on_confirmed(c, intent, done, receipt)
        assert order_now(c, rests).state is OrderState.FILLED
        assert held_now(c, rests) == {}

    await db.run(work)


async def test_an_order_has_only_so_many_reverts(db: Database) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c)
        for count in range(MOST_REVERTS):
            assert order_now(c, rests).is_resting
            ended(c, rests, outcome=Outcome.REVERTED, number=1 + 2 * count)
        order = order_now(c, rests)
        assert (order.state, order.reason) == (OrderState.EXPIRED, "tries_used")
        assert held_now(c, rests) == {}

    await db.run(work)


@pytest.mark.parametrize(
    ("code", "state", "rests_again"),
    [
        (RejectCode.SIMULATION_REVERTED, OrderState.NEW, True),
        (RejectCode.FEE_CAP, OrderState.NEW, True),
        (RejectCode.EXPIRED, OrderState.NEW, True),
        (RejectCode.GIVEN_UP, OrderState.REJECTED, False),
        (RejectCode.PAYLOAD_MISMATCH, OrderState.REJECTED, False),
    ],
)
async def test_what_a_lane_refuses_rests_again_or_ends(
    sqlite_db: Database, code: RejectCode, state: OrderState, *, rests_again: bool
) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c)
        _, plan = start(c, rests)
        observer(FakeClock(NOW_MS)).on_rejected(c, plan, reason_of(code, "why"))
        order = order_now(c, rests)
        assert (order.state, order.is_resting) == (state, rests_again)
        assert order.retry_after_ms == (NOW_MS + 15_000 if rests_again else None)
        assert held_now(c, rests) == (HELD if rests_again else {})

    await sqlite_db.run(work)


@pytest.mark.parametrize(("force", "reason"), [(TimeInForce.FOK, "unfilled_fok"), (TimeInForce.IOC, "unfilled_ioc")])
async def test_an_order_for_now_expires_when_the_lane_finds_the_price_gone(
    sqlite_db: Database, force: TimeInForce, reason: str
) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c, force=force)
        _, plan = start(c, rests)
        observer(FakeClock(NOW_MS)).on_rejected(c, plan, reason_of(RejectCode.SIMULATION_REVERTED, "Too little"))
        order = order_now(c, rests)
        assert (order.state, order.reason) == (OrderState.EXPIRED, reason)
        assert held_now(c, rests) == {}

    await sqlite_db.run(work)


@pytest.mark.parametrize("what", ["revoked", "expired"])
async def test_a_try_that_comes_to_nothing_after_the_key_or_the_time_is_gone_ends_the_order(
    sqlite_db: Database, what: str
) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c, expires_ms=NOW_MS if what == "expired" else NOW_MS + 10**9)
        if what == "revoked":
            c.execute(update(m.api_keys).values(revoked_ms=NOW_MS))
        ended(c, rests, outcome=Outcome.REVERTED)
        order = order_now(c, rests)
        wanted = (OrderState.CANCELED, "key_revoked") if what == "revoked" else (OrderState.EXPIRED, "time_over")
        assert (order.state, order.reason) == wanted
        assert held_now(c, rests) == {}

    await sqlite_db.run(work)


async def test_of_a_cancel_and_a_try_one_wins(db: Database) -> None:
    """Each unit of work believes in the order as it was read before the other one committed."""

    def cancelled_first(c: Connection) -> None:
        rests = seed_rest(c, number=0xA1)
        cancel(c, rests.order, reason="asked", now_ms=NOW_MS)
        with pytest.raises(StaleState):
            start(c, rests, seen=rests.order)

    def tried_first(c: Connection) -> None:
        rests = seed_rest(c, number=0xA2)
        order, plan = start(c, rests)
        with pytest.raises(ApiError) as refused:
            cancel(c, rests.order, reason="asked", now_ms=NOW_MS)
        assert refused.value.code == "order_being_executed"
        # Seen as it is now, its plan still waits, and is given up with it.
        done = cancel(c, order, reason="asked", now_ms=NOW_MS)
        assert (done.state, done.reason) == (OrderState.CANCELED, "asked")
        assert held_now(c, rests) == {}
        stored = SqlTxStore().plan(c, plan.id)
        assert stored is not None
        assert {intent.state for intent in stored.intents} == {IntentState.REJECTED}

    def placed_first(c: Connection) -> None:
        rests = seed_rest(c, number=0xA3)
        order, plan = start(c, rests)
        reserve(c, plan)
        with pytest.raises(ApiError) as refused:
            cancel(c, order, reason="asked", now_ms=NOW_MS)
        assert refused.value.code == "order_being_executed"
        assert held_now(c, rests) == HELD

    works: tuple[Callable[[Connection], None], ...] = (cancelled_first, tried_first, placed_first)
    for work in works:
        await db.run(work)


async def test_a_cancel_tells_once_and_frees_what_was_held(db: Database) -> None:
    def work(c: Connection) -> None:
        rests = seed_rest(c)
        before = len(books.events(c, rests.owner.account_id))
        done = cancel(c, rests.order, reason="asked", now_ms=NOW_MS)
        again = cancel(c, done, reason="asked", now_ms=NOW_MS + 1)
        assert again == done
        events = books.events(c, rests.owner.account_id)[before:]
        assert [(event.kind, event.payload["state"]) for event in events] == [("order", "CANCELED")]
        assert held_now(c, rests) == {}

    await db.run(work)


async def test_the_resting_orders_of_a_key_are_cancelled_and_those_of_others_stay(sqlite_db: Database) -> None:
    def work(c: Connection) -> None:
        mine_, others = seed_rest(c, number=0xA1), seed_rest(c, number=0xA2)
        assert cancel_of_key(c, mine_.key_id, reason="key_revoked", master=MASTER, now_ms=NOW_MS) == 1
        assert order_now(c, mine_).state is OrderState.CANCELED
        assert order_now(c, others).is_resting

    await sqlite_db.run(work)


async def test_resting_orders_are_paged_oldest_first_and_a_stop_is_triggered_once(db: Database) -> None:
    def work(c: Connection) -> None:
        found = [seed_rest(c, number=number, kind=OrderType.STOP_LOSS_LIMIT) for number in range(0xA1, 0xA4)]
        ids = [rests.order.id for rests in found]
        start(c, found[1])
        first = storage.resting(c, ETHEREUM, limit=1)
        assert [order.id for order in first] == ids[:1]
        assert [order.id for order in storage.resting(c, ETHEREUM, after_id=ids[0])] == ids[2:]
        fired = storage.trigger(c, found[0].order, master=MASTER, now_ms=NOW_MS + 5)
        assert (fired.triggered_ms, fired.is_resting) == (NOW_MS + 5, True)
        with pytest.raises(StaleState):
            storage.trigger(c, found[0].order, master=MASTER, now_ms=NOW_MS + 6)
        assert storage.count_open(c, found[0].owner.account_id) == 1
        assert c.execute(select(func.count()).select_from(m.order_plans)).scalar_one() == 1

    await db.run(work)


def test_the_pause_doubles_up_to_a_bound_and_waits_for_what_was_signed() -> None:
    pauses = [retry_after_ms(tries=tries, now_ms=0, signed_until_ms=None) for tries in range(1, 9)]
    assert pauses == [15_000, 30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]
    assert retry_after_ms(tries=1, now_ms=0, signed_until_ms=100_000) == 100_000 + MARGIN_MS
    assert retry_after_ms(tries=10**6, now_ms=0, signed_until_ms=None) == 600_000
