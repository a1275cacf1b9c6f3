"""What tries of a resting order take of its key's gas a day: the first what was counted with it, each other its own."""

from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select

from chains.types import Address
from service.auth import budgets, keys
from service.auth.caveats import Cost, Counter, Kind, Tally, limits
from service.auth.key_model import NewKey, Permission
from service.auth.restrictions import Restrictions
from service.db.engine import Database
from service.db.models import key_usage
from service.orders.keeper.deciding import Why
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import CONFIG, Reserves
from tests.service.orders.keeper import chain as on_chain
from tests.service.orders.keeper.chain import token
from tests.service.orders.keeper.test_watching import MARKET, look, rest, terms, the_order
from tests.service.orders.keeper.world import GAS_PRICE_WEI, World

ACCEPTED_GAS_WEI: Final = 500_000 * GAS_PRICE_WEI
"""What the world's orders set aside, and what is counted with them: more than one try takes, less than two."""
GAS: Final = Tally(counter=Counter.GAS, of=str(CONFIG.chain_id))


@pytest.fixture
async def world(sqlite_db: Database, clock: FakeClock) -> World:
    made = World(sqlite_db, clock, seed=1, wallets=1)
    await made.set_up()
    return made


async def accept(world: World, restrictions: Restrictions) -> str:
    """A resting order of a key with these limits, counted as its acceptance counts it."""
    party = world.parties[0]
    new = NewKey(
        account_id=party.account_id,
        wallet_id=party.wallet_id,
        label="limited",
        permissions=frozenset({Permission.TRADE}),
        restrictions=restrictions,
    )
    cost = Cost(
        kind=Kind.ORDER,
        chain_id=CONFIG.chain_id,
        amounts={MARKET.base.id: 1},
        usd=1,
        gas_wei=ACCEPTED_GAS_WEI,
        used={},
    )

    def write(c: Connection) -> str:
        now_ms = world.clock.now_ms()
        key = keys.create_key(c, new, master=world.master, now_ms=now_ms).key
        budgets.charge(c, key.id, caveats=limits(key), cost=cost, now_ms=now_ms)
        return key.id

    key_id = await world.db.run(write)
    world.parties[0] = replace(party, key_id=key_id)
    await rest(world, terms(world, 99))
    return key_id


def overtake(world: World) -> None:
    """Somebody else sells, and the price is gone."""
    path = [token(name).token_address for name in ("WETH", "USDC")]

    def sell(accounts: on_chain.Accounts) -> None:
        on_chain.sell(accounts.reserves, path, world.worth("WETH", 2_000_000))

    world.chain.block(sell)


async def reverted(world: World) -> None:
    """The order is tried, somebody is faster, the swap reverts; then the price is there again, and the pause over."""
    assert (await look(world)).executed == 1
    await world.next_block(quiet=True)
    before: dict[Address, Reserves] = dict(world.chain.state.reserves)
    overtake(world)
    while (row := await the_order(world)).retry_after_ms is None:
        assert row.state == "NEW"
        await world.next_block(quiet=True)
    assert (row.tries, row.reason, row.gas_wei > 0) == (1, "swap_reverted", True)
    world.clock.advance_ms(max(0, row.retry_after_ms - world.clock.now_ms()))
    world.chain.block(lambda accounts: accounts.reserves.update(before))


async def used(world: World, key_id: str) -> Any:
    return await world.db.read(lambda c: budgets.used(c, key_id, now_ms=world.clock.now_ms()))


async def test_a_key_whose_gas_of_the_day_is_one_try_s_makes_the_next_on_the_next_day(world: World) -> None:
    key_id = await accept(world, Restrictions(daily_gas={CONFIG.chain_id: ACCEPTED_GAS_WEI}))
    await reverted(world)
    assert (await used(world, key_id))[GAS] == ACCEPTED_GAS_WEI

    done = await look(world)
    assert (done.executed, done.held_back[Why.BUDGET]) == (0, 1)
    row = await the_order(world)
    assert (row.state, row.plan_id, row.tries) == ("NEW", None, 1)
    assert row.reason.startswith("budget: this key's limit a day")
    assert (await used(world, key_id))[GAS] == ACCEPTED_GAS_WEI
    # Not asked again at each look.
    assert (await look(world)).held_back[Why.BACKING_OFF] == 1

    world.clock.advance_ms(budgets.DAY_MS)
    world.chain.block()
    assert (await look(world)).executed == 1
    assert 0 < (await used(world, key_id))[GAS] <= ACCEPTED_GAS_WEI


async def test_another_try_takes_what_it_sets_aside_for_gas_and_nothing_else(world: World) -> None:
    gas = {CONFIG.chain_id: 2 * ACCEPTED_GAS_WEI}
    once = Restrictions(daily_orders=1, daily_usd=1, max_order_usd=1, daily_sold={MARKET.base.id: 1}, daily_gas=gas)
    key_id = await accept(world, once)
    await reverted(world)
    before = await used(world, key_id)
    assert (await look(world)).executed == 1
    after = await used(world, key_id)
    # At least what the swap pays by then.
    assert after[GAS] - before[GAS] >= on_chain.SWAP_GAS * GAS_PRICE_WEI
    assert {**after, GAS: 0} == {**before, GAS: 0}


async def test_the_first_try_takes_nothing_beyond_what_was_counted_with_the_order(world: World) -> None:
    key_id = await accept(world, Restrictions(daily_gas={CONFIG.chain_id: ACCEPTED_GAS_WEI}))
    assert (await look(world)).executed == 1
    assert (await used(world, key_id))[GAS] == ACCEPTED_GAS_WEI


async def test_of_a_key_without_a_limit_of_gas_nothing_is_counted(world: World) -> None:
    await accept(world, Restrictions())
    await reverted(world)
    assert (await look(world)).executed == 1
    assert not await world.db.read(lambda c: c.execute(select(key_usage)).all())


async def test_a_try_that_its_lane_refused_has_paid_nothing_and_leaves_its_gas_to_the_next(world: World) -> None:
    key_id = await accept(world, Restrictions(daily_gas={CONFIG.chain_id: ACCEPTED_GAS_WEI}))
    assert (await look(world)).executed == 1
    before: dict[Address, Reserves] = dict(world.chain.state.reserves)
    overtake(world)
    await world.next_block(quiet=True)
    row = await the_order(world)
    assert (row.plan_id, row.reason.partition(":")[0]) == (None, "simulation_reverted")
    world.clock.advance_ms(row.retry_after_ms - world.clock.now_ms())
    world.chain.block(lambda accounts: accounts.reserves.update(before))
    assert (await look(world)).executed == 1
    assert (await the_order(world)).tries == 2
    assert (await used(world, key_id))[GAS] == ACCEPTED_GAS_WEI
