"""Heads: on a chain that the test forks at will, and on Anvil with its reorgs and WebSocket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcUnavailable
from chains.heads import (
    Added,
    FinalityViolated,
    Finalized,
    HeadFollower,
    HeadPolicy,
    HeadStep,
    HeadStore,
    MemoryHeadStore,
    Removed,
    ReorgTooDeep,
)
from chains.rpc.hints import SecretSocketUrl, new_heads
from chains.rpc.transport import HttpTransport
from chains.tx.store import StaleState, UnitOfWork
from chains.types import BlockHash, BlockRef, BlockTag, ChainId, Header
from tests.chains.head_store_contract import HeadStoreContract
from tests.faults.node import Node, bare_node
from tests.faults.proxy import FaultProxy
from tests.faults.rules import CloseSocket, Drop, Freeze, Rule, Silence

T = TypeVar("T")
CHAIN = ChainId(1)


class ForkableChain:
    """A chain that the test extends and rewrites; a `HeadSource`."""

    def __init__(self, length: int = 10) -> None:
        self.blocks: list[Header] = []
        self.finalized: int | None = None
        self.shown: int | None = None
        """Head of a node that is behind; None shows all."""
        self.asked = 0
        self._branch = 0
        self.mine(length)

    def mine(self, count: int = 1) -> None:
        for _ in range(count):
            number = len(self.blocks)
            parent = self.blocks[-1].hash if self.blocks else BlockHash("0x" + "00" * 32)
            own = BlockHash("0x" + keccak(text=f"{self._branch}:{number}:{parent}").hex())
            self.blocks.append(
                Header(
                    number=number,
                    hash=own,
                    parent_hash=parent,
                    timestamp_s=number,
                    base_fee_wei=1,
                    gas_limit=30_000_000,
                )
            )

    def reorg(self, depth: int, grow: int) -> None:
        """Take `depth` blocks away and put `grow` others there."""
        self._branch += 1
        del self.blocks[len(self.blocks) - depth :]
        self.mine(grow)

    def ref(self, number: int) -> BlockRef:
        return self.blocks[number].ref

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        self.asked += 1
        head = len(self.blocks) - 1 if self.shown is None else self.shown
        if block == "latest":
            return self.blocks[head]
        if block == "finalized":
            return None if self.finalized is None else self.blocks[self.finalized]
        assert isinstance(block, int)
        return self.blocks[block] if block <= head else None

    async def headers(self, numbers: Sequence[int]) -> Sequence[Header | None]:
        assert len(numbers) <= 100
        return [await self.header(number) for number in numbers]


class DirectUnitOfWork:
    """Runs the function; there is nothing to roll back."""

    async def run(self, work: Callable[[None], T]) -> T:
        return work(None)

    async def read(self, work: Callable[[None], T]) -> T:
        return work(None)


class TestMemoryHeadStore(HeadStoreContract):
    @pytest.fixture
    def store(self) -> HeadStore[Any]:
        return MemoryHeadStore()

    @pytest.fixture
    def uow(self) -> UnitOfWork[Any]:
        return DirectUnitOfWork()


def follower(chain: ForkableChain, *, store: MemoryHeadStore | None = None, **policy: Any) -> HeadFollower[None]:
    return HeadFollower(
        chain,
        chain_id=CHAIN,
        store=store or MemoryHeadStore(),
        uow=DirectUnitOfWork(),
        policy=HeadPolicy(**policy),
    )


async def advance(heads: HeadFollower[Any]) -> HeadStep | None:
    step = await heads.poll()
    if step is not None:
        await heads.commit(step)
    return step


async def events(heads: HeadFollower[Any]) -> list[object]:
    step = await advance(heads)
    return [] if step is None else list(step.events)


# -- the chain ----------------------------------------------------------------------------------------------


async def test_it_starts_at_the_head_and_says_nothing_while_nothing_happens() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    assert await events(heads) == [Added(header=chain.blocks[9])]
    assert await events(heads) == []
    assert heads.tip == chain.ref(9)


async def test_a_new_block_takes_two_requests() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine()
    chain.asked = 0
    assert await events(heads) == [Added(header=chain.blocks[10])]
    assert chain.asked == 2  # latest and finalized


async def test_a_gap_is_filled_by_number() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine(250)
    assert await events(heads) == [Added(header=header) for header in chain.blocks[10:]]


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("grow", [0, 1, 5, 8])
async def test_F25_a_reorg_removes_newest_first_and_then_adds(depth: int, grow: int) -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine(20)
    await events(heads)
    old = list(chain.blocks)
    chain.reorg(depth, grow)
    expected: list[object] = [Removed(block=header.ref) for header in reversed(old[30 - depth :])]
    expected += [Added(header=header) for header in chain.blocks[30 - depth :]]
    # A head that is just one of our own blocks may be a node that is behind: nothing is removed for it.
    assert await events(heads) == (expected if grow else [])
    if not grow:
        chain.mine()
        assert await events(heads) == [*expected, Added(header=chain.blocks[-1])]


async def test_a_node_behind_on_our_own_chain_removes_nothing() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine(20)
    await events(heads)
    for shown in (28, 15, 3):
        chain.shown = shown
        assert await events(heads) == []
    chain.shown = None
    chain.mine()
    assert await events(heads) == [Added(header=chain.blocks[30])]


async def test_F35_ten_thousand_missed_blocks_come_in_bounded_steps() -> None:
    chain = ForkableChain(10)
    heads = follower(chain, max_step=500, keep=600)
    await events(heads)
    chain.mine(10_000)
    seen: list[int] = []
    while (step := await advance(heads)) is not None:
        assert len(step.events) <= 500
        assert step.is_last == (step.added[-1].number == 10_009)
        seen += [block.number for block in step.added]
    assert seen == list(range(10, 10_010))


async def test_it_goes_on_after_a_restart_and_sees_what_happened_meanwhile() -> None:
    chain, store = ForkableChain(10), MemoryHeadStore()
    heads = follower(chain, store=store)
    await events(heads)
    chain.mine(10)
    await events(heads)
    lost = [chain.ref(number) for number in (19, 18, 17)]
    chain.reorg(3, 6)
    again = follower(chain, store=store)
    step = await advance(again)
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

    def fail(uow: None) -> None:
        raise RuntimeError("the books did not balance")

    with pytest.raises(RuntimeError):
        await heads.commit(first, fail)
    assert await heads.poll() == first
    await heads.commit(first)
    assert await heads.poll() is None
    with pytest.raises(StaleState):
        await heads.commit(first)


async def test_a_chain_that_moves_while_it_is_read_is_read_again() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine(5)
    real = chain.headers

    async def moving(numbers: Sequence[int]) -> Sequence[Header | None]:
        found = await real(numbers)
        chain.headers = real  # type: ignore[method-assign]
        chain.reorg(3, 5)
        return found

    chain.headers = moving  # type: ignore[method-assign]
    assert await events(heads) == []
    assert [event.header.number for event in await events(heads) if isinstance(event, Added)] == list(range(10, 17))


async def test_F28_a_reorg_deeper_than_what_is_kept_is_an_error_of_its_own() -> None:
    chain = ForkableChain(10)
    heads = follower(chain, keep=20)
    await events(heads)
    chain.mine(40)
    await events(heads)
    tip = heads.tip
    chain.reorg(25, 30)
    with pytest.raises(ReorgTooDeep) as raised:
        await heads.poll()
    assert (raised.value.oldest.number, raised.value.tip, raised.value.retry) == (30, tip, "reconcile")
    assert heads.tip == tip


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("mine"), st.integers(1, 8), st.just(0)),
            st.tuples(st.just("reorg"), st.integers(1, 9), st.integers(1, 12)),
            st.tuples(st.just("poll"), st.just(0), st.just(0)),
            st.tuples(st.just("restart"), st.just(0), st.just(0)),
        ),
        max_size=30,
    )
)
def test_replaying_the_events_gives_the_chain_whatever_happens(script: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        chain, store = ForkableChain(20), MemoryHeadStore()
        heads, replayed = follower(chain, store=store, max_step=7), list[BlockRef]()

        async def catch_up() -> None:
            while (step := await heads.poll()) is not None:
                await heads.commit(step)
                kinds = [type(event) for event in step.events]
                assert kinds == sorted(kinds, key=[FinalityViolated, Removed, Added, Finalized].index)
                for event in step.events:
                    if isinstance(event, Removed):
                        assert replayed.pop() == event.block
                    elif isinstance(event, Added):
                        assert not replayed or event.header.parent_hash == replayed[-1].hash
                        replayed.append(event.header.ref)

        await catch_up()
        for act, first, second in script:
            if act == "mine":
                chain.mine(first)
            elif act == "reorg" and len(chain.blocks) - first >= 20:
                chain.reorg(first, second)
            elif act == "restart":
                heads = follower(chain, store=store, max_step=7)
            elif act == "poll":
                await catch_up()
        chain.mine(20)  # so that the chain is longer than whatever was seen
        await catch_up()
        assert replayed == [header.ref for header in chain.blocks[replayed[0].number :]]

    asyncio.run(play())


# -- finality -----------------------------------------------------------------------------------------------


async def test_finalized_is_told_when_it_moves() -> None:
    chain = ForkableChain(10)
    chain.finalized = 4
    heads = follower(chain)
    assert await events(heads) == [Added(header=chain.blocks[9]), Finalized(block=chain.ref(4))]
    assert await events(heads) == []
    chain.mine(3)
    chain.finalized = 11
    assert (await events(heads))[-1] == Finalized(block=chain.ref(11))


async def test_finalized_never_moves_back_and_waits_for_our_own_chain_to_reach_it() -> None:
    chain = ForkableChain(10)
    chain.finalized = 8
    heads = follower(chain, max_step=3)
    await events(heads)
    chain.finalized = 5
    assert await events(heads) == []
    chain.mine(10)
    chain.finalized = 18
    told = [[event for event in await events(heads) if isinstance(event, Finalized)] for _ in range(4)]
    assert told == [[], [], [Finalized(block=chain.ref(18))], []]


async def test_F29_a_reorg_over_a_finalized_block_is_told_first() -> None:
    chain = ForkableChain(10)
    heads = follower(chain)
    await events(heads)
    chain.mine(10)
    chain.finalized = 15
    await events(heads)
    was = chain.ref(15)
    chain.reorg(8, 9)
    happened = await events(heads)
    assert happened[0] == FinalityViolated(was=was, now=chain.ref(15))
    assert [type(event) for event in happened[1:]] == [Removed] * 8 + [Added] * 9
    assert await events(heads) == [Finalized(block=chain.ref(15))]


async def test_F29_another_hash_at_the_finalized_height_is_a_violation_even_without_a_reorg() -> None:
    chain = ForkableChain(10)
    chain.finalized = 5
    heads = follower(chain)
    await events(heads)
    was, other = chain.ref(5), ForkableChain(1)
    other.reorg(1, 10)
    chain.blocks[5] = other.blocks[5]
    assert await events(heads) == [FinalityViolated(was=was, now=other.ref(5))]


async def test_F29_a_finalized_block_older_than_what_is_kept_is_still_checked() -> None:
    chain = ForkableChain(10)
    chain.finalized = 2
    heads = follower(chain, keep=3)
    await events(heads)
    was, other = chain.ref(2), ForkableChain(1)
    other.reorg(1, 10)
    chain.blocks[2] = other.blocks[2]
    chain.mine()
    chain.finalized = 9
    happened = await events(heads)
    assert happened[0] == FinalityViolated(was=was, now=other.ref(2))


async def test_the_tag_is_not_asked_where_the_chain_has_no_use_for_it() -> None:
    chain = ForkableChain(10)
    chain.finalized = 5
    assert await events(follower(chain, use_finalized_tag=False)) == [Added(header=chain.blocks[9])]


# -- the loop -----------------------------------------------------------------------------------------------


async def test_the_loop_survives_a_node_that_does_not_answer() -> None:
    chain, stop = ForkableChain(10), asyncio.Event()
    heads = follower(chain, poll_s=0.001)
    real, failures = chain.header, 0

    async def failing(block: int | BlockTag | BlockHash) -> Header | None:
        nonlocal failures
        failures += 1
        if failures == 3:
            chain.header = real  # type: ignore[method-assign]
        raise RpcUnavailable("down", endpoint="a", method="x")

    chain.header = failing  # type: ignore[method-assign]
    seen = []
    async for step in heads.steps(stop):
        await heads.commit(step)
        seen.append(step)
        assert heads.last_error is None
        stop.set()
    assert (failures, [event for step in seen for event in step.events]) == (3, [Added(header=chain.blocks[9])])


async def test_a_hint_makes_the_next_poll_come_at_once() -> None:
    chain, stop, blocks = ForkableChain(10), asyncio.Event(), asyncio.Queue[str]()

    async def hints() -> AsyncIterator[str]:
        while True:
            yield await blocks.get()

    heads = follower(chain, poll_s=3600)
    async with asyncio.timeout(10):
        async for step in heads.steps(stop, hints=hints()):
            await heads.commit(step)
            if len(chain.blocks) == 13:
                stop.set()
                continue
            chain.mine()
            blocks.put_nowait("a block")
    assert heads.tip == chain.ref(12)


async def test_F43_a_hint_iterator_that_fails_or_ends_changes_nothing() -> None:
    async def failing() -> AsyncIterator[None]:
        yield None
        raise ConnectionResetError

    async def ending() -> AsyncIterator[None]:
        for _ in range(1):
            yield None

    for hints in (failing(), ending()):
        chain, stop = ForkableChain(10), asyncio.Event()
        heads = follower(chain, poll_s=0.005)
        async with asyncio.timeout(10):
            async for step in heads.steps(stop, hints=hints):
                await heads.commit(step)
                chain.mine()
                if len(chain.blocks) > 14:
                    stop.set()
        assert heads.tip is not None
        assert heads.tip.number >= 13


# -- Anvil --------------------------------------------------------------------------------------------------


@pytest.fixture
def node() -> Iterator[Node]:
    with bare_node() as running:
        running.mine(20)
        yield running


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(node.url) as running:
        yield running


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[EvmClient]:
    transport = HttpTransport(proxy.url, name="anvil")
    yield EvmClient(load_chains()["ethereum"], transport)
    await transport.close()


def on_anvil(client: EvmClient, **policy: Any) -> HeadFollower[None]:
    return HeadFollower(
        client, chain_id=CHAIN, store=MemoryHeadStore(), uow=DirectUnitOfWork(), policy=HeadPolicy(**policy)
    )


@pytest.mark.chain
@pytest.mark.parametrize("depth", [1, 3])
async def test_F25_anvils_reorgs_are_followed(client: EvmClient, node: Node, depth: int) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(10)
    await events(heads)
    node.rpc("anvil_reorg", depth, [])
    step = await advance(heads)
    assert step is not None
    assert len(step.removed) == len(step.added) == depth
    assert not [event for event in step.events if isinstance(event, FinalityViolated)]
    assert heads.tip == (await client.head()).ref


@pytest.mark.chain
async def test_F29_anvils_reorg_past_finalized_is_a_violation(client: EvmClient, node: Node) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(10)
    happened = await events(heads)
    assert isinstance(happened[-1], Finalized)
    node.rpc("anvil_reorg", 8, [])
    after = await events(heads)
    violation = after[0]
    assert isinstance(violation, FinalityViolated)
    assert violation.was == happened[-1].block
    assert violation.now is not None
    assert violation.now.hash != violation.was.hash


@pytest.mark.chain
async def test_F39_a_frozen_node_neither_removes_nor_adds(client: EvmClient, node: Node, proxy: FaultProxy) -> None:
    heads = on_anvil(client)
    await events(heads)
    node.mine(10)
    await events(heads)
    proxy.add(Rule(action=Freeze(block=25)))
    node.mine(5)
    assert await events(heads) == []
    proxy.clear()
    assert [type(event) for event in await events(heads)] == [Added] * 5 + [Finalized]


@pytest.mark.chain
@pytest.mark.parametrize("fault", [None, Silence(), CloseSocket()], ids=["healthy", "silent", "closing"])
async def test_F43_heads_keep_coming_whatever_the_websocket_does(
    client: EvmClient, node: Node, proxy: FaultProxy, fault: Silence | CloseSocket | None
) -> None:
    if fault is not None:
        proxy.add(Rule(action=fault, method="eth_subscription"))
    # With a healthy socket no poll would come in time: the hint does it. With a sick one only polling can.
    heads, stop = on_anvil(client, poll_s=0.05 if fault is not None else 3600), asyncio.Event()
    hints = new_heads(SecretSocketUrl(proxy.ws_url))

    async def mine() -> None:
        while proxy.count("eth_subscribe") == 0 or heads.tip is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.to_thread(node.mine, 3)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(mine())
        async for step in heads.steps(stop, hints=hints):
            await heads.commit(step)
            if heads.tip is not None and heads.tip.number >= 23:
                stop.set()
    await hints.aclose()


@pytest.mark.chain
async def test_F43_hints_come_back_after_the_socket_was_closed(node: Node, proxy: FaultProxy) -> None:
    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0.01)

    hints = new_heads(SecretSocketUrl(proxy.ws_url), sleep=at_once)
    async with asyncio.timeout(20):
        await anext(hints)  # the answer to the subscription
        await proxy.close_sockets()
        proxy.add(Rule(action=Drop(), method="eth_subscribe", times=1))
        await anext(hints)
        await asyncio.to_thread(node.mine, 1)
        await anext(hints)
    assert proxy.count("eth_subscribe") == 3
    await hints.aclose()


def test_a_websocket_address_is_never_shown() -> None:
    url = SecretSocketUrl("wss://node.example/v2/SECRET")
    assert "SECRET" not in f"{url} {url!r}"
    with pytest.raises(ValueError, match="ws://"):
        SecretSocketUrl("https://node.example")
