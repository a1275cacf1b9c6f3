"""Resting orders through random blocks of order flow, reorgs, reverts, refusals, cancels and deaths of the keeper.

`python -m scripts.bench keeper` runs the same for thousands of blocks.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from chains import crashpoints
from service.db.engine import Database
from tests.clock import FakeClock
from tests.service.orders.keeper.chain import down
from tests.service.orders.keeper.oracle import Oracle
from tests.service.orders.keeper.world import DEPTH, World

BLOCKS: Final = 45
SEEDS: Final = (1, pytest.param(2, marks=pytest.mark.deep))


class Killed(BaseException):
    """The process ends here: nothing that was not committed is there any more."""


def die() -> None:
    raise Killed


@pytest.fixture(autouse=True)
def unarmed() -> Iterator[None]:
    yield
    crashpoints.disarm()


async def look(world: World, oracle: Oracle) -> None:
    """At the head, by a keeper that may die at its points, or find no node."""
    rng = world.rng
    if rng.random() < 0.03:
        calm, world.chain.fault = world.chain.fault, down
        await world.keeper.step()
        world.chain.fault = calm
        return
    await oracle.before_look()
    if rng.random() < 0.15:
        crashpoints.arm(rng.choice(("K18", "K18:2", "K19", "K19:2")), end=die)
    try:
        world.note(await world.keeper.step())
    except Killed:
        world.counts.deaths += 1
        world.keeper = world.new_keeper()
        return
    finally:
        crashpoints.disarm()
    await oracle.after_look()


async def run(db: Database, clock: FakeClock, *, seed: int, blocks: int, wallets: int = 8) -> tuple[World, Oracle]:
    """So many blocks with new orders, then enough without that all is confirmed."""
    world = World(db, clock, seed=seed, wallets=wallets)
    await world.set_up()
    oracle, rng = Oracle(world), world.rng
    while world.counts.blocks < blocks:
        for _ in range(rng.randint(0, 3)):
            await world.rest(rng.choice(world.parties), *world.terms(), lifetime_ms=world.lifetime_ms())
        if rng.random() < 0.1:
            await world.cancel_one()
        await world.next_block()
        if rng.random() < 0.1:
            await world.reorg()
        await look(world, oracle)
    for _ in range(3 * DEPTH):
        await world.next_block()
    await oracle.at_end(world.mined)
    return world, oracle


@pytest.mark.parametrize("seed", SEEDS)
async def test_orders_trade_inside_their_limits_only_and_none_that_could_rests(
    sqlite_db: Database, clock: FakeClock, seed: int
) -> None:
    world, oracle = await run(sqlite_db, clock, seed=seed, blocks=BLOCKS)
    # Of nothing, all of it would hold.
    assert oracle.seen_executable > 5
    assert oracle.traded > 5
    assert world.counts.reorgs > 0


@pytest.mark.deep
@pytest.mark.timeout(600)
async def test_the_same_holds_for_hundreds_of_blocks(sqlite_db: Database, clock: FakeClock) -> None:
    world, oracle = await run(sqlite_db, clock, seed=11, blocks=400)
    assert oracle.seen_executable > 100
    assert oracle.traded > 80
    assert min(world.counts.reorgs, world.counts.deaths) > 5


async def test_orders_for_which_there_is_not_room_for_all_are_not_sent_to_revert(
    sqlite_db: Database, clock: FakeClock
) -> None:
    world = World(sqlite_db, clock, seed=1, wallets=12)
    await world.set_up()
    # Whatever the order in which a block has them, none is worse by more than this than when it was priced.
    world.slippages_bps = (500,)
    await world.rest_alike(usd=60_000, room_for=4)
    for _ in range(3 * DEPTH):
        world.note(await world.keeper.step())
        await world.next_block(quiet=True)
    looks = world.counts.looks
    oracle = Oracle(world)
    # Other ways than the direct pair have room for some more.
    assert 4 <= looks.executed < 12
    assert (oracle.traded, oracle.reverted, world.counts.refused) == (looks.executed, 0, 0)
