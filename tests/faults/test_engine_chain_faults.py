"""The engine while the chain itself misbehaves: reorgs, foreign nonces, drift. The catalogue's cases by their ids."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chains.config import load_chains
from chains.tx.memory import MemoryState
from chains.tx.model import AttemptKind, Outcome, TxState
from chains.types import CallRequest
from tests.chains.tx.harness import HEADS, SINK, STORE
from tests.faults.emulation import BOR, GETH
from tests.faults.engine_bench import PAY, SEND, FaultBench, fault_bench
from tests.faults.observed import decode_raw
from tests.faults.rules import About, Freeze, Lie, NodeError, Rule, Swallow

pytestmark = pytest.mark.chain


@pytest.fixture
async def f() -> AsyncIterator[FaultBench]:
    async with fault_bench() as made:
        # Anvil 1.7.1 leaves accounts that did not exist before the blocks that a reorg removes.
        made.node("anvil_setBalance", SINK, hex(1))
        made.node("anvil_mine", 5)
        yield made


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
async def test_F25_a_reorg_that_drops_our_transaction_is_sent_again_at_its_nonce(f: FaultBench, depth: int) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=1)
    assert await f.bench.state_of("p") == [TxState.MINED]
    if depth > 1:
        f.node("anvil_mine", depth - 1)  # not looked at: the cursor stays above what goes
    f.node("anvil_reorg", depth, [])
    assert f.paid() == 1
    await f.bench.step()
    await f.ends_well()
    assert (set(f.sent_nonces()), f.paid()) == ({0}, 1_001)
    assert f.bench.seen.kinds("p/0").count("confirmed") == 1


async def test_F25_where_nodes_put_orphans_back_into_the_pool_it_is_mined_once_too(f: FaultBench) -> None:
    f.proxy.emulate(GETH)
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=1)
    f.node("anvil_reorg", 1, [])
    await f.bench.step()
    await f.ends_well()
    assert (len(f.proxy.recorder.txs), f.paid()) == (1, 1_001)


async def test_F26_mined_again_in_another_block_replaces_the_block_and_is_told_once(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=1)
    (before,) = await f.bench.txs("p")
    f.node("anvil_reorg", 1, [[f.proxy.recorder.txs[0].raw, 0]])
    await f.bench.step()
    (after,) = await f.bench.txs("p")
    assert before.block is not None
    assert after.block is not None
    assert after.block.hash != before.block.hash
    await f.ends_well()
    assert f.paid() == 1_001
    assert f.bench.seen.kinds("p/0").count("confirmed") == 1


async def test_F27_a_foreign_transaction_that_wins_in_a_reorg_is_for_a_person(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=1)
    f.node("anvil_reorg", 1, [])
    foreign = f.bench.foreign(0)
    for _ in range(8):
        await f.bench.step(blocks=1)
    (tx,) = await f.bench.txs("p")
    assert (tx.state, tx.outcome) == (TxState.SUPERSEDED, Outcome.NONE)
    assert (await f.bench.lane_state()).hold_reason is not None
    assert "confirmed" not in f.bench.seen.kinds("p/0")
    assert f.paid() == 1 + 7
    assert [seen.nonce for seen in f.proxy.recorder.txs if seen.hash != foreign] == [0]


@pytest.mark.parametrize("use_tag", [True, False], ids=["as-shipped", "without-the-tag"])
@pytest.mark.parametrize("depth", [128, 187, 270])
async def test_F28_on_polygon_a_reorg_of_128_blocks_or_more_undoes_nothing_that_was_called_final(
    depth: int, use_tag: bool
) -> None:
    async with fault_bench("polygon") as f:
        shipped = load_chains()["polygon"].finality
        assert (shipped.use_finalized_tag, shipped.min_final_depth) == (True, 256)
        f.bench.config = replace(f.bench.config, finality=replace(shipped, use_finalized_tag=use_tag))
        f.bench.restart()
        f.node("anvil_setBalance", SINK, hex(1))
        f.node("anvil_mine", 20)
        await f.bench.queue("old", PAY)
        await f.bench.step()
        await f.bench.step(blocks=1)
        await f.bench.step(blocks=254)
        assert await f.bench.state_of("old") == [TxState.CONFIRMED]
        await f.bench.step(blocks=1)
        assert await f.bench.state_of("old") == [TxState.FINAL]
        await f.bench.queue("young", PAY)
        await f.bench.step()
        await f.bench.step(blocks=17)
        assert await f.bench.state_of("young") == [TxState.CONFIRMED]
        f.node("anvil_reorg", depth, [])
        await f.bench.step()
        assert (await f.bench.lane_state()).hold_reason is not None
        (tx,) = await f.bench.txs("old")
        assert (tx.state, f.paid()) == (TxState.FINAL, 1_001)
        assert tx.block is not None
        assert f.node("eth_getBlockByNumber", hex(tx.block.number), False)["hash"] == tx.block.hash

        await f.bench.uow.run(lambda u: HEADS.thaw(u, f.bench.config.chain_id))  # a person looked
        for _ in range(3):
            await f.bench.step(blocks=16)
        assert await f.bench.state_of("young") == [TxState.CONFIRMED]
        assert (f.sent_nonces(), f.paid()) == ([0, 1], 2_001)


async def test_F29_a_confirmed_block_that_leaves_the_chain_freezes_it_and_signs_nothing_more(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=6)
    assert await f.bench.state_of("p") == [TxState.FINAL]
    f.node("anvil_reorg", 6, [])
    sent = len(f.proxy.recorder.txs)
    await f.bench.queue("next", CallRequest(to=SINK, value_wei=9))
    for _ in range(3):
        await f.bench.step()
    assert await f.bench.txs("next") == []
    assert len(f.proxy.recorder.txs) == sent
    assert (await f.bench.lane_state()).hold_reason is not None


@pytest.mark.parametrize("drift", [1, 633])
async def test_F07_a_counter_that_drifted_ahead_is_put_right_within_two_minutes_and_pays_nothing_again(
    f: FaultBench, drift: int
) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.ends_well()
    await drifted(f, by=drift)
    await f.bench.queue("next", CallRequest(to=SINK, value_wei=9))
    await heals(f)
    await f.ends_well("next")
    assert (f.sent_nonces(), f.paid()) == ([0, 1], 1 + PAY.value_wei + 9)


async def test_F07_a_drift_while_a_payment_is_under_way_is_put_right_before_that_is_final(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await drifted(f, by=633)
    await f.bench.queue("next", CallRequest(to=SINK, value_wei=9))
    await heals(f)
    for name in ("p", "next"):
        await f.ends_well(name)
    assert (f.sent_nonces(), f.paid()) == ([0, 1], 1 + PAY.value_wei + 9)


async def test_F07_a_node_that_stands_still_puts_no_counter_right(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.ends_well()
    await drifted(f, by=633)
    await f.bench.queue("next", CallRequest(to=SINK, value_wei=9))
    for _ in range(4):
        await f.bench.step()
        f.bench.clock.advance_ms(60_000)
    assert (await f.bench.lane_state()).next_nonce == 634
    assert f.sent_nonces() == [0]


async def drifted(f: FaultBench, *, by: int) -> None:
    """The counter is edited past the store."""

    def edit(u: MemoryState) -> None:
        state = u.lanes[f.bench.lane]
        u.lanes[f.bench.lane] = replace(state, next_nonce=state.next_nonce + by)

    await f.bench.uow.run(edit)


async def heals(f: FaultBench) -> None:
    """Two minutes pass, a block each twelve seconds; nothing is sent at a nonce that nothing would fill."""
    for _ in range(10):
        await f.bench.step(blocks=1)
        f.bench.clock.advance_ms(12_000)
    assert max(f.sent_nonces()) <= 1
    assert (await f.bench.lane_state()).next_nonce == 2
    assert (await f.bench.lane_state()).hold_reason is None


async def test_F08_a_refused_lower_nonce_is_sent_until_it_is_taken_and_the_queue_behind_it_drains(
    f: FaultBench,
) -> None:
    f.proxy.add(Rule(action=NodeError(code=-32000, text="oversized data"), method=SEND, times=1))
    for index, name in enumerate(("a", "b", "c")):
        await f.bench.queue(name, CallRequest(to=SINK, value_wei=100 + index))
    await f.bench.step()
    assert f.sent_nonces() == [0, 1, 2]
    for name in ("a", "b", "c"):
        await f.ends_well(name)
    assert f.paid() == 1 + 100 + 101 + 102


async def test_F08_a_payload_that_no_node_takes_makes_way_and_the_queue_behind_it_drains(f: FaultBench) -> None:
    def is_first_payload(params: Sequence[Any]) -> bool:
        seen = decode_raw(params[0])
        return seen is not None and seen.nonce == 0 and seen.effect.to == SINK

    f.proxy.add(Rule(action=NodeError(code=-32000, text="oversized data"), method=SEND, when=is_first_payload))
    for index, name in enumerate(("a", "b", "c")):
        await f.bench.queue(name, CallRequest(to=SINK, value_wei=100 + index))
    await f.bench.step()
    most = f.bench.config.sending.bump_after_blocks
    for _ in range(most - 1):
        await f.bench.step(blocks=1)
    # Not at the first word: the same bytes are tried again for as long as a bump would wait.
    assert [attempt.kind for attempt in await f.attempts("a")] == [AttemptKind.REAL]
    for _ in range(8):
        await f.bench.step(blocks=1)
    for name in ("b", "c"):
        await f.ends_well(name)
    (closed,) = await f.bench.txs("a")
    assert (closed.nonce, closed.outcome) == (0, Outcome.CANCELLED)
    assert (f.paid(), set(f.sent_nonces())) == (1 + 101 + 102, {0, 1, 2})


async def test_F08_a_text_that_nobody_knows_gives_no_payload_up(f: FaultBench) -> None:
    f.proxy.add(Rule(action=NodeError(code=-32000, text="flux capacitor misaligned"), method=SEND))
    await f.bench.queue("p", PAY)
    for _ in range(3 * f.bench.config.sending.bump_after_blocks):
        await f.bench.step(blocks=1)
    assert [attempt.kind for attempt in await f.attempts()] == [AttemptKind.REAL]
    f.proxy.clear()
    await f.ends_well()
    assert f.paid() == 1 + PAY.value_wei


async def test_F89_a_restored_backup_that_is_behind_the_chain_signs_nothing(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.ends_well()
    before = len(f.proxy.recorder.txs)
    await f.bench.uow.run(lambda u: STORE.set_next_nonce(u, f.bench.lane, 1, 0))
    f.bench.restart()
    await f.bench.engine.recover()
    await f.bench.queue("again", PAY)
    await f.bench.step(blocks=1)
    assert await f.bench.txs("again") == []
    assert ((await f.bench.lane_state()).hold_reason or "").startswith("foreign_nonce")
    assert len(f.proxy.recorder.txs) == before


async def test_F90_the_same_key_on_two_databases_is_seen_and_held(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.ends_well()
    f.bench.foreign(1)
    await f.bench.queue("next", CallRequest(to=SINK, value_wei=9))
    await f.bench.step()
    assert await f.bench.txs("next") == []
    assert ((await f.bench.lane_state()).hold_reason or "").startswith("foreign_nonce")


async def test_F39_an_endpoint_that_stopped_at_a_block_confirms_nothing_and_undoes_nothing(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=1)
    stale = Rule(action=Freeze(block=5))
    f.proxy.add(stale)
    for _ in range(3):
        await f.bench.step(blocks=1)
    assert await f.bench.state_of("p") == [TxState.MINED]
    f.proxy.remove(stale)
    await f.ends_well()


async def test_F13_F14_a_late_first_attempt_is_found_by_its_own_hash(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Swallow(), method=SEND, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    f.node(SEND, f.proxy.recorder.txs[0].raw)  # it travelled another way
    await f.ends_well()
    (tx,) = await f.bench.txs("p")
    assert tx.mined_hash == f.proxy.recorder.txs[0].hash


async def test_on_bors_rules_the_tip_floor_is_kept_without_a_refusal() -> None:
    async with fault_bench("polygon") as f:
        f.proxy.emulate(BOR)
        f.proxy.add(Rule(action=Lie(about=About.GAS_PRICE, value=1_500_000_000)))
        await f.bench.queue("p", PAY)
        await f.bench.step()
        assert await f.bench.state_of("p") == [TxState.BROADCAST]
        await f.ends_well()
