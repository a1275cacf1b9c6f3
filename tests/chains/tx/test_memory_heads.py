"""The head store in memory keeps the contract, in one unit of work with the engine's."""

import pytest

from chains.tx.memory import MemoryTxStore, MemoryUnitOfWork
from chains.tx.memory_heads import MemoryHeadStore
from chains.tx.model import Lane
from chains.types import Address
from tests.chains.head_store_contract import ONE, HeadStoreContract, block


class TestMemoryHeadStore(HeadStoreContract):
    @pytest.fixture
    def store(self) -> MemoryHeadStore:
        return MemoryHeadStore()

    @pytest.fixture
    def uow(self) -> MemoryUnitOfWork:
        return MemoryUnitOfWork()


async def test_every_lane_of_a_frozen_chain_is_held_until_it_is_thawed() -> None:
    uow, heads, store = MemoryUnitOfWork(), MemoryHeadStore(), MemoryTxStore()
    lane = Lane(chain_id=ONE, wallet=Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"))
    await uow.run(lambda u: store.open_lane(u, lane, 5))
    await uow.run(lambda u: store.set_cursor(u, ONE, block(4)))
    await uow.run(lambda u: heads.freeze(u, ONE, "deep_reorg: gone", now_ms=1))
    held = await uow.read(lambda u: store.lane(u, lane))
    assert held is not None
    assert held.hold_reason == "deep_reorg: gone"
    await uow.run(lambda u: heads.thaw(u, ONE))
    free = await uow.read(lambda u: store.lane(u, lane))
    assert free is not None
    assert free.hold_reason is None
    assert await uow.read(lambda u: store.cursor(u, ONE)) is None
