"""What keeps the keeper from executing an order that is inside its limit, and what becomes of it meanwhile."""

from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, update

from chains import crashpoints
from chains.errors import MethodUnavailable
from chains.tx.model import Lane
from contracts.ratio import Ratio
from service import pauses
from service.auth.keys import revoke_key
from service.db.engine import Database
from service.db.headstore import SqlHeadStore
from service.db.models import api_keys, orders, outbox, reservations
from service.db.txstore import SqlTxStore
from service.markets.trades import Side
from service.orders import storage
from service.orders.keeper.deciding import Terms, Why
from service.orders.keeper.looks import Looked
from service.orders.model import OrderState, OrderType
from service.orders.sealing import order_mac
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import ASSETS, CONFIG
from tests.service.orders.keeper.chain import down
from tests.service.orders.keeper.test_model import Killed, die, unarmed
from tests.service.orders.keeper.world import BLOCK_MS, World, all_orders

__all__ = ["unarmed"]

MARKET: Final = ASSETS.markets["WETHUSDC"]
E18: Final = 10**18


@pytest.fixture
async def world(sqlite_db: Database, clock: FakeClock) -> World:
    made = World(sqlite_db, clock, seed=1, wallets=1)
    await made.set_up()
    return made


def terms(world: World, percent: int, **changes: Any) -> Terms:
    """A sale of one WETH at so many percent of the price."""
    fair = world.fair(MARKET)
    made = Terms(
        side=Side.SELL,
        exact="in",
        amount=E18,
        price=Ratio.of(fair.num * percent, fair.den * 100),
        stop=None,
        fires_above=False,
        counts_gas=False,
    )
    return replace(made, **changes)


async def rest(
    world: World,
    asked: Terms,
    *,
    kind: OrderType = OrderType.LIMIT,
    lifetime_ms: int | None = None,
) -> None:
    assert await world.rest(world.parties[0], MARKET, kind, asked, lifetime_ms=lifetime_ms) is not None


async def look(world: World) -> Looked:
    done = await world.keeper.step()
    assert done is not None
    return done


async def the_order(world: World) -> Any:
    [row] = await all_orders(world.db)
    return row


async def write(world: World, work: Any) -> None:
    await world.db.run(work)


def resealed(c: Connection, world: World, **values: Any) -> None:
    """The one order, as if it had been accepted so."""
    [order] = storage.resting(c, CONFIG.chain_id)
    mac = order_mac(world.master, replace(order, **values))
    c.execute(update(orders).values(**values, mac=mac))


async def test_an_order_inside_its_limit_is_executed_at_the_first_look(world: World) -> None:
    await rest(world, terms(world, 99))
    assert (await look(world)).executed == 1
    row = await the_order(world)
    assert (row.state, row.tries, row.plan_id is None) == ("NEW", 1, False)
    assert (await look(world)).resting == 0


async def test_an_order_outside_its_limit_is_ruled_out_without_a_quote_and_costs_no_simulation(world: World) -> None:
    await rest(world, terms(world, 110))
    done = await look(world)
    assert (done.quoted, done.held_back[Why.OUTSIDE]) == (0, 1)
    assert world.chain.asked["eth_simulateV1"] == 0


async def test_an_order_that_was_quoted_outside_is_not_quoted_again_at_the_same_pools(world: World) -> None:
    # Inside the best rate, and outside for its size.
    await rest(world, terms(world, 99, amount=50 * E18, price=_less(world.fair(MARKET), 33)))
    assert (await look(world)).quoted == 1
    await world.next_block(quiet=True)
    assert (await look(world)).quoted == 0


async def test_nothing_is_asked_of_the_node_while_nothing_rests(world: World) -> None:
    world.chain.asked.clear()
    assert (await look(world)).resting == 0
    assert not world.chain.asked


async def test_a_stop_fires_once_and_stays_fired_when_the_price_comes_back(world: World) -> None:
    fair = world.fair(MARKET)
    stop = Ratio.of(fair.num * 101, fair.den * 100)
    await rest(world, terms(world, 150, stop=stop), kind=OrderType.STOP_LOSS_LIMIT)
    assert (await look(world)).triggered == 1
    fired_ms = (await the_order(world)).triggered_ms
    world.clock.advance_ms(BLOCK_MS)
    assert (await look(world)).triggered == 0
    assert (await the_order(world)).triggered_ms == fired_ms == world.clock.now_ms() - BLOCK_MS


async def test_a_stop_that_fires_inside_its_limit_is_executed_at_the_same_look(world: World) -> None:
    await rest(world, terms(world, 95, stop=_less(world.fair(MARKET), -100)), kind=OrderType.STOP_LOSS_LIMIT)
    done = await look(world)
    assert (done.triggered, done.executed) == (1, 1)


async def test_a_stop_that_is_not_reached_holds_the_order_back_however_good_the_price(world: World) -> None:
    fair = world.fair(MARKET)
    stop = Ratio.of(fair.num * 90, fair.den * 100)
    await rest(world, terms(world, 95, stop=stop), kind=OrderType.STOP_LOSS_LIMIT)
    done = await look(world)
    assert (done.executed, done.held_back[Why.UNTRIGGERED]) == (0, 1)


async def test_F49_neither_a_stop_nor_an_order_trusts_pools_that_disagree_with_the_second_opinion(
    world: World,
) -> None:
    await rest(world, terms(world, 95, stop=_less(world.fair(MARKET), -100)), kind=OrderType.STOP_LOSS_LIMIT)
    await rest(world, terms(world, 95))
    world.chain.feeds["chainlink_eth_usd"] = world.chain.feeds["chainlink_eth_usd"] * 104 // 100
    done = await look(world)
    assert (done.triggered, done.executed, done.held_back[Why.GUARD]) == (0, 0, 2)


async def test_an_order_whose_time_is_over_expires_and_its_hold_is_free(world: World) -> None:
    await rest(world, terms(world, 110), lifetime_ms=1_000)
    await look(world)
    world.clock.advance_ms(1_000)
    done = await look(world)
    row = await the_order(world)
    assert (done.expired, row.state, row.reason) == (1, "EXPIRED", "time_over")
    assert not await world.db.read(
        lambda c: c.execute(reservations.select().where(reservations.c.released_ms.is_(None))).all()
    )
    events = await world.db.read(lambda c: c.execute(outbox.select()).all())
    assert [event.payload["state"] for event in events] == ["EXPIRED"]


async def test_a_revoked_key_s_order_is_not_executed(world: World) -> None:
    await rest(world, terms(world, 99))
    key_id = world.parties[0].key_id
    await write(world, lambda c: revoke_key(c, key_id, master=world.master, now_ms=world.clock.now_ms()))
    assert (await look(world)).held_back[Why.KEY] == 1


async def test_an_edited_key_row_executes_nothing(world: World) -> None:
    await rest(world, terms(world, 99))
    await write(world, lambda c: c.execute(update(api_keys).values(can_withdraw=True)))
    assert (await look(world)).held_back[Why.KEY] == 1


async def test_a_paused_wallet_s_order_rests_until_the_pause_ends(world: World) -> None:
    await rest(world, terms(world, 99))
    target = pauses.Target(scope=pauses.Scope.WALLET, subject=world.parties[0].address)
    await write(world, lambda c: pauses.pause(c, target, reason="drill", now_ms=world.clock.now_ms()))
    assert (await look(world)).held_back[Why.PAUSED] == 1
    assert world.chain.asked["eth_simulateV1"] == 0
    await write(world, lambda c: pauses.resume(c, target))
    assert (await look(world)).executed == 1


async def test_a_held_lane_and_a_frozen_chain_take_nothing(world: World) -> None:
    await rest(world, terms(world, 99))
    lane = Lane(chain_id=CONFIG.chain_id, wallet=world.parties[0].address)
    await write(world, lambda c: SqlTxStore().hold_lane(c, lane, "deep_reorg: look"))
    assert (await look(world)).held_back[Why.LANE] == 1
    await write(world, lambda c: SqlTxStore().hold_lane(c, lane, None))
    now_ms = world.clock.now_ms()
    await write(world, lambda c: SqlHeadStore().freeze(c, CONFIG.chain_id, "finality_violated: look", now_ms=now_ms))
    assert (await look(world)).held_back[Why.LANE] == 1


async def test_a_wallet_whose_lane_has_work_waits_until_it_is_mined(world: World) -> None:
    await rest(world, terms(world, 99))
    assert (await look(world)).executed == 1
    await rest(world, terms(world, 99))
    assert (await look(world)).held_back[Why.LANE] == 1
    while world.pending or not world.mined:
        await world.next_block(quiet=True)
    assert (await look(world)).executed == 1


async def test_several_orders_of_a_wallet_go_in_one_look(world: World) -> None:
    for _ in range(3):
        await rest(world, terms(world, 99))
    assert (await look(world)).executed == 3


async def test_funds_that_left_the_wallet_put_the_order_off_for_longer_each_time(world: World) -> None:
    await rest(world, terms(world, 99))
    weth, wallet = MARKET.base.token_address, world.parties[0].address
    world.chain.block(lambda accounts: accounts.balances.update({(weth, wallet): 0}))
    world.clock.advance_ms(BLOCK_MS)
    pauses_ms = []
    for _ in range(3):
        assert (await look(world)).held_back[Why.FUNDS] == 1
        row = await the_order(world)
        assert row.reason.startswith("funds:")
        pauses_ms.append(row.retry_after_ms - world.clock.now_ms())
        assert (await look(world)).held_back[Why.BACKING_OFF] == 1
        world.clock.advance_ms(pauses_ms[-1])
    assert pauses_ms[0] < pauses_ms[1] < pauses_ms[2]


async def test_without_a_node_orders_rest_and_trade_once_it_is_back(world: World) -> None:
    await rest(world, terms(world, 99))
    world.chain.fault = down
    assert (await look(world)).held_back[Why.STALE] == 1
    world.chain.fault = lambda method, params: None
    world.clock.advance_ms(BLOCK_MS)
    assert (await look(world)).executed == 1


async def test_an_answer_that_makes_no_sense_puts_off_its_own_order_only(world: World) -> None:
    await rest(world, terms(world, 98))
    await rest(world, terms(world, 99))
    ask, simulations = world.chain.request, 0

    async def request(method: str, params: Any) -> Any:
        nonlocal simulations
        answer = await ask(method, params)
        if method == "eth_simulateV1":
            simulations += 1
            if simulations == 1:
                answer[0]["calls"][-1]["returnData"] = "0x"
        return answer

    world.chain.request = request  # type: ignore[method-assign]
    done = await look(world)
    assert (done.executed, done.held_back[Why.SIMULATION]) == (1, 1)
    assert [row.retry_after_ms is None for row in await all_orders(world.db)] == [False, True]


async def test_a_node_that_cannot_simulate_leaves_it_to_the_lane(world: World) -> None:
    await rest(world, terms(world, 99))
    unknown = MethodUnavailable("no such method", endpoint="a", method="eth_simulateV1", code=-32601)
    world.chain.fault = lambda method, params: unknown if method == "eth_simulateV1" else None
    assert (await look(world)).executed == 1


async def test_a_token_that_keeps_a_part_of_what_is_transferred_is_not_traded(world: World) -> None:
    await rest(world, terms(world, 99))
    ask = world.chain.request

    async def request(method: str, params: Any) -> Any:
        answer = await ask(method, params)
        if method == "eth_simulateV1":
            bought = answer[0]["calls"][-1]
            bought["returnData"] = "0x" + (int(bought["returnData"], 16) * 99 // 100).to_bytes(32, "big").hex()
        return answer

    world.chain.request = request  # type: ignore[method-assign]
    assert (await look(world)).held_back[Why.SIMULATION] == 1


async def test_a_market_that_is_not_listed_any_more_executes_nothing(world: World) -> None:
    await rest(world, terms(world, 99))
    await write(world, lambda c: resealed(c, world, market="OLDUSDC"))
    assert (await look(world)).held_back[Why.UNLISTED] == 1


async def test_an_order_that_is_cancelled_while_it_is_looked_at_is_not_sent(world: World) -> None:
    await rest(world, terms(world, 99))
    order = (await world.db.read(lambda c: list(storage.resting(c, CONFIG.chain_id))))[0]

    async def cancel(method: str, params: Any) -> Any:
        def work(c: Connection) -> None:
            storage.close_resting(c, order, state=OrderState.CANCELED, reason="asked", now_ms=world.clock.now_ms())

        await world.db.run(work)
        return await ask(method, params)

    ask = world.chain.request

    async def request(method: str, params: Any) -> Any:
        return await (cancel if method == "eth_simulateV1" else ask)(method, params)

    world.chain.request = request  # type: ignore[method-assign]
    assert (await look(world)).held_back[Why.CHANGED] == 1
    assert (await the_order(world)).plan_id is None


async def test_killed_before_its_commit_a_decision_never_was_and_the_next_life_makes_it_again(world: World) -> None:
    await rest(world, terms(world, 99))
    crashpoints.arm("K18", end=die)
    with pytest.raises(Killed):
        await world.keeper.step()
    crashpoints.disarm()
    assert (await the_order(world)).tries == 0
    world.keeper = world.new_keeper()
    assert (await look(world)).executed == 1
    assert (await the_order(world)).tries == 1


async def test_killed_after_its_commit_a_try_stands_and_is_not_made_again(world: World) -> None:
    await rest(world, terms(world, 99))
    crashpoints.arm("K19", end=die)
    with pytest.raises(Killed):
        await world.keeper.step()
    crashpoints.disarm()
    world.keeper = world.new_keeper()
    assert (await look(world)).executed == 0
    row = await the_order(world)
    assert (row.tries, row.plan_id is None) == (1, False)
    while not any(one.swap for one in world.mined):
        await world.next_block(quiet=True)
    assert sum(one.swap is not None for one in world.mined) == 1


def _less(price: Ratio, bps: int) -> Ratio:
    return Ratio.of(price.num * (10_000 - bps), price.den * 10_000)
