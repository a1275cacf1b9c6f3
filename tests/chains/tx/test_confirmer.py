"""The confirmer on a chain that the test rewrites: what commits when, what freezes, and what is read. No node."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from chains import crashpoints
from chains.errors import RpcThrottled, RpcUnavailable
from chains.heads import CHUNK
from chains.tx.confirmer import LEAST_WINDOW, Confirmer
from chains.tx.context import EngineParts
from chains.tx.leases import SoleLeases
from chains.tx.memory import MemoryState, MemoryTxStore, MemoryUnitOfWork
from chains.tx.memory_heads import MemoryHeadStore
from chains.tx.model import (
    Attempt,
    AttemptKind,
    AttemptState,
    Intent,
    IntentId,
    Lane,
    Plan,
    PlanId,
    TxState,
    payload_hash,
)
from chains.tx.sending import Sender
from chains.tx.store import StaleState
from chains.types import Address, BlockHash, BlockRef, BlockTag, CallRequest, ChainId, Fees, Header, TxHash
from tests.chains.forkable import ForkableNode
from tests.chains.tx.harness import Killed, Seen, config_for
from tests.clock import FakeClock

T = TypeVar("T")
CHAIN = ChainId(1)
WALLET = Address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2")
LANE = Lane(chain_id=CHAIN, wallet=WALLET)
STORE, HEADS = MemoryTxStore(), MemoryHeadStore()
FOREIGN = TxHash("0x" + "ff" * 32)


class CountingUnitOfWork(MemoryUnitOfWork):
    """Counts commits, and can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.fails: Exception | None = None

    async def run(self, work: Callable[[MemoryState], T]) -> T:
        if self.fails is not None:
            raise self.fails
        self.commits += 1
        return await super().run(work)


class Witness:
    """Several endpoints that must say the same."""

    def __init__(self, node: ForkableNode) -> None:
        self.node = node
        self.disagree = False

    async def header(self, block: int | BlockTag | BlockHash) -> Header | None:
        if self.disagree:
            raise RpcUnavailable("1 of 2 endpoints agree, 2 must", endpoint="ethereum", method="eth_getBlockByNumber")
        return await self.node.header(block)

    async def receipts(self, hashes: list[TxHash]) -> list[Any]:
        return await self.node.receipts(hashes)


@dataclass
class World:
    """Confirmed at depth 2, final at depth 4."""

    node: ForkableNode = field(default_factory=lambda: ForkableNode(30, WALLET))
    uow: CountingUnitOfWork = field(default_factory=CountingUnitOfWork)
    seen: Seen = field(default_factory=Seen)
    clock: FakeClock = field(default_factory=FakeClock)
    witness: Witness | None = None
    sent: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new confirmer over the same store, as after a crash or a change of the lease."""
        client: Any = self.node
        nothing: Any = None
        parts: EngineParts[MemoryState] = EngineParts(
            client=client,
            config=config_for("ethereum"),
            signer=nothing,
            store=STORE,
            heads=HEADS,
            uow=self.uow,
            leases=SoleLeases(),
            check=nothing,
            observer=self.seen,
            clock=self.clock,
            witness=self.witness,  # type: ignore[arg-type]  # it asks these two only
        )
        self.confirmer = Confirmer(parts, Sender(parts))

    async def send(self) -> TxHash:
        """One more transaction of the wallet, sent and not mined."""
        nonce = self.sent
        self.sent += 1
        call = CallRequest(to=WALLET)
        intent = Intent(
            id=IntentId(f"p{nonce}/0"),
            plan_id=PlanId(f"p{nonce}"),
            position=0,
            lane=LANE,
            call=call,
            payload_hash=payload_hash(LANE, call),
        )
        plan = Plan(id=intent.plan_id, lane=LANE, intents=(intent,), created_ms=0, valid_until_ms=None)
        tx_hash = TxHash("0x" + nonce.to_bytes(32, "big").hex())

        def work(u: MemoryState) -> None:
            STORE.add_plan(u, plan)
            STORE.open_lane(u, LANE, 0)
            [tx] = STORE.reserve(u, LANE, [(intent.id, 21_000)], first_nonce=nonce, now_ms=0)
            attempt = Attempt(
                hash=tx_hash,
                tx_id=tx.id,
                kind=AttemptKind.REAL,
                raw=b"",
                fees=Fees(max_fee_wei=2, priority_fee_wei=1),
                gas_limit=21_000,
                state=AttemptState.SIGNED,
                created_ms=0,
            )
            STORE.save_attempts(u, [attempt], 0)
            STORE.mark_sent(u, [tx_hash], 0)

        await self.uow.run(work)
        return tx_hash

    async def rounds(self, blocks: int) -> None:
        """Blocks and rounds in turn."""
        for _ in range(blocks):
            self.node.mine()
            await self.confirmer.round()

    async def states(self) -> list[TxState]:
        return await self.uow.read(lambda u: [tx.state for tx in u.txs.values()])

    async def cursor(self) -> BlockRef | None:
        return await self.uow.read(lambda u: STORE.cursor(u, CHAIN))

    async def tip(self) -> BlockRef | None:
        """As stored."""
        kept = await self.uow.read(lambda u: HEADS.chain(u, CHAIN))
        return kept[-1] if kept else None

    async def frozen(self) -> str:
        return await self.uow.read(lambda u: HEADS.frozen(u, CHAIN)) or ""

    async def hold(self) -> str:
        state = await self.uow.read(lambda u: STORE.lane(u, LANE))
        return "" if state is None else state.hold_reason or ""


@pytest.fixture
async def w() -> World:
    world = World()
    await world.confirmer.round()
    return world


@pytest.fixture
def dying() -> Iterator[Callable[[str], None]]:
    """Ends the life at a crash point, once."""

    def die() -> None:
        crashpoints._armed.point = None  # whoever comes next is not armed
        raise Killed

    yield lambda point: crashpoints.arm(point, end=die)
    crashpoints._armed.point = None


# -- in step with the chain -----------------------------------------------------------------------------------


async def test_a_slot_is_mined_confirmed_and_final_as_blocks_come_and_the_cursor_follows(w: World) -> None:
    tx = await w.send()
    w.node.include((tx, 0))
    seen = []
    for _ in range(4):
        await w.confirmer.round()
        cursor = await w.cursor()
        assert cursor == w.node.blocks[-2].ref
        assert await w.tip() == w.node.blocks[-1].ref
        seen += await w.states()
        w.node.mine()
    assert seen == [TxState.MINED, TxState.CONFIRMED, TxState.CONFIRMED, TxState.FINAL]


async def test_a_removed_block_takes_its_slots_back_in_the_round_that_sees_it(w: World) -> None:
    tx = await w.send()
    w.node.include((tx, 0))
    await w.confirmer.round()
    w.node.reorg(1, 1)
    await w.confirmer.round()
    assert await w.states() == [TxState.BROADCAST]
    w.node.include((tx, 0))
    await w.rounds(5)
    assert await w.states() == [TxState.FINAL]
    assert w.seen.kinds("p0/0") == ["mined", "reorged", "mined", "confirmed", "final"]


async def test_consequences_are_durable_before_the_chain_and_a_crash_between_repeats_the_step(
    w: World, dying: Callable[[str], None]
) -> None:
    tx = await w.send()
    before = await w.tip()
    w.node.include((tx, 0))
    dying("K14b")
    with pytest.raises(Killed):
        await w.confirmer.round()
    assert await w.states() == [TxState.MINED]
    assert await w.tip() == before
    w.restart()
    await w.confirmer.round()
    assert (await w.states(), w.seen.kinds("p0/0")) == ([TxState.MINED], ["mined"])
    assert await w.tip() == w.node.blocks[-1].ref


async def test_a_crash_before_the_consequences_of_a_reorg_loses_none_of_them(
    w: World, dying: Callable[[str], None]
) -> None:
    tx = await w.send()
    w.node.include((tx, 0))
    await w.confirmer.round()
    old = await w.tip()
    w.node.reorg(1, 1)
    dying("K14")
    with pytest.raises(Killed):
        await w.confirmer.round()
    assert (await w.states(), await w.tip()) == ([TxState.MINED], old)
    w.restart()
    await w.confirmer.round()
    assert (await w.states(), await w.tip()) == ([TxState.BROADCAST], w.node.blocks[-1].ref)


async def test_a_slot_that_moved_meanwhile_leaves_the_step_to_the_next_round(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tx = await w.send()
    before = await w.tip()
    w.node.include((tx, 0))

    def stale(*_: Any, **__: Any) -> None:
        raise StaleState("another one was quicker")

    with monkeypatch.context() as patched:
        patched.setattr(STORE, "mark_mined", stale)
        await w.confirmer.round()
    assert await w.tip() == before
    await w.confirmer.round()
    assert (await w.states(), await w.tip()) == ([TxState.MINED], w.node.blocks[-1].ref)


async def test_what_is_not_explained_holds_the_cursor_and_not_the_chain(w: World) -> None:
    await w.send()
    w.node.include((FOREIGN, 0))
    await w.confirmer.round()
    held_at = await w.cursor()
    w.node.requests.clear()
    await w.rounds(2)
    assert await w.cursor() == held_at
    assert await w.tip() == w.node.blocks[-1].ref
    assert sum(w.node.requests) <= 2 * 6  # no block is read again because of it
    await w.rounds(3)
    assert await w.states() == [TxState.SUPERSEDED]
    await w.rounds(1)
    assert await w.cursor() == w.node.blocks[-2].ref


async def test_a_fenced_unit_of_work_stops_everything_and_nothing_is_believed_afterwards(w: World) -> None:
    tx = await w.send()
    other = World(node=w.node, uow=w.uow, seen=w.seen)
    w.node.include((tx, 0))
    w.uow.fails = StaleState("this process was taken for dead")
    await w.confirmer.round()
    assert await w.states() == [TxState.BROADCAST]
    w.uow.fails = None
    await other.confirmer.round()
    w.node.mine()
    await other.confirmer.round()
    w.node.mine()
    with pytest.raises(StaleState):
        await w.confirmer.round()  # it still stood where the other one went on from
    await w.confirmer.round()
    assert (await w.states(), w.seen.kinds("p0/0")) == ([TxState.CONFIRMED], ["mined", "confirmed"])


async def test_an_idle_round_asks_for_the_head_alone_and_commits_nothing(w: World) -> None:
    w.node.requests.clear()
    w.uow.commits = 0
    for _ in range(3):
        assert await w.confirmer.round() is True
    assert (w.node.requests, w.uow.commits) == ([1, 1, 1], 0)


async def test_a_new_block_without_open_slots_is_one_commit(w: World) -> None:
    w.uow.commits = 0
    await w.rounds(3)
    assert w.uow.commits == 3


async def test_the_known_head_is_the_committed_one_and_asks_no_node(w: World) -> None:
    w.clock.advance_ms(2_000)
    w.node.mine()
    await w.confirmer.round()
    w.clock.advance_ms(500)
    w.node.requests.clear()
    known = w.confirmer.known
    assert known is not None
    assert (known.header, known.polled_s, w.node.requests) == (w.node.blocks[-1], 2.0, [])


# -- nodes that do not know ---------------------------------------------------------------------------------------


async def test_F39_a_node_behind_our_chain_takes_nothing_back_and_is_no_failure(w: World) -> None:
    tx = await w.send()
    w.node.include((tx, 0))
    await w.confirmer.round()
    w.node.shown = len(w.node.blocks) - 3
    assert await w.confirmer.round() is True
    w.restart()
    assert await w.confirmer.round() is True
    assert (w.confirmer.checked, w.confirmer.frozen, await w.states()) == (False, False, [TxState.MINED])
    w.node.shown = None
    await w.rounds(4)
    assert await w.states() == [TxState.FINAL]


async def test_a_node_without_a_slot_s_old_block_takes_nothing_back(w: World) -> None:
    tx = await w.send()
    mined = w.node.include((tx, 0))
    await w.rounds(1)
    assert await w.states() == [TxState.CONFIRMED]
    w.node.mine(100)
    w.restart()
    w.node.missing = {mined.number}
    for _ in range(3):
        await w.confirmer.round()
    assert (await w.states(), await w.frozen()) == ([TxState.CONFIRMED], "")
    w.node.missing = set()
    await w.confirmer.round()
    assert await w.states() == [TxState.FINAL]


async def test_F35_after_days_of_absence_little_is_read_and_all_slots_are_caught_up_with(w: World) -> None:
    hashes = [await w.send() for _ in range(3)]
    w.node.include((hashes[0], 0))
    await w.confirmer.round()
    w.node.mine(4_000)
    w.node.include((hashes[1], 1))
    w.node.mine(4_000)
    w.node.include((hashes[2], 2))
    w.restart()
    w.node.requests.clear()
    await w.confirmer.round()
    assert sum(w.node.requests) <= LEAST_WINDOW + 10
    assert await w.states() == [TxState.FINAL, TxState.FINAL, TxState.MINED]
    await w.confirmer.round()
    assert (await w.frozen(), await w.cursor()) == ("", w.node.blocks[-2].ref)


async def test_an_endpoint_that_refuses_all_but_small_batches_is_caught_up_with_too(w: World) -> None:
    tx = await w.send()
    w.node.include((tx, 0))
    w.node.mine(300)
    w.restart()
    w.node.most, rounds = 7, 0
    assert w.node.most < CHUNK
    while await w.states() != [TxState.FINAL]:
        rounds += 1
        assert rounds < 40
        try:
            await w.confirmer.round()
        except RpcThrottled:
            continue
    assert await w.cursor() == w.node.blocks[-2].ref


# -- what freezes ---------------------------------------------------------------------------------------------------


async def violate(w: World) -> None:
    """A confirmed slot, and a reorg past what was final."""
    tx = await w.send()
    w.node.include((tx, 0))
    await w.rounds(1)
    assert await w.states() == [TxState.CONFIRMED]
    w.node.reorg(6, 7)


async def test_F29_a_final_block_that_is_another_one_now_freezes_the_chain_over_restarts(w: World) -> None:
    await violate(w)
    tip, cursor = await w.tip(), await w.cursor()
    for _ in range(2):
        assert await w.confirmer.round() is False
        assert (w.confirmer.frozen, w.confirmer.checked) == (True, True)
        assert (await w.frozen()).startswith("finality_violated: block ")
        assert (await w.hold()).startswith("finality_violated: block ")
        assert (await w.states(), await w.tip(), await w.cursor()) == ([TxState.CONFIRMED], tip, cursor)
        w.node.mine(3)
        w.restart()


async def test_a_frozen_chain_is_not_followed_even_when_it_comes_back(w: World) -> None:
    await violate(w)
    good = list(w.node.blocks)
    await w.confirmer.round()
    w.node.blocks = good
    w.restart()
    w.node.requests.clear()
    assert await w.confirmer.round() is False
    assert w.node.requests == [1]  # the head, as a sign of life


async def test_a_thawed_chain_is_followed_as_it_is_now_and_what_it_took_back_is_sent_again(w: World) -> None:
    await violate(w)
    await w.confirmer.round()
    await w.uow.run(lambda u: HEADS.thaw(u, CHAIN))
    assert await w.confirmer.round() is True
    assert (w.confirmer.frozen, await w.hold(), await w.states()) == (False, "", [TxState.BROADCAST])
    assert await w.tip() == w.node.blocks[-1].ref
    assert await w.cursor() == w.node.blocks[-2].ref
    assert w.seen.kinds("p0/0") == ["mined", "confirmed", "reorged"]


async def test_a_reorg_of_all_that_is_remembered_freezes_the_chain(w: World) -> None:
    w.node.reorg(30, 40)
    assert await w.confirmer.round() is False
    assert (await w.frozen()).startswith("deep_reorg: none of the kept blocks")


async def test_a_cursor_whose_block_left_the_chain_freezes_it(w: World) -> None:
    tx = await w.send()
    w.node.include((tx, 0))
    await w.rounds(1)
    w.node.reorg(3, 4)
    assert await w.confirmer.round() is False
    assert (await w.frozen()).startswith("deep_reorg: block ")
    assert await w.states() == [TxState.CONFIRMED]


@pytest.mark.parametrize("depth", [3, 6, 30])
async def test_F40_an_endpoint_that_alone_shows_another_chain_freezes_nothing_and_moves_nothing(depth: int) -> None:
    w = World()
    w.witness = Witness(w.node)
    w.restart()
    await w.confirmer.round()
    await violate_with_a_copy(w, depth)
    before = await w.tip(), await w.cursor(), await w.states()
    assert await w.confirmer.round() is True
    assert (await w.frozen(), await w.tip(), await w.cursor(), await w.states()) == ("", *before)
    w.witness.disagree = True
    assert await w.confirmer.round() is True
    assert (await w.frozen(), await w.tip(), await w.cursor(), await w.states()) == ("", *before)
    w.witness.disagree, w.witness.node = False, w.node  # all say so
    assert await w.confirmer.round() is False
    assert await w.frozen() != ""


async def violate_with_a_copy(w: World, depth: int) -> None:
    """A reorg that only the endpoint shows which is asked, not the witness."""
    tx = await w.send()
    w.node.include((tx, 0))
    await w.rounds(1)
    honest = ForkableNode(0, WALLET)
    honest.blocks, honest.included = list(w.node.blocks), dict(w.node.included)
    assert w.witness is not None
    w.witness.node = honest
    w.node.reorg(min(depth, len(w.node.blocks)), depth + 1)
