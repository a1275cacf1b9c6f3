"""What keeps an asset in the list: whatever a reorg could still bring back, and what wallets have."""

from sqlalchemy import Connection, update

from chains.tx.model import Outcome
from contracts.assets import AssetId, load_assets
from service.assets.usage import Usage, usage_of
from service.db.engine import Database
from service.db.models import orders, txs, withdrawals
from service.journal import reservations
from service.journal.opening import open_balances
from service.orders.model import OrderState
from service.withdrawals.model import WithdrawalState
from tests.service.books_seed import ETHEREUM, NOW_MS, block_at, seed_owner
from tests.service.trading_seed import USDC, USDT, Seeded, mine, reserve, seed_order, seed_withdrawal, send

NOTHING = Usage(orders=(), withdrawals=(), transactions=(), holds=0, balances=())
WBTC = load_assets(ETHEREUM).by_symbol("WBTC")


async def used(db: Database, asset: AssetId = USDC.id) -> Usage:
    return await db.read(lambda c: usage_of(c, asset, chain_id=ETHEREUM))


def mined(c: Connection, seeded: Seeded) -> None:
    """All its transactions are mined, and its hold is released."""
    for number, tx in enumerate(reserve(c, seeded.plan), 1):
        mine(c, tx, send(c, tx, number=number), outcome=Outcome.SUCCEEDED)
    reservations.release(c, seeded.plan.id, NOW_MS)


async def test_an_asset_that_nobody_uses_is_free(db: Database) -> None:
    assert await used(db) == NOTHING
    await db.run(seed_order)
    assert await used(db, WBTC.id) == NOTHING


async def test_an_open_order_uses_both_its_assets_and_holds_one(db: Database) -> None:
    seeded = await db.run(seed_order)
    assert await used(db) == Usage(orders=(seeded.id,), withdrawals=(), transactions=(), holds=1, balances=())
    bought = await used(db, USDT.id)
    assert (bought.orders, bought.holds, bought.under_way) == ((seeded.id,), 0, True)


async def test_a_filled_order_uses_its_assets_until_its_transactions_are_final(db: Database) -> None:
    seeded = await db.run(seed_order)
    await db.run(lambda c: mined(c, seeded))
    await db.run(lambda c: c.execute(update(orders).values(state=str(OrderState.FILLED))))
    assert (await used(db)).orders == (seeded.id,)
    await db.run(lambda c: c.execute(update(txs).values(state="final")))
    assert await used(db) == NOTHING


async def test_a_withdrawal_uses_its_asset_until_it_is_closed(db: Database) -> None:
    seeded = await db.run(seed_withdrawal)
    assert (await used(db)).withdrawals == (seeded.id,)
    await db.run(lambda c: mined(c, seeded))
    await db.run(lambda c: c.execute(update(txs).values(state="final")))
    assert (await used(db)).withdrawals == (seeded.id,)
    await db.run(lambda c: c.execute(update(withdrawals).values(state=str(WithdrawalState.FINAL))))
    assert await used(db) == NOTHING


async def test_what_wallets_have_by_their_books_is_told(db: Database) -> None:
    def seed(c: Connection) -> None:
        for number, raw in ((1, 7), (2, 0)):
            owner = seed_owner(c, number)
            amounts = {USDC.id: raw}
            open_balances(c, owner.wallet_id, chain_id=ETHEREUM, amounts=amounts, block=block_at(1))

    await db.run(seed)
    found = await used(db)
    assert ([raw for _, raw in found.balances], found.under_way) == ([7], False)
