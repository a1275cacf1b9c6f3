"""What every `HeadStore` must do; the tests of each store subclass it with fixtures `store` and `uow`."""

from typing import Any

import pytest

from chains.heads import HeadStore
from chains.tx.store import StaleState, UnitOfWork
from chains.types import BlockHash, BlockRef, ChainId

ONE = ChainId(1)
TWO = ChainId(137)


def block(number: int, branch: str = "a") -> BlockRef:
    return BlockRef(number=number, hash=BlockHash("0x" + f"{branch}{number:x}".encode().hex().rjust(64, "0")))


class HeadStoreContract:
    async def test_an_unknown_chain_has_no_blocks_and_nothing_finalized(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == []
        assert await uow.read(lambda u: store.finalized(u, ONE)) is None

    async def test_blocks_are_added_and_removed_at_the_end_of_their_own_chain(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        first = [block(1), block(2), block(3)]
        await uow.run(lambda u: store.change(u, ONE, removed=[], added=first, keep=9))
        await uow.run(lambda u: store.change(u, TWO, removed=[], added=[block(70)], keep=9))
        second = [block(2, "b"), block(3, "b"), block(4, "b")]
        await uow.run(lambda u: store.change(u, ONE, removed=[block(3), block(2)], added=second, keep=9))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == [block(1), *second]
        assert list(await uow.read(lambda u: store.chain(u, TWO))) == [block(70)]

    async def test_only_the_newest_blocks_are_kept(self, store: HeadStore[Any], uow: UnitOfWork[Any]) -> None:
        added = [block(number) for number in range(1, 8)]
        await uow.run(lambda u: store.change(u, ONE, removed=[], added=added, keep=3))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == added[-3:]

    async def test_a_change_that_does_not_fit_leaves_everything_as_it_was(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await uow.run(lambda u: store.change(u, ONE, removed=[], added=[block(1), block(2)], keep=9))
        with pytest.raises(StaleState):
            await uow.run(lambda u: store.change(u, ONE, removed=[block(2, "b")], added=[block(2, "c")], keep=9))
        with pytest.raises(StaleState):
            await uow.run(lambda u: store.change(u, ONE, removed=[], added=[block(4)], keep=9))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == [block(1), block(2)]

    async def test_the_finalized_block_is_kept_by_chain_and_can_be_taken_back(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        await uow.run(lambda u: store.set_finalized(u, ONE, block(5)))
        await uow.run(lambda u: store.set_finalized(u, ONE, block(6)))
        assert await uow.read(lambda u: store.finalized(u, ONE)) == block(6)
        assert await uow.read(lambda u: store.finalized(u, TWO)) is None
        await uow.run(lambda u: store.set_finalized(u, ONE, None))
        assert await uow.read(lambda u: store.finalized(u, ONE)) is None
