"""Resting orders that something else than the service has written are closed; the others go on (F79)."""

from typing import Any

import pytest
from sqlalchemy import Column, Connection

from contracts.ratio import Ratio
from service.audit.acts import ORDER_ALTERED, ORDER_CANCELLED
from service.audit.appending import append
from service.audit.model import INSTALLATION, SYSTEM, NewEntry
from service.audit.reading import Wanted, newest
from service.db.engine import Database
from service.db.models import orders
from service.db.txstore import SqlTxStore
from service.journal import reservations
from service.markets.trades import Side
from service.orders import storage
from service.orders.keeper.deciding import Terms, Why
from service.orders.keeper.looks import Looked
from service.orders.model import Order, OrderState, OrderType
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import ASSETS
from tests.service.orders.keeper.chain import down
from tests.service.orders.keeper.world import BLOCK_MS, World
from tests.service.orders.tampering import columns, copy, name_of, read, tamper, write

MARKET = ASSETS.markets["WETHUSDC"]
NOT_RESTING = frozenset({"state", "plan_id", "chain_id"})
"""Edited so, the chain's keeper does not see it any more: nothing is done for it."""


@pytest.fixture
async def world(sqlite_db: Database, clock: FakeClock) -> World:
    made = World(sqlite_db, clock, seed=1, wallets=2)
    await made.set_up()
    return made


async def rest(world: World, party: int, percent: int, **more: Any) -> Order:
    """A sale of one WETH at so many percent of the price."""
    fair = world.fair(MARKET)
    asked = Terms(
        side=Side.SELL,
        exact="in",
        amount=10**18,
        price=Ratio.of(fair.num * percent, fair.den * 100),
        stop=more.get("stop"),
        fires_above=True,
        counts_gas=False,
    )
    kind = OrderType.LIMIT if asked.stop is None else OrderType.TAKE_PROFIT_LIMIT
    made = await world.rest(world.parties[party], MARKET, kind, asked, lifetime_ms=more.get("lifetime_ms"))
    assert made is not None
    return made


async def look(world: World) -> Looked:
    done = await world.keeper.step()
    assert done is not None
    return done


def plans_of(url: str, order_id: int) -> int:
    [(count,)] = read(url, "SELECT count(*) FROM plans WHERE id LIKE ?", f"order:{order_id}:%")
    return int(count)


def state_of(url: str, order_id: int) -> tuple[Any, ...]:
    [found] = read(url, "SELECT state, reason, mac FROM orders WHERE id = ?", order_id)
    return tuple(found)


def held_by(url: str, order_id: int) -> int:
    [(count,)] = read(url, "SELECT count(*) FROM reservations WHERE order_id = ? AND released_ms IS NULL", order_id)
    return int(count)


async def recorded(world: World) -> list[tuple[str | None, int, int | None]]:
    found = await world.db.read(lambda c: newest(c, Wanted(act=ORDER_ALTERED), limit=9))
    return [(entry.subject, entry.chain, entry.account_id) for entry in found]


@pytest.mark.parametrize("column", columns(orders), ids=name_of)
async def test_an_order_with_one_field_edited_is_closed_and_the_honest_one_beside_it_is_executed(
    world: World, sqlite_url: str, column: Column[Any]
) -> None:
    edited, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    assert tamper(sqlite_url, column, edited.id)
    done = await look(world)
    assert (plans_of(sqlite_url, edited.id), plans_of(sqlite_url, honest.id), done.executed) == (0, 1, 1)
    if column.name in NOT_RESTING:
        return
    [(order_id,)] = read(sqlite_url, "SELECT id FROM orders WHERE id <> ?", honest.id)
    assert done.altered == 1
    assert state_of(sqlite_url, order_id) == ("CANCELED", "altered", None)
    assert await recorded(world) == [(str(order_id), INSTALLATION, None)]
    # Closed once: the next look has nothing to do with it.
    assert (await look(world)).altered == 0


async def test_what_a_closed_order_held_is_free_and_its_account_is_told(world: World, sqlite_url: str) -> None:
    edited = await rest(world, 0, 99)
    assert held_by(sqlite_url, edited.id) == 2
    write(sqlite_url, "UPDATE orders SET min_bought = printf('%078d', 1)")
    assert (await look(world)).altered == 1
    assert held_by(sqlite_url, edited.id) == 0
    told = read(sqlite_url, "SELECT account_id, payload FROM outbox WHERE kind = 'order' ORDER BY seq DESC LIMIT 1")
    assert told[0][0] == edited.account_id
    assert '"reason":"altered"' in told[0][1]


async def test_nobody_else_is_told_of_an_order_whose_account_was_edited(world: World, sqlite_url: str) -> None:
    edited = await rest(world, 0, 99)
    write(sqlite_url, "UPDATE orders SET account_id = ?", world.parties[1].account_id)
    assert (await look(world)).altered == 1
    assert read(sqlite_url, "SELECT count(*) FROM outbox WHERE kind = 'order'") == [(0,)]
    assert state_of(sqlite_url, edited.id)[:2] == ("CANCELED", "altered")


async def test_an_order_from_before_there_were_macs_is_closed_with_what_it_held(world: World, sqlite_url: str) -> None:
    old, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    write(sqlite_url, "UPDATE orders SET mac = NULL WHERE id = ?", old.id)
    done = await look(world)
    assert (done.altered, done.executed, plans_of(sqlite_url, honest.id)) == (1, 1, 1)
    assert (state_of(sqlite_url, old.id)[:2], held_by(sqlite_url, old.id)) == (("CANCELED", "altered"), 0)


async def test_an_order_that_nobody_sent_is_closed(world: World, sqlite_url: str) -> None:
    """A copy of a right one, MAC and all, so that it would be executed twice."""
    honest = await rest(world, 0, 99)
    copy(sqlite_url, orders, id=str(honest.id + 1), client_id="'once more'")
    done = await look(world)
    assert (done.altered, done.executed) == (1, 1)
    assert plans_of(sqlite_url, honest.id + 1) == 0


@pytest.mark.parametrize("column", ["price", "max_sold", "quote", "venue", "time_in_force", "slippage_bps"])
async def test_a_row_that_makes_no_sense_keeps_no_other_order(world: World, sqlite_url: str, column: str) -> None:
    edited, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    write(sqlite_url, f"UPDATE orders SET {column} = 'no/sense' WHERE id = ?", edited.id)
    done = await look(world)
    assert (done.altered, done.executed, plans_of(sqlite_url, honest.id)) == (1, 1, 1)
    assert state_of(sqlite_url, edited.id)[:2] == ("CANCELED", "altered")
    assert (held_by(sqlite_url, edited.id), (await look(world)).altered) == (0, 0)


async def test_an_edit_that_the_book_does_not_see_is_found_before_the_order_is_acted_on(
    world: World, sqlite_url: str
) -> None:
    """Read into the book at the first look; edited then, without a trace in what the book compares."""
    order = await rest(world, 0, 99)
    world.chain.fault = down
    assert (await look(world)).held_back[Why.STALE] == 1
    write(sqlite_url, "UPDATE orders SET min_bought = printf('%078d', 1)")
    world.chain.fault = lambda method, params: None
    world.clock.advance_ms(BLOCK_MS)
    assert (await look(world)).altered == 1
    assert (plans_of(sqlite_url, order.id), state_of(sqlite_url, order.id)[:2]) == (0, ("CANCELED", "altered"))


@pytest.mark.parametrize("edit", ["quote = '{}'", "price = 'no/sense'", "expires_ms = expires_ms + 10000000"])
async def test_an_edited_order_whose_time_is_over_is_closed_as_one(world: World, sqlite_url: str, edit: str) -> None:
    order = await rest(world, 0, 101, lifetime_ms=BLOCK_MS)
    await look(world)
    write(sqlite_url, f"UPDATE orders SET {edit}")
    world.clock.advance_ms(2 * BLOCK_MS)
    done = await look(world)
    assert (done.altered, done.expired, state_of(sqlite_url, order.id)[1]) == (1, 0, "altered")


async def test_a_stop_that_the_database_says_was_reached_is_not_fired(world: World, sqlite_url: str) -> None:
    order = await rest(world, 0, 99, stop=Ratio.of(world.fair(MARKET).num * 2, world.fair(MARKET).den))
    assert (await look(world)).held_back[Why.UNTRIGGERED] == 1
    write(sqlite_url, "UPDATE orders SET triggered_ms = created_ms")
    done = await look(world)
    assert (done.altered, done.executed, plans_of(sqlite_url, order.id)) == (1, 0, 0)


class TestRolledBack:
    """An older version of a row, which had its MAC, put back whole: what is still there of its tries tells on it."""

    async def tried(self, world: World, url: str) -> tuple[Order, list[Any]]:
        """An order that was tried, and its row from before."""
        order = await rest(world, 0, 99)
        [before] = read(url, "SELECT mac, quote FROM orders")
        assert (await look(world)).executed == 1
        write(url, "UPDATE reservations SET plan_id = NULL, order_id = ?", order.id)
        write(url, "UPDATE intents SET state = 'rejected', reject_reason = 'x'")
        return order, list(before)

    def put_back(self, url: str, before: list[Any]) -> None:
        write(url, "UPDATE orders SET state = 'NEW', plan_id = NULL, tries = 0, mac = ?, quote = ?", *before)

    async def test_its_tries_tell(self, world: World, sqlite_url: str) -> None:
        order, before = await self.tried(world, sqlite_url)
        self.put_back(sqlite_url, before)
        done = await look(world)
        assert (done.executed, done.altered) == (0, 1)
        assert (plans_of(sqlite_url, order.id), state_of(sqlite_url, order.id)[:2]) == (1, ("CANCELED", "altered"))

    async def test_its_plan_tells_when_its_tries_are_gone(self, world: World, sqlite_url: str) -> None:
        order, before = await self.tried(world, sqlite_url)
        self.put_back(sqlite_url, before)
        write(sqlite_url, "DELETE FROM order_plans")
        done = await look(world)
        assert (done.executed, done.altered) == (0, 1)
        assert (plans_of(sqlite_url, order.id), state_of(sqlite_url, order.id)[:2]) == (1, ("CANCELED", "altered"))


async def cancelled(world: World, order: Order, *, logged: bool) -> None:
    """As a client's key cancels it, with its entry in the log or without."""
    now_ms = world.clock.now_ms()
    entry = NewEntry(
        act=ORDER_CANCELLED, actor=SYSTEM, details={"orders": [order.id], "client_ids": [], "why": "asked"}
    )

    def work(c: Connection) -> None:
        storage.close_resting(c, order, state=OrderState.CANCELED, reason="asked", now_ms=now_ms)
        reservations.release_order(c, order.id, now_ms)
        if logged:
            append(c, [entry], master=world.master, now_ms=now_ms, chain=order.account_id)

    await world.db.run(work)


def put_back(url: str, order: Order, row: tuple[Any, ...]) -> None:
    """The order's row as it was, MAC and all, and what it held."""
    names = ", ".join(f'"{column.name}" = ?' for column in orders.columns)
    write(url, f"UPDATE orders SET {names} WHERE id = ?", *row, order.id)
    write(url, "UPDATE reservations SET released_ms = NULL WHERE order_id = ?", order.id)


def row_of(url: str, order: Order) -> tuple[Any, ...]:
    [row] = read(
        url, f"SELECT {', '.join(column.name for column in orders.columns)} FROM orders WHERE id = ?", order.id
    )
    return tuple(row)


async def test_a_cancelled_order_that_is_put_back_whole_is_known_by_who_keeps_it(world: World, sqlite_url: str) -> None:
    order = await rest(world, 0, 110)
    row = row_of(sqlite_url, order)
    await look(world)
    await cancelled(world, order, logged=False)
    await look(world)
    put_back(sqlite_url, order, row)
    assert ((await look(world)).altered, plans_of(sqlite_url, order.id)) == (1, 0)
    assert state_of(sqlite_url, order.id) == ("CANCELED", "altered", None)
    assert held_by(sqlite_url, order.id) == 0
    assert await recorded(world) == [(str(order.id), INSTALLATION, None)]


async def test_a_cancelled_order_that_is_put_back_whole_is_known_by_the_log_after_a_start(
    world: World, sqlite_url: str
) -> None:
    order, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    row = row_of(sqlite_url, order)
    await cancelled(world, order, logged=True)
    put_back(sqlite_url, order, row)
    done = await look(world)
    assert (done.altered, plans_of(sqlite_url, order.id), plans_of(sqlite_url, honest.id)) == (1, 0, 1)
    assert state_of(sqlite_url, order.id) == ("CANCELED", "altered", None)


async def test_an_order_that_was_tried_and_rests_again_is_none_that_was_put_back(world: World, sqlite_url: str) -> None:
    order = await rest(world, 0, 99)
    await look(world)
    await look(world)

    def again(c: Connection) -> None:
        tried = storage.order_by_id(c, order.id, wallet_id=order.wallet_id)
        assert tried is not None
        assert tried.plan_id is not None
        SqlTxStore().reject_plan(c, tried.plan_id, "simulation_reverted: no")
        now_ms = world.clock.now_ms()
        later, why = now_ms + 60_000, "simulation_reverted: no"
        storage.rest_again(
            c, tried, plan_id=tried.plan_id, retry_after_ms=later, reason=why, master=world.master, now_ms=now_ms
        )
        reservations.move_to_order(c, tried.plan_id, order.id)

    await world.db.run(again)
    done = await look(world)
    assert (done.altered, state_of(sqlite_url, order.id)[0]) == (0, "NEW")
    assert done.held_back[Why.BACKING_OFF] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET tries = 'x' WHERE id = :id",
        "UPDATE orders SET updated_ms = x'ff' WHERE id = :id",
        "UPDATE orders SET retry_after_ms = 1.5 WHERE id = :id",
        "UPDATE orders SET mac = 4611686018427387904 WHERE id = :id",
        "UPDATE orders SET key_id = 7 WHERE id = :id",
    ],
)
async def test_a_value_of_another_kind_closes_its_own_order_and_no_other(
    world: World, sqlite_url: str, statement: str
) -> None:
    edited, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    write(sqlite_url, statement.replace(":id", str(edited.id)))
    done = await look(world)
    assert (done.altered, plans_of(sqlite_url, edited.id), plans_of(sqlite_url, honest.id)) == (1, 0, 1)
    assert state_of(sqlite_url, edited.id)[:2] == ("CANCELED", "altered")


@pytest.mark.parametrize(
    ("table", "column", "value", "where"),
    [
        ("reservations", "raw", "x", "order_id = :id"),
        ("accounts", "event_seq", 9223372036854775807, "id = :account"),
        ("wallets", "address", 7, "id = :wallet"),
        ("api_keys", "created_ms", "x", "id = :key"),
    ],
)
async def test_a_row_that_one_order_depends_on_and_that_makes_no_sense_holds_back_that_order_alone(
    world: World, sqlite_url: str, table: str, column: str, value: Any, where: str
) -> None:
    edited, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    for name, found in (("id", edited.id), ("account", edited.account_id), ("wallet", edited.wallet_id)):
        where = where.replace(f":{name}", str(found))
    where = where.replace(":key", f"'{edited.key_id}'")
    [(was,)] = read(sqlite_url, f"SELECT {column} FROM {table} WHERE {where} LIMIT 1")
    write(sqlite_url, f"UPDATE {table} SET {column} = ? WHERE {where}", value)
    done = await look(world)
    assert (done.executed, plans_of(sqlite_url, edited.id), plans_of(sqlite_url, honest.id)) == (1, 0, 1)
    assert done.held_back[Why.UNUSABLE] + done.held_back[Why.KEY] == 1
    assert state_of(sqlite_url, edited.id)[0] == "NEW"
    if table != "reservations":
        write(sqlite_url, f"UPDATE {table} SET {column} = ? WHERE {where}", was)
        assert (await look(world)).executed == 1


async def test_a_call_on_its_way_that_makes_no_sense_keeps_no_order(world: World, sqlite_url: str) -> None:
    await rest(world, 0, 99)
    assert (await look(world)).executed == 1
    write(sqlite_url, "UPDATE intents SET data = 4611686018427387904, wallet = x'01'")
    honest = await rest(world, 1, 99)
    assert (await look(world)).executed == 1
    assert plans_of(sqlite_url, honest.id) == 1


async def test_an_altered_order_that_cannot_be_closed_keeps_no_other(world: World, sqlite_url: str) -> None:
    edited, honest = await rest(world, 0, 99), await rest(world, 1, 99)
    write(sqlite_url, "UPDATE orders SET max_sold = printf('%078d', 1) WHERE id = ?", edited.id)
    write(sqlite_url, "UPDATE accounts SET event_seq = 9223372036854775807 WHERE id = ?", edited.account_id)
    done = await look(world)
    assert (done.executed, done.altered, plans_of(sqlite_url, honest.id)) == (1, 0, 1)
    assert plans_of(sqlite_url, edited.id) == 0
