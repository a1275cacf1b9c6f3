"""The book in memory against the rows, on both kinds of database."""

from sqlalchemy import Connection

from service.db.engine import Database
from service.orders import storage
from service.orders.keeper.book import RestingBook, busy_wallets, on_its_way
from service.orders.model import OrderState, OrderType
from tests.clock import FakeClock
from tests.service.markets.state.v2chain import ASSETS, CONFIG, DEPLOYMENTS
from tests.service.orders.keeper.test_watching import MARKET, terms
from tests.service.orders.keeper.world import World

CHAIN_ID = CONFIG.chain_id


async def test_the_book_is_what_rests_after_each_change(db: Database, clock: FakeClock) -> None:
    world = World(db, clock, seed=1, wallets=2)
    await world.set_up()
    stop = world.fair(MARKET)
    for party in world.parties:
        await world.rest(party, MARKET, OrderType.LIMIT, terms(world, 110), lifetime_ms=None)
        await world.rest(party, MARKET, OrderType.TAKE_PROFIT_LIMIT, terms(world, 110, stop=stop), lifetime_ms=60_000)
    book = RestingBook(CHAIN_ID, world.master)

    async def is_equal() -> bool:
        found = await db.read(book.read_changes)
        book.apply(found)
        rows = await db.read(lambda c: list(storage.resting(c, CHAIN_ID)))
        return [one.order for one in book] == rows

    assert await is_equal()
    first, second, third, _ = [one.order for one in book]

    def change(c: Connection) -> None:
        storage.close_resting(c, first, state=OrderState.CANCELED, reason="asked", now_ms=clock.now_ms())
        storage.trigger(c, second, master=world.master, now_ms=clock.now_ms())
        # In the same millisecond as it was made.
        storage.put_off(
            c,
            third,
            retry_after_ms=clock.now_ms() + 1,
            reason="funds: none",
            master=world.master,
            now_ms=clock.now_ms(),
        )

    await db.run(change)
    assert await is_equal()
    assert len(book) == 3
    # What did not change is not read again.
    changes = await db.read(book.read_changes)
    assert not changes.orders


async def test_what_is_on_its_way_is_told_until_a_block_has_it(db: Database, clock: FakeClock) -> None:
    world = World(db, clock, seed=1, wallets=2)
    await world.set_up()
    party = world.parties[0]

    async def told(above: int) -> tuple[int, frozenset[int]]:
        def read(c: Connection) -> tuple[int, frozenset[int]]:
            swaps = on_its_way(c, CHAIN_ID, above=above, assets=ASSETS, deployments=DEPLOYMENTS)
            return len(swaps), busy_wallets(c, CHAIN_ID)

        return await db.read(read)

    assert await told(0) == (0, frozenset())
    await world.rest(party, MARKET, OrderType.LIMIT, terms(world, 99), lifetime_ms=None)
    await world.keeper.step()
    queued = await told(0)
    assert queued == (1, frozenset({party.wallet_id}))
    while not any(one.swap for one in world.mined):
        await world.next_block(quiet=True)
    mined_at = world.mined[-1].block.number
    assert await told(mined_at) == (0, frozenset())
    # To who still looks at the block before, it is on its way.
    assert await told(mined_at - 1) == (1, frozenset())
