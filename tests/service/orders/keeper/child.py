"""A process that keeps one resting order and is killed at a point: `CAMBIST_CRASH_AT=K18 python -m ... DATABASE`."""

import asyncio
import sys

from chains import crashpoints
from service.db.engine import Database
from service.orders.model import OrderType
from tests.clock import FakeClock
from tests.service.orders.keeper.test_watching import MARKET, terms
from tests.service.orders.keeper.world import World


async def main(database_url: str) -> None:
    db = await Database.open(database_url)
    world = World(db, FakeClock(), seed=1, wallets=1)
    await world.set_up()
    await world.rest(world.parties[0], MARKET, OrderType.LIMIT, terms(world, 99), lifetime_ms=None)
    crashpoints.arm()
    await world.keeper.step()
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
