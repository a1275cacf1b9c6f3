"""The SQL head store keeps the contract of the follower's stores, on both databases, and a freeze holds all lanes."""

import pytest

from chains.tx.model import Lane
from chains.types import Address
from service.db.engine import Database
from service.db.headstore import SqlHeadStore
from service.db.txstore import SqlTxStore
from tests.chains.head_store_contract import ONE, TWO, HeadStoreContract, block

WALLET = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")


class TestSqlHeadStore(HeadStoreContract):
    @pytest.fixture
    def store(self) -> SqlHeadStore:
        return SqlHeadStore()

    @pytest.fixture
    def uow(self, db: Database) -> Database:
        return db


async def test_every_lane_of_a_frozen_chain_is_held_and_its_own_hold_is_there_afterwards(db: Database) -> None:
    heads, store = SqlHeadStore(), SqlTxStore()
    here, there = Lane(chain_id=ONE, wallet=WALLET), Lane(chain_id=TWO, wallet=WALLET)

    async def holds() -> list[str | None]:
        states = [await db.read(lambda c, one=lane: store.lane(c, one)) for lane in (here, there)]  # type: ignore[misc]
        return [None if state is None else state.hold_reason for state in states]

    for lane in (here, there):
        await db.run(lambda c, one=lane: store.open_lane(c, one, 5))  # type: ignore[misc]
    await db.run(lambda c: store.hold_lane(c, here, "foreign_nonce: 5"))
    await db.run(lambda c: heads.freeze(c, ONE, "finality_violated: block 9", now_ms=1))
    assert await holds() == ["finality_violated: block 9", None]
    await db.run(lambda c: store.set_cursor(c, ONE, block(4)))
    await db.run(lambda c: heads.thaw(c, ONE))
    assert await holds() == ["foreign_nonce: 5", None]
    assert await db.read(lambda c: store.cursor(c, ONE)) is None
