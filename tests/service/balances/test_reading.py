"""Balances at one block, as the route answers them."""

import pytest
from sqlalchemy import Connection

from chains.errors import RpcUnavailable
from service.balances.reading import read_balances
from service.balances.schemas import BalanceItem, balances_answer
from service.db.engine import Database
from service.journal import reservations
from service.markets.schemas import Block
from tests.clock import FakeClock
from tests.service.books_seed import ETHEREUM, NOW_MS, Owner, seed_owner, seed_plan
from tests.service.ledger_node import LedgerNode, ScriptedServices, scripted_services

BLOCK = Block(number=10, hash="0x" + "0" * 64, age_ms=0)


class Scene:
    """A wallet with 1 ETH and 2.5 USDC at block 10."""

    def __init__(self, services: ScriptedServices, owner: Owner) -> None:
        self.services, self.owner = services, owner
        self.node: LedgerNode = services.chains["ethereum"].node
        assets = services.chains["ethereum"].assets
        self.eth, self.usdc = assets.native, assets.by_symbol("USDC")
        self.node.give(owner.address, self.eth, raw=10**18)
        self.node.give(owner.address, self.usdc, raw=2_500_000)
        self.node.mine(10)

    async def answer(self) -> dict[str, BalanceItem]:
        balances = await read_balances(self.services, self.owner.wallet, chain="ethereum")
        shown = balances_answer(balances, chain="ethereum", wallet=self.owner.address, block=BLOCK)
        return {item.asset: item for item in shown.balances}

    async def hold(self, raw: int) -> None:
        def work(c: Connection) -> None:
            reservations.hold(
                c,
                account_id=self.owner.account_id,
                wallet_id=self.owner.wallet_id,
                chain_id=ETHEREUM,
                plan_id=seed_plan(c, "plan", self.owner),
                amounts={self.usdc.id: raw},
                now_ms=NOW_MS,
            )

        await self.services.db.run(work)


@pytest.fixture
async def scene(sqlite_db: Database, clock: FakeClock) -> Scene:
    return Scene(scripted_services(sqlite_db, clock), await sqlite_db.run(seed_owner))


async def test_all_listed_assets_come_from_one_node_call_at_the_block_that_is_named(scene: Scene) -> None:
    scene.node.calls.clear()
    balances = await read_balances(scene.services, scene.owner.wallet, chain="ethereum")
    assert scene.node.calls == ["eth_getBlockByNumber", "eth_call"]
    assert [row.asset for row in balances.rows] == list(scene.services.chains["ethereum"].assets)
    assert balances.block.ref == scene.node.ref(10)


async def test_amounts_are_decimal_text_and_raw_text(scene: Scene) -> None:
    item = (await scene.answer())["USDC"]
    assert (item.status, item.total, item.available, item.reserved, item.raw) == ("ok", "2.5", "2.5", "0", "2500000")
    assert item.asset_id == scene.usdc.id


async def test_what_is_reserved_is_not_available(scene: Scene) -> None:
    await scene.hold(1_000_000)
    item = (await scene.answer())["USDC"]
    assert (item.total, item.available, item.reserved) == ("2.5", "1.5", "1")


async def test_available_is_never_negative(scene: Scene) -> None:
    await scene.hold(9_000_000)
    item = (await scene.answer())["USDC"]
    assert (item.total, item.available, item.reserved) == ("2.5", "0", "9")


async def test_a_token_whose_call_fails_is_unknown_and_never_zero(scene: Scene) -> None:
    scene.node.broken.add(scene.usdc.token_address)
    items = await scene.answer()
    item = items["USDC"]
    assert (item.status, item.total, item.available, item.raw) == ("unknown", None, None, None)
    assert items["ETH"].total == "1"


async def test_a_node_that_is_down_is_an_error_and_not_an_empty_wallet(scene: Scene) -> None:
    scene.node.down = True
    with pytest.raises(RpcUnavailable):
        await scene.answer()
