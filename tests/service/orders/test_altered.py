"""Orders that were edited, or lost their key's permission, while a try was out; on both databases."""

import pytest
from sqlalchemy import Connection, insert, select, update

from chains.tx.model import IntentState, Outcome, Plan
from service.audit.acts import ORDER_ALTERED
from service.audit.reading import Wanted, newest
from service.db.engine import Database
from service.db.models import api_keys, order_plans, orders
from service.db.txstore import SqlTxStore
from service.orders.closing import cancel
from service.orders.model import OrderState
from tests.clock import FakeClock
from tests.service.books_seed import NOW_MS, make_plan
from tests.service.orders.resting_seed import HELD, held_now, order_now, seed_rest, settle, start
from tests.service.trading_seed import DEADLINE_S, observer


async def test_an_order_whose_key_lost_trade_while_a_try_was_out_does_not_rest_again(db: Database) -> None:
    """What loses the permission cancels what rests at that moment; this one comes back to rest after it."""

    def reverted(c: Connection) -> None:
        rests = seed_rest(c, number=0xB1)
        start(c, rests)
        c.execute(update(api_keys).where(api_keys.c.id == rests.key_id).values(can_trade=False))
        plan_id = order_now(c, rests).plan_id
        assert plan_id is not None
        settle(c, rests, plan_id, outcome=Outcome.REVERTED)
        order = order_now(c, rests)
        assert (order.state, order.reason, order.is_resting) == (OrderState.CANCELED, "permission_taken", False)
        assert held_now(c, rests) == {}

    def refused(c: Connection) -> None:
        rests = seed_rest(c, number=0xB2)
        _, plan = start(c, rests)
        c.execute(update(api_keys).where(api_keys.c.id == rests.key_id).values(can_trade=False))
        reject(c, plan, "presign_refused: the key does not have the trade permission any more")
        order = order_now(c, rests)
        assert (order.state, order.reason) == (OrderState.CANCELED, "permission_taken")
        assert held_now(c, rests) == {}

    for work in (reverted, refused):
        await db.run(work)


def reject(c: Connection, plan: Plan, reason: str) -> None:
    SqlTxStore().reject_plan(c, plan.id, reason)
    observer(FakeClock(NOW_MS)).on_rejected(c, plan, reason)


@pytest.mark.parametrize("reason", ["presign_refused: not as it was accepted", "simulation_reverted: price"])
async def test_an_order_that_was_edited_while_a_try_was_out_ends_with_it(db: Database, reason: str) -> None:
    """F79: it does not rest again, whatever ended the try."""

    def work(c: Connection) -> None:
        rests = seed_rest(c)
        _, plan = start(c, rests)
        c.execute(update(orders).values(min_bought=1))
        reject(c, plan, reason)
        order = order_now(c, rests)
        assert (order.state, order.reason, order.mac) == (OrderState.CANCELED, "altered", None)
        assert held_now(c, rests) == {}
        acts = {entry.act for entry in newest(c, Wanted(), limit=9)}
        assert ORDER_ALTERED in acts

    await db.run(work)


async def test_a_signed_swap_of_an_edited_order_is_booked_all_the_same(db: Database) -> None:
    """F79: what was signed before is what was accepted."""

    def work(c: Connection) -> None:
        rests = seed_rest(c)
        start(c, rests)
        c.execute(update(orders).values(min_bought=1, tries=7))
        plan_id = order_now(c, rests).plan_id
        assert plan_id is not None
        settle(c, rests, plan_id, outcome=Outcome.SUCCEEDED)
        order = order_now(c, rests)
        assert (order.state, order.filled_base > 0) == (OrderState.FILLED, True)
        assert held_now(c, rests) == {}

    await db.run(work)


@pytest.mark.parametrize("nonsense", ["quote = '{}'", "price = 'no/sense'"])
async def test_an_order_that_cannot_be_shown_or_read_any_more_stops_nobody(db: Database, nonsense: str) -> None:
    """F79: its lane goes on, with what is signed and with what is not."""

    def refused(c: Connection) -> None:
        rests = seed_rest(c, number=0xE1)
        _, plan = start(c, rests)
        c.exec_driver_sql(f"UPDATE orders SET {nonsense} WHERE id = {rests.order.id}")
        reject(c, plan, "presign_refused: not as it was accepted")
        ended = select(orders.c.state, orders.c.reason).where(orders.c.id == rests.order.id)
        assert c.execute(ended).one() == ("CANCELED", "altered")
        assert held_now(c, rests) == {}

    def signed(c: Connection) -> None:
        rests = seed_rest(c, number=0xE2)
        _, plan = start(c, rests)
        c.exec_driver_sql(f"UPDATE orders SET {nonsense} WHERE id = {rests.order.id}")
        settle(c, rests, plan.id, outcome=Outcome.SUCCEEDED)
        assert held_now(c, rests) == {}

    for work in (refused, signed):
        await db.run(work)


async def test_an_order_that_was_edited_does_not_rest_again_after_a_revert(db: Database) -> None:
    """F79."""

    def work(c: Connection) -> None:
        rests = seed_rest(c)
        start(c, rests)
        c.execute(update(orders).values(min_bought=1))
        plan_id = order_now(c, rests).plan_id
        assert plan_id is not None
        settle(c, rests, plan_id, outcome=Outcome.REVERTED)
        order = order_now(c, rests)
        assert (order.state, order.reason) == (OrderState.CANCELED, "altered")
        assert held_now(c, rests) == {}

    await db.run(work)


async def test_an_order_whose_try_was_edited_ends_with_it_and_an_inserted_try_ends_nothing(db: Database) -> None:
    """F79."""

    def edited(c: Connection) -> None:
        rests = seed_rest(c, number=0xC1)
        _, plan = start(c, rests)
        c.execute(update(order_plans).where(order_plans.c.plan_id == plan.id).values(min_bought=1))
        reject(c, plan, "presign_refused: the try is not as it was made")
        order = order_now(c, rests)
        assert (order.state, order.reason) == (OrderState.CANCELED, "altered")

    def inserted(c: Connection) -> None:
        rests = seed_rest(c, number=0xC2)
        order, plan = start(c, rests)
        stray = make_plan("stray", plan.lane)
        SqlTxStore().add_plan(c, stray)
        c.execute(
            insert(order_plans).values(
                plan_id=stray.id,
                order_id=order.id,
                max_sold=1,
                min_bought=1,
                deadline_s=DEADLINE_S,
                created_ms=NOW_MS,
                number=9,
            )
        )
        reject(c, stray, "presign_refused: nobody asked for it")
        assert order_now(c, rests) == order
        assert held_now(c, rests) == HELD

    for work in (edited, inserted):
        await db.run(work)


async def test_cancelling_an_order_that_was_given_anothers_plan_leaves_that_plan_alone(db: Database) -> None:
    """F79."""

    def work(c: Connection) -> None:
        other, rests = seed_rest(c, number=0xD1), seed_rest(c, number=0xD2)
        its, plan = start(c, other)
        c.execute(update(orders).where(orders.c.id == other.order.id).values(plan_id=None))
        c.execute(update(orders).where(orders.c.id == rests.order.id).values(plan_id=plan.id))
        done = cancel(c, order_now(c, rests), reason="asked", now_ms=NOW_MS)
        assert (done.state, held_now(c, rests), held_now(c, other)) == (OrderState.CANCELED, {}, HELD)
        stored = SqlTxStore().plan(c, plan.id)
        assert stored is not None
        assert {intent.state for intent in stored.intents} == {IntentState.QUEUED}
        assert its.plan_id == plan.id

    await db.run(work)
