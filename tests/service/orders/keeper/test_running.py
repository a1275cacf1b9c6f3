"""One process keeps a chain's orders, and one that was taken for dead writes nothing."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest
from sqlalchemy import Connection

from chains.tx.leases import LeaseLost, LeaseName, Term
from service.db.engine import Database
from service.orders.keeper.running import Keeper, keeper_lease
from service.orders.model import OrderType
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import CONFIG
from tests.service.orders.keeper.test_watching import MARKET, terms, the_order
from tests.service.orders.keeper.world import World


class Held:
    """Leases that a test gives and takes."""

    def __init__(self) -> None:
        self.has = True
        self.now = Term("first")
        self.given: list[LeaseName] = []

    def holds(self, name: LeaseName) -> bool:
        return self.has

    async def claim(self, names: Collection[LeaseName]) -> None:
        assert list(names) == [keeper_lease(CONFIG.chain_id)]

    def unwanted(self) -> frozenset[LeaseName]:
        return frozenset({keeper_lease(CONFIG.chain_id)})

    async def give_back(self, names: Collection[LeaseName]) -> None:
        self.given += names

    def term(self) -> Term | None:
        return self.now

    def guard(self, uow: Connection, term: Term | None) -> None:
        if term != self.now:
            raise LeaseLost("taken for dead")


@pytest.fixture
async def world(sqlite_db: Database, clock: FakeClock) -> World:
    made = World(sqlite_db, clock, seed=1, wallets=1)
    await made.set_up()
    await made.rest(made.parties[0], MARKET, OrderType.LIMIT, terms(made, 99), lifetime_ms=None)
    return made


@pytest.fixture
def leases() -> Held:
    return Held()


@pytest.fixture
def keeper(world: World, leases: Held) -> Keeper:
    return world.new_keeper(leases)


async def test_without_the_lease_nothing_is_looked_at(world: World, leases: Held, keeper: Keeper) -> None:
    leases.has = False
    assert await keeper.step() is None
    assert (await the_order(world)).plan_id is None


async def test_with_the_lease_orders_are_executed_and_an_unwanted_lease_is_given_back(
    world: World, leases: Held, keeper: Keeper
) -> None:
    done = await keeper.step()
    assert done is not None
    assert done.executed == 1
    assert leases.given == [keeper_lease(CONFIG.chain_id)]


async def test_a_process_that_is_taken_for_dead_in_the_middle_of_a_look_writes_nothing(
    world: World, leases: Held, keeper: Keeper
) -> None:
    ask = world.chain.request

    async def request(method: str, params: Any) -> Any:
        if method == "eth_simulateV1":
            leases.now = Term("second")
        return await ask(method, params)

    world.chain.request = request  # type: ignore[method-assign]
    with pytest.raises(LeaseLost):
        await keeper.step()
    row = await the_order(world)
    assert (row.plan_id, row.tries) == (None, 0)


async def test_the_loop_executes_what_rests_and_ends_when_it_is_told_to(world: World, keeper: Keeper) -> None:
    stop = asyncio.Event()
    loop = asyncio.create_task(keeper.run(stop))
    async with asyncio.timeout(10):
        await world.woken.event.wait()
    assert (await the_order(world)).plan_id is not None
    stop.set()
    async with asyncio.timeout(10):
        await loop


async def test_a_lost_race_does_not_end_the_loop(world: World, leases: Held, keeper: Keeper) -> None:
    turns = 0
    claim = leases.claim

    async def claims(names: Collection[LeaseName]) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise LeaseLost("not now")
        await claim(names)

    leases.claim = claims  # type: ignore[method-assign]
    stop = asyncio.Event()
    loop = asyncio.create_task(keeper.run(stop))
    async with asyncio.timeout(20):
        await world.woken.event.wait()
    stop.set()
    await loop
    assert turns > 1
