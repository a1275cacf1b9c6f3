"""What every `HeadStore` must do; the tests of each store subclass it with fixtures `store` and `uow`."""

from typing import Any

import pytest

from chains.headstate import HeadStore
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

    async def test_blocks_that_are_dropped_leave_the_finalized_one_and_other_chains(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        for chain in (ONE, TWO):
            await uow.run(lambda u, c=chain: store.change(u, c, removed=[], added=[block(1), block(2)], keep=9))  # type: ignore[misc]
            await uow.run(lambda u, c=chain: store.set_finalized(u, c, block(1)))  # type: ignore[misc]
        await uow.run(lambda u: store.drop_blocks(u, ONE))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == []
        assert await uow.read(lambda u: store.finalized(u, ONE)) == block(1)
        assert list(await uow.read(lambda u: store.chain(u, TWO))) == [block(1), block(2)]
        await uow.run(lambda u: store.change(u, ONE, removed=[], added=[block(900)], keep=9))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == [block(900)]

    async def test_all_that_is_kept_can_be_removed_and_more_added_than_is_kept(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        old = [block(number) for number in range(3)]
        await uow.run(lambda u: store.change(u, ONE, removed=[], added=old, keep=3))
        new = [block(number, "b") for number in range(6)]
        await uow.run(lambda u: store.change(u, ONE, removed=old[::-1], added=new, keep=3))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == new[3:]

    async def test_a_unit_of_work_that_fails_leaves_no_block_behind(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        def work(u: Any) -> None:
            store.change(u, ONE, removed=[], added=[block(1)], keep=9)
            store.set_finalized(u, ONE, block(1))
            store.freeze(u, ONE, "deep_reorg: gone", now_ms=1)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await uow.run(work)
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == []
        assert await uow.read(lambda u: store.finalized(u, ONE)) is None
        assert await uow.read(lambda u: store.frozen(u, ONE)) is None

    async def test_a_chain_stays_frozen_for_its_first_reason_until_it_is_thawed(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        assert await uow.read(lambda u: store.frozen(u, ONE)) is None
        await uow.run(lambda u: store.freeze(u, ONE, "deep_reorg: gone", now_ms=1))
        await uow.run(lambda u: store.freeze(u, ONE, "another: later", now_ms=2))
        assert await uow.read(lambda u: store.frozen(u, ONE)) == "deep_reorg: gone"
        assert await uow.read(lambda u: store.frozen(u, TWO)) is None
        assert await uow.run(lambda u: store.thaw(u, ONE)) is True
        assert await uow.read(lambda u: store.frozen(u, ONE)) is None
        assert await uow.run(lambda u: store.thaw(u, ONE)) is False

    async def test_thawing_forgets_the_blocks_of_the_chain_before(
        self, store: HeadStore[Any], uow: UnitOfWork[Any]
    ) -> None:
        for chain in (ONE, TWO):
            await uow.run(lambda u, c=chain: store.change(u, c, removed=[], added=[block(1)], keep=9))  # type: ignore[misc]
            await uow.run(lambda u, c=chain: store.set_finalized(u, c, block(1)))  # type: ignore[misc]
        await uow.run(lambda u: store.freeze(u, ONE, "deep_reorg: gone", now_ms=1))
        await uow.run(lambda u: store.thaw(u, ONE))
        assert list(await uow.read(lambda u: store.chain(u, ONE))) == []
        assert await uow.read(lambda u: store.finalized(u, ONE)) is None
        assert list(await uow.read(lambda u: store.chain(u, TWO))) == [block(1)]
        assert await uow.read(lambda u: store.finalized(u, TWO)) == block(1)
