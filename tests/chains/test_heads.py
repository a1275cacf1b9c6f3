"""Heads on a chain that the test forks at will. On Anvil: test_heads_anvil.py."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chains.errors import RpcThrottled
from chains.heads import CHUNK, HeadFollower, HeadPolicy, ReorgTooDeep
from chains.headstate import Added, FinalityViolated, Finalized, HeadStep, KnownHead, Removed, Skipped
from chains.tx.memory import MemoryState, MemoryUnitOfWork
from chains.tx.memory_heads import MemoryHeadStore
from chains.tx.store import StaleState
from chains.types import BlockHash, BlockRef, BlockTag, ChainId, Header
from tests.chains.forkable import ForkableChain
from tests.clock import FakeClock

CHAIN = ChainId(1)
STORE = MemoryHeadStore()


class Moving(ForkableChain):
    """Is rewritten right after it was asked for a block, as often as told."""

    moves = 0

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        found = await super().header(block)
        if isinstance(block, int) and self.moves:
            self.moves -= 1
            self.reorg(3, 5)
        return found


def follower(
    chain: ForkableChain, uow: MemoryUnitOfWork | None = None, clock: FakeClock | None = None, **policy: Any
) -> HeadFollower[MemoryState]:
    values = {"final_depth": 1, "use_finalized_tag": True, "window": 100} | policy
    return HeadFollower(
        chain,
        chain_id=CHAIN,
        store=STORE,
        uow=uow or MemoryUnitOfWork(),
        policy=HeadPolicy(**values),
        clock=clock or FakeClock(),
    )


async def advance(heads: HeadFollower[Any]) -> HeadStep | None:
    step = await heads.poll()
    if step is not None:
        await heads.commit(step)
    return step


async def events(heads: HeadFollower[Any]) -> list[object]:
    step = await advance(heads)
    return [] if step is None else list(step.events)


def added(*headers: Header) -> list[object]:
    return [Added(header=header) for header in headers]


# -- the chain ----------------------------------------------------------------------------------------------


async def test_it_starts_some_blocks_below_the_head_and_says_nothing_while_nothing_happens() -> None:
    chain = ForkableChain(10)
    heads = follower(chain, window=4)
    assert await events(heads) == added(*chain.blocks[6:])
    assert await events(heads) == []
    assert heads.tip == chain.ref(9)


async def test_a_chain_shorter_than_the_window_is_read_from_its_genesis() -> None:
    chain = ForkableChain(3)
    assert await events(follower(chain)) == added(*chain.blocks)


async def test_a_new_block_takes_two_requests_and_an_old_one_takes_one() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine()
    chain.requests.clear()
    assert await events(heads) == added(chain.blocks[10])
    assert chain.requests == [1, 1]  # latest and finalized
    assert await events(heads) == []
    assert chain.requests == [1, 1, 1]


async def test_a_gap_is_filled_by_number() -> None:
    chain = ForkableChain(10)
    heads = follower(chain, window=250)
    await events(heads)
    chain.mine(250)
    assert await events(heads) == added(*chain.blocks[10:])
    assert max(chain.requests) <= CHUNK


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("grow", [0, 1, 5, 8])
async def test_F25_a_reorg_removes_newest_first_and_then_adds(depth: int, grow: int) -> None:
    chain = ForkableChain(30)
    heads = follower(chain)
    await events(heads)
    old = list(chain.blocks)
    chain.reorg(depth, grow)
    expected: list[object] = [Removed(block=header.ref) for header in reversed(old[30 - depth :])]
    expected += added(*chain.blocks[30 - depth :])
    # A head that is just one of our own blocks may be a node that is behind: nothing is removed for it.
    assert await events(heads) == (expected if grow else [])
    if not grow:
        chain.mine()
        assert await events(heads) == [*expected, *added(chain.blocks[-1])]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 8, 9, 63, 64, 200, 499])
async def test_the_fork_of_a_deep_reorg_is_found_with_few_reads(depth: int) -> None:
    chain = ForkableChain(500)
    heads = follower(chain, window=500, keep=501)
    await events(heads)
    chain.reorg(depth, depth + 1)
    chain.requests.clear()
    step = await heads.poll()
    assert step is not None
    assert (len(step.removed), len(step.added)) == (depth, depth + 1)
    assert len([size for size in chain.requests if size == 1]) <= 2 + 2 * depth.bit_length() + 1


async def test_a_reorg_right_after_the_first_start_is_followed() -> None:
    chain = ForkableChain(30)
    heads = follower(chain, window=8)
    await events(heads)
    chain.reorg(7, 7)
    assert [type(event) for event in await events(heads)] == [Removed] * 7 + [Added] * 7


async def test_a_node_behind_on_our_own_chain_removes_nothing() -> None:
    chain = ForkableChain(30)
    heads = follower(chain, window=20)
    await events(heads)
    for shown in (28, 15, 3):
        chain.shown = shown
        assert await heads.poll() is None
    chain.shown = None
    chain.mine()
    assert await events(heads) == added(chain.blocks[30])


async def test_a_node_without_a_block_that_it_should_have_removes_nothing() -> None:
    chain = ForkableChain(30)
    heads = follower(chain)
    await events(heads)
    chain.mine(5)
    chain.missing = set(range(10, 35))
    assert await heads.poll() is None
    chain.missing = {32}
    assert await heads.poll() is None
    chain.missing = set()
    assert await events(heads) == added(*chain.blocks[30:])


async def test_it_goes_on_after_a_restart_and_sees_what_happened_meanwhile() -> None:
    chain, uow = ForkableChain(20), MemoryUnitOfWork()
    await events(follower(chain, uow))
    lost = [chain.ref(number) for number in (19, 18, 17)]
    chain.reorg(3, 6)
    step = await advance(follower(chain, uow))
    assert step is not None
    assert list(step.removed) == lost
    assert [block.number for block in step.added] == list(range(17, 23))


async def test_a_step_that_was_not_committed_comes_again() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine()
    first = await heads.poll()
    assert first is not None
    assert await heads.poll() == first

    def fail(uow: MemoryState) -> None:
        raise RuntimeError("the books did not balance")

    with pytest.raises(RuntimeError):
        await heads.commit(first, fail)
    assert await heads.poll() == first
    await heads.commit(first)
    assert (await heads.poll() or first).events == ()
    with pytest.raises(StaleState):
        await heads.commit(first)


async def test_what_belongs_with_a_step_is_committed_with_it_or_not_at_all() -> None:
    chain, uow = ForkableChain(10), MemoryUnitOfWork()
    heads = follower(chain, uow)
    step = await heads.poll()
    assert step is not None
    await heads.commit(step, lambda u: u.cursors.update({CHAIN: chain.ref(8)}))
    assert await uow.read(lambda u: (u.cursors[CHAIN], u.blocks[CHAIN][-1])) == (chain.ref(8), chain.ref(9))


async def test_a_follower_that_another_one_overtook_writes_nothing_and_then_goes_on_from_the_store() -> None:
    chain, uow = ForkableChain(10), MemoryUnitOfWork()
    late, quick = follower(chain, uow), follower(chain, uow)
    await events(late)
    await events(quick)
    chain.mine(3)
    step = await late.poll()
    assert step is not None
    await events(quick)
    with pytest.raises(StaleState):
        await late.commit(step)
    chain.mine()
    assert await events(late) == added(chain.blocks[13])


async def test_a_chain_that_moves_while_it_is_read_is_read_again() -> None:
    chain = Moving(10)
    heads = follower(chain)
    await events(heads)
    chain.mine(5)
    for _ in range(2):
        chain.moves = 1
        assert await heads.poll() is None
    assert await events(heads) == added(*chain.blocks[10:])


async def test_F28_a_reorg_deeper_than_what_is_kept_is_an_error_of_its_own() -> None:
    chain = ForkableChain(50)
    heads = follower(chain, window=10, keep=20)
    for _ in range(10):
        await events(heads)
        chain.mine()
    await events(heads)
    tip = heads.tip
    chain.reorg(25, 30)
    with pytest.raises(ReorgTooDeep) as raised:
        await heads.poll()
    assert (raised.value.oldest.number, raised.value.tip, raised.value.retry) == (40, tip, "reconcile")
    assert heads.tip == tip


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("mine"), st.integers(1, 14), st.just(0)),
            st.tuples(st.just("reorg"), st.integers(1, 9), st.integers(1, 12)),
            st.tuples(st.just("poll"), st.just(0), st.just(0)),
            st.tuples(st.just("lost"), st.just(0), st.just(0)),
            st.tuples(st.just("restart"), st.just(0), st.just(0)),
        ),
        max_size=30,
    )
)
@example([("mine", 13, 0), ("poll", 0, 0), ("reorg", 4, 1), ("reorg", 9, 1)])  # deeper than what is kept
@example([("mine", 2, 0), ("lost", 0, 0), ("reorg", 3, 1), ("reorg", 9, 1)])  # what a lost poll read is gone
def test_replaying_the_events_gives_the_chain_whatever_happens(script: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        chain, uow = ForkableChain(30), MemoryUnitOfWork()
        heads, replayed = follower(chain, uow, window=12, keep=40), list[BlockRef]()

        async def poll() -> HeadStep | None:
            try:
                return await heads.poll()
            except ReorgTooDeep:
                # Two reorgs that nobody saw happen may be one that is too deep: then nothing kept is left.
                assert not any(chain.has(block) for block in replayed[-40:])
                raise

        async def look() -> None:
            step = await poll()
            if step is None:
                return
            await heads.commit(step)
            kinds = [type(event) for event in step.events]
            assert kinds == sorted(kinds, key=[FinalityViolated, Removed, Skipped, Added, Finalized].index)
            for event in step.events:
                if isinstance(event, Removed):
                    assert replayed.pop() == event.block
                elif isinstance(event, Skipped):
                    assert replayed[-1] == event.after
                    replayed.clear()
                elif isinstance(event, Added):
                    assert not replayed or event.header.parent_hash == replayed[-1].hash
                    replayed.append(event.header.ref)
            assert replayed[-40:] == list(step.chain)[-40:]

        await look()
        for act, first, second in script:
            if act == "mine":
                chain.mine(first)
            elif act == "reorg" and len(chain.blocks) - first >= 20:
                chain.reorg(first, second)
            elif act == "restart":
                heads = follower(chain, uow, window=12, keep=40)
            elif act == "poll":
                await look()
            elif act == "lost":
                await poll()
        chain.mine(20)  # so that the chain is longer than whatever was seen
        for _ in range(2):  # the first may find that what a lost poll read ahead is not on the chain any more
            await look()
        assert replayed == [header.ref for header in chain.blocks[replayed[0].number :]]

    with suppress(ReorgTooDeep):
        asyncio.run(play())


# -- after a long time, and where little may be asked ---------------------------------------------------------


@pytest.mark.parametrize("missed", [101, 10_000])
async def test_F35_after_a_long_time_a_bounded_number_of_headers_is_read(missed: int) -> None:
    chain, uow = ForkableChain(10), MemoryUnitOfWork()
    await events(follower(chain, uow, window=64))
    was = chain.ref(9)
    chain.mine(missed)
    chain.requests.clear()
    heads = follower(chain, uow, window=64)
    assert await events(heads) == [Skipped(after=was), *added(*chain.blocks[-64:])]
    assert sum(chain.requests) <= 64 + 3
    assert await uow.read(lambda u: STORE.chain(u, CHAIN)) == tuple(header.ref for header in chain.blocks[-64:])


async def test_what_was_reorged_before_a_long_time_is_removed_first() -> None:
    chain, uow = ForkableChain(20), MemoryUnitOfWork()
    await events(follower(chain, uow))
    lost = [chain.ref(number) for number in (19, 18)]
    chain.reorg(2, 10_000)
    happened = await events(follower(chain, uow))
    assert happened[:3] == [*(Removed(block=block) for block in lost), Skipped(after=chain.ref(17))]


async def test_a_reorg_within_the_window_is_followed_after_a_skip() -> None:
    chain = ForkableChain(10)
    heads = follower(chain, window=64)
    await events(heads)
    chain.mine(5_000)
    await events(heads)
    chain.reorg(50, 51)
    assert [type(event) for event in await events(heads)] == [Removed] * 50 + [Added] * 51


async def test_an_endpoint_that_refuses_large_batches_is_asked_for_less_and_nothing_is_read_twice() -> None:
    chain = ForkableChain(200)
    chain.most = 6
    heads = follower(chain, window=90)
    refusals = 0
    for _ in range(60):
        try:
            await events(heads)
        except RpcThrottled:
            refusals += 1
    served = sum(size for size in chain.requests if 1 < size <= 6)
    assert refusals < 40
    assert 89 <= served <= 89 + 6
    assert heads.tip == chain.ref(199)


async def test_what_was_read_ahead_is_dropped_when_the_chain_moved_meanwhile() -> None:
    chain, uow = ForkableChain(200), MemoryUnitOfWork()
    chain.most = CHUNK - 1
    heads = follower(chain, uow, window=90)
    for _ in range(2):  # refused as a whole; then the half is taken, and twice that is refused again
        with pytest.raises(RpcThrottled):
            await heads.poll()
    chain.reorg(70, 80)
    for _ in range(20):
        with suppress(RpcThrottled):
            await events(heads)
    kept = await uow.read(lambda u: STORE.chain(u, CHAIN))
    assert kept == tuple(header.ref for header in chain.blocks[-90:])


async def test_the_known_head_needs_no_node_and_tells_when_it_was_last_seen() -> None:
    chain, clock = ForkableChain(10), FakeClock()
    heads = follower(chain, clock=clock)
    seen: list[KnownHead | None] = [heads.known]
    step = await heads.poll()
    assert step is not None
    seen.append(heads.known)  # its consequences are not committed
    clock.advance_ms(300)
    await heads.commit(step)
    seen.append(heads.known)
    clock.advance_ms(700)
    await heads.poll()
    seen.append(heads.known)
    chain.shown = 5
    clock.advance_ms(1_000)
    await heads.poll()
    seen.append(heads.known)  # a node that is behind confirms nothing
    at_0, at_1 = (KnownHead(header=chain.blocks[9], polled_s=when) for when in (0.0, 1.0))
    assert seen == [None, None, at_0, at_1, at_1]


# -- finality -----------------------------------------------------------------------------------------------


async def test_finalized_is_told_when_it_moves() -> None:
    chain = ForkableChain(10)
    chain.finalized = 4
    heads = follower(chain)
    assert await events(heads) == [*added(*chain.blocks), Finalized(block=chain.ref(4))]
    assert await events(heads) == []
    chain.mine(3)
    chain.finalized = 11
    assert (await events(heads))[-1] == Finalized(block=chain.ref(11))


async def test_finalized_never_moves_back_and_is_not_above_the_head() -> None:
    chain = ForkableChain(20)
    chain.finalized = 8
    heads = follower(chain)
    await events(heads)
    chain.mine()
    chain.finalized = 5
    assert await events(heads) == added(chain.blocks[20])
    chain.mine(5)
    chain.finalized, chain.shown = 25, 23
    assert await events(heads) == added(*chain.blocks[21:24])
    chain.shown = None
    assert (await events(heads))[-1] == Finalized(block=chain.ref(25))


async def test_a_tag_that_names_another_block_than_ours_is_not_followed() -> None:
    chain = ForkableChain(20)
    chain.finalized = 8
    heads = follower(chain)
    await events(heads)
    chain.mine()
    ours, other = chain.blocks[15], ForkableChain(1)
    other.reorg(1, 20)
    chain.finalized = 15
    chain.blocks[15] = other.blocks[15]  # answers of two nodes
    assert await events(heads) == added(chain.blocks[20])
    chain.blocks[15] = ours
    chain.mine()
    assert (await events(heads))[-1] == Finalized(block=ours.ref)


async def test_without_the_tag_a_block_is_final_at_its_depth_and_the_tag_is_not_asked() -> None:
    chain = ForkableChain(10)
    chain.finalized = 9
    heads = follower(chain, use_finalized_tag=False, final_depth=4)
    assert (await events(heads))[-1] == Finalized(block=chain.ref(6))
    chain.mine()
    chain.requests.clear()
    assert await events(heads) == [*added(chain.blocks[10]), Finalized(block=chain.ref(7))]
    assert len(chain.requests) == 1


async def test_F29_a_node_that_stands_on_an_orphan_below_the_final_block_violates_nothing() -> None:
    chain, uow = ForkableChain(20), MemoryUnitOfWork()
    chain.finalized = 15
    await events(follower(chain, uow))
    was = chain.ref(15)
    chain.reorg(8, 2)
    heads = follower(chain, uow)
    assert await heads.poll() is None
    # Once it is past the height that was final, it is another chain.
    chain.mine(2)
    assert (await events(heads))[0] == FinalityViolated(was=was, now=chain.ref(15))


async def test_F29_a_reorg_over_a_finalized_block_is_told_first() -> None:
    chain = ForkableChain(20)
    chain.finalized = 15
    heads = follower(chain)
    await events(heads)
    was = chain.ref(15)
    chain.reorg(8, 9)
    happened = await events(heads)
    assert happened[0] == FinalityViolated(was=was, now=chain.ref(15))
    assert [type(event) for event in happened[1:]] == [Removed] * 8 + [Added] * 9
    chain.mine()
    assert (await events(heads))[-1] == Finalized(block=chain.ref(15))


async def test_F29_without_the_tag_a_reorg_over_what_was_deep_enough_is_a_violation_too() -> None:
    chain = ForkableChain(20)
    heads = follower(chain, use_finalized_tag=False, final_depth=4)
    await events(heads)
    was = chain.ref(16)
    chain.reorg(3, 3)
    assert not [event for event in await events(heads) if isinstance(event, FinalityViolated)]
    chain.reorg(4, 4)
    assert (await events(heads))[0] == FinalityViolated(was=was, now=chain.ref(16))


async def test_F29_a_finalized_block_that_went_before_a_long_time_is_a_violation() -> None:
    chain, uow = ForkableChain(20), MemoryUnitOfWork()
    chain.finalized = 15
    await events(follower(chain, uow))
    was = chain.ref(15)
    chain.reorg(8, 5_000)
    assert (await events(follower(chain, uow)))[0] == FinalityViolated(was=was, now=None)


async def test_F29_a_violation_that_was_not_committed_comes_again_also_after_a_restart() -> None:
    chain, uow = ForkableChain(20), MemoryUnitOfWork()
    chain.finalized = 15
    await events(follower(chain, uow))
    chain.reorg(8, 9)
    for _ in range(2):
        step = await follower(chain, uow).poll()
        assert step is not None
        assert step.violation is not None


async def test_F29_another_hash_at_the_finalized_height_is_a_violation_even_without_a_reorg() -> None:
    chain = ForkableChain(10)
    chain.finalized = 5
    heads = follower(chain)
    await events(heads)
    was, other = chain.ref(5), ForkableChain(1)
    other.reorg(1, 10)
    chain.blocks[5] = other.blocks[5]
    chain.mine()
    assert (await events(heads))[0] == FinalityViolated(was=was, now=other.ref(5))


async def test_F29_a_finalized_block_older_than_what_is_kept_is_still_checked() -> None:
    chain = ForkableChain(10)
    chain.finalized = 2
    heads = follower(chain, window=2, keep=3)
    await events(heads)
    was, other = chain.ref(2), ForkableChain(1)
    other.reorg(1, 10)
    chain.blocks[2] = other.blocks[2]
    chain.mine()
    chain.finalized = 9
    assert (await events(heads))[0] == FinalityViolated(was=was, now=other.ref(2))
