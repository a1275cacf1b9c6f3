"""The engine against a real Anvil: automine off, the test decides when a block exists."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chains.errors import RpcUnavailable
from chains.signing import eip1559
from chains.signing.signer import LocalSigner
from chains.tx.model import AttemptKind, IntentState, Outcome, TxState
from chains.types import Address, BlockHash, CallRequest
from scripts.devnet.network import LocalChain
from tests.chains.tx.harness import ETHER, HEADS, SINK, Bench, DyingSigner, Killed, RefusingSigner, bench_on, config_for

pytestmark = pytest.mark.chain

PAY = CallRequest(to=SINK, value_wei=1_000)
FLAG = Address("0x00000000000000000000000000000000000F1a60")
FLAG_CODE = "0x36600a576001600055005b5f546013575f5ffd5b00"
"""No calldata: storage 0 becomes 1. With calldata: reverts unless storage 0 is set."""
RAISE_FLAG = CallRequest(to=FLAG)
NEED_FLAG = CallRequest(to=FLAG, data=b"\x01")
REVERT_CODE = "0x5f5ffd"


@pytest.fixture
async def bench(ethereum: LocalChain) -> AsyncIterator[Bench]:
    async with bench_on(ethereum.rpc_url, config_for("ethereum")) as made:
        yield made


@pytest.fixture
async def lone(fresh_ethereum: LocalChain) -> AsyncIterator[Bench]:
    """On a fork of its own, for reorgs."""
    async with bench_on(fresh_ethereum.rpc_url, config_for("ethereum")) as made:
        yield made


# -- the ordinary way -------------------------------------------------------------------------------------


async def test_a_transfer_is_mined_then_confirmed_then_final(bench: Bench) -> None:
    before = int(bench.rpc("eth_getBalance", SINK, "latest"), 16)
    await bench.queue("p", PAY)
    await bench.step()
    assert await bench.state_of("p") == [TxState.BROADCAST]
    await bench.step(blocks=1)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.outcome) == (TxState.MINED, Outcome.SUCCEEDED)
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.CONFIRMED]
    await bench.step(blocks=2)
    assert await bench.state_of("p") == [TxState.FINAL]
    assert bench.seen.kinds() == ["placed", "sent", "mined", "confirmed", "final"]
    assert int(bench.rpc("eth_getBalance", SINK, "latest"), 16) == before + 1_000


async def test_a_plan_of_three_goes_out_at_once_on_adjacent_nonces(bench: Bench) -> None:
    await bench.queue("p", PAY, PAY, PAY)
    await bench.step()
    assert [tx.nonce for tx in await bench.txs("p")] == [0, 1, 2]
    assert len(bench.tap.raws) == 3
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.MINED] * 3


async def test_a_step_that_needs_the_one_before_it_is_simulated_with_it(bench: Bench) -> None:
    bench.rpc("anvil_setCode", FLAG, FLAG_CODE)
    await bench.queue("p", RAISE_FLAG, NEED_FLAG)
    await bench.step()
    await bench.step(blocks=1)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]


async def test_plans_are_placed_in_the_order_they_were_queued_while_earlier_ones_are_unmined(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        await bench.queue(name, PAY)
    await bench.step()
    assert [(await bench.txs(name))[0].nonce for name in ("a", "b", "c")] == [0, 1, 2]


async def test_everything_at_once_after_a_long_sleep_passes_through_every_state(bench: Bench) -> None:
    await bench.queue("p", PAY)
    await bench.step()
    await bench.step(blocks=10)
    assert bench.seen.kinds("p/0") == ["sent", "mined", "confirmed", "final"]


async def test_a_transfer_has_the_gas_it_uses_and_a_call_has_more(bench: Bench) -> None:
    bench.rpc("anvil_setCode", FLAG, FLAG_CODE)
    await bench.queue("p", PAY, RAISE_FLAG)
    await bench.step()
    transfer, call = await bench.txs("p")
    assert transfer.gas_limit == 21_000
    assert call.gas_limit > 60_000


async def test_the_tip_on_polygon_is_at_least_its_floor(polygon: LocalChain) -> None:
    async with bench_on(polygon.rpc_url, config_for("polygon")) as bench:
        await bench.queue("p", PAY)
        await bench.step()
        (slot,) = await bench.open()
        assert slot.attempts[0].fees.priority_fee_wei >= 30 * 10**9
        await bench.step(blocks=1)
        assert await bench.state_of("p") == [TxState.MINED]


async def test_a_transaction_that_reverts_when_mined_has_that_outcome_and_becomes_final(bench: Bench) -> None:
    await bench.queue("p", CallRequest(to=FLAG, data=b"\x01"), gas_limit=100_000)
    await bench.step()
    bench.rpc("anvil_setCode", FLAG, REVERT_CODE)
    await bench.step(blocks=5)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.outcome) == (TxState.FINAL, Outcome.REVERTED)
    assert ("confirmed", "p/0", Outcome.REVERTED) in bench.seen.events


async def test_run_takes_work_when_woken_and_ends_when_told(bench: Bench) -> None:
    bench.rpc("evm_setAutomine", True)
    stop = asyncio.Event()
    await bench.engine.recover()
    running = asyncio.create_task(bench.engine.run(stop))
    await bench.queue("p", PAY)
    bench.engine.wake()
    async with asyncio.timeout(60):
        await bench.seen.mined.wait()
        stop.set()
        await running
    assert await bench.state_of("p") == [TxState.MINED]


# -- refused with nothing taken ---------------------------------------------------------------------------


async def _reason(bench: Bench, name: str = "p") -> str:
    plan = await bench.plan(name)
    assert {intent.state for intent in plan.intents} == {IntentState.REJECTED}
    assert await bench.txs(name) == []
    assert bench.tap.raws == []
    assert bench.seen.kinds() == ["rejected"]
    return plan.intents[0].reject_reason or ""


async def test_a_plan_that_reverts_in_simulation_is_rejected(bench: Bench) -> None:
    bench.rpc("anvil_setCode", FLAG, FLAG_CODE)
    await bench.queue("p", PAY, NEED_FLAG)
    await bench.step()
    assert (await _reason(bench)).startswith("simulation_reverted: step 2 of 2")


async def test_without_funds_for_gas_a_plan_waits_with_nothing_taken_and_goes_on_once_funded(bench: Bench) -> None:
    bench.rpc("anvil_setBalance", bench.key.address, hex(1_000 + 21_000))
    await bench.queue("p", PAY)
    for _ in range(3):
        await bench.step()
    assert {intent.state for intent in (await bench.plan("p")).intents} == {IntentState.QUEUED}
    assert ((await bench.lane_state()).next_nonce, bench.tap.raws, bench.seen.kinds()) == (0, [], [])
    bench.rpc("anvil_setBalance", bench.key.address, hex(ETHER))
    await bench.step()
    assert len(bench.tap.raws) == 1


async def test_a_plan_that_waits_for_gas_ends_with_its_time(bench: Bench) -> None:
    bench.rpc("anvil_setBalance", bench.key.address, hex(1_000 + 21_000))
    await bench.queue("p", PAY, valid_until_ms=bench.clock.now_ms() + 10_000)
    await bench.step()
    bench.clock.advance_ms(11_000)
    await bench.step()
    assert (await _reason(bench)).startswith("expired: ")


async def test_without_funds_for_the_value_nothing_is_taken(bench: Bench) -> None:
    await bench.queue("p", CallRequest(to=SINK, value_wei=11 * ETHER))
    await bench.step()
    assert (await _reason(bench)).startswith("insufficient_funds: ")


async def test_a_plan_whose_time_has_passed_is_rejected_even_when_the_lane_is_held(bench: Bench) -> None:
    await bench.queue("p", PAY, valid_until_ms=bench.clock.now_ms())
    await bench.step()
    assert (await _reason(bench)).startswith("expired: ")


async def test_fees_above_the_cap_reject_a_plan_before_a_nonce_is_taken(bench: Bench) -> None:
    bench.rpc("anvil_setNextBlockBaseFeePerGas", hex(600 * 10**9))
    bench.mine()
    bench.rpc("anvil_setNextBlockBaseFeePerGas", hex(600 * 10**9))
    await bench.queue("p", PAY)
    await bench.step()
    assert (await _reason(bench)).startswith("fee_cap: ")


async def test_a_wallet_with_no_unlocked_key_takes_no_nonce(bench: Bench) -> None:
    bench.signer = LocalSigner([])
    bench.restart()
    await bench.queue("p", PAY)
    await bench.step()
    assert (await _reason(bench)).startswith("no_signer: ")


async def test_a_payload_that_is_not_the_accepted_one_is_rejected(bench: Bench) -> None:
    plan = await bench.queue("p", PAY)
    tampered = replace(plan.intents[0], call=replace(PAY, value_wei=2_000))
    await bench.uow.run(lambda u: u.intents.update({tampered.id: tampered}))
    await bench.step()
    assert (await _reason(bench)).startswith("payload_mismatch: ")


async def test_a_plan_that_the_check_refuses_is_rejected(bench: Bench) -> None:
    bench.check.refuse_from = 2
    await bench.queue("p", PAY, PAY)
    await bench.step()
    assert (await _reason(bench)) == "presign_refused: not what was wanted"


# -- refused after the nonces were taken ------------------------------------------------------------------


async def test_a_refusal_after_the_nonces_were_taken_closes_all_of_them_by_self_sends(bench: Bench) -> None:
    bench.check.refuse_from = 4  # two steps are asked twice; the last question is refused
    await bench.queue("p", PAY, PAY)
    await bench.step()
    slots = await bench.open()
    assert [slot.attempts[0].kind for slot in slots] == [AttemptKind.CANCEL, AttemptKind.CANCEL]
    sent, sender = eip1559.decode(bytes.fromhex(bench.tap.raws[0][2:]))
    assert (sent.to, sent.value_wei, sent.data, sender) == (bench.key.address, 0, b"", bench.key.address)
    await bench.step(blocks=2)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.CANCELLED, Outcome.CANCELLED]
    bench.check.refuse_from = None
    await bench.queue("q", PAY)
    await bench.step()
    assert [tx.nonce for tx in await bench.txs("q")] == [2]


# -- crashes ----------------------------------------------------------------------------------------------


async def test_killed_between_save_and_send_the_same_bytes_are_sent_and_mined_once(bench: Bench) -> None:
    await bench.queue("p", PAY)
    bench.tap.die_in_sends = True
    with pytest.raises(Killed):
        await bench.step()
    (slot,) = await bench.open()
    assert slot.tx.state is TxState.SIGNED
    bench.tap.die_in_sends = False
    bench.restart()
    await bench.engine.recover()
    assert bench.tap.raws == ["0x" + slot.attempts[0].raw.hex()]
    await bench.step(blocks=2)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.mined_hash) == (TxState.CONFIRMED, slot.attempts[0].hash)
    assert bench.rpc("eth_getTransactionCount", bench.key.address, "latest") == "0x1"


async def test_killed_between_reserve_and_sign_the_slot_is_signed_by_the_next_process(bench: Bench) -> None:
    signer, bench.signer = bench.signer, DyingSigner(bench.key.address)
    bench.restart()
    await bench.queue("p", PAY, PAY)
    with pytest.raises(Killed):
        await bench.step()
    assert await bench.state_of("p") == [TxState.RESERVED, TxState.RESERVED]
    bench.signer = signer
    bench.restart()
    await bench.engine.recover()
    assert await bench.state_of("p") == [TxState.BROADCAST, TxState.BROADCAST]
    await bench.step(blocks=1)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]


async def test_on_a_frozen_chain_a_slot_left_unsigned_stays_so_at_the_next_start(bench: Bench) -> None:
    signer, bench.signer = bench.signer, DyingSigner(bench.key.address)
    bench.restart()
    await bench.queue("p", PAY)
    with pytest.raises(Killed):
        await bench.step()
    now_ms = bench.clock.now_ms()
    await bench.uow.run(lambda u: HEADS.freeze(u, bench.config.chain_id, "x: a block left the chain", now_ms=now_ms))
    bench.signer = signer
    bench.restart()
    await bench.engine.recover()
    assert await bench.state_of("p") == [TxState.RESERVED]


async def test_a_slot_left_unsigned_whose_time_has_passed_is_closed_by_a_self_send(bench: Bench) -> None:
    signer, bench.signer = bench.signer, DyingSigner(bench.key.address)
    bench.restart()
    await bench.queue("p", PAY, valid_until_ms=bench.clock.now_ms() + 3_600_000)
    with pytest.raises(Killed):
        await bench.step()
    bench.clock.advance_ms(3_600_000)
    bench.signer = signer
    bench.restart()
    await bench.engine.recover()
    await bench.step(blocks=1)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.CANCELLED]


async def test_a_send_whose_answer_was_lost_is_sent_again_with_the_same_bytes(bench: Bench) -> None:
    bench.tap.lose_sends = True
    await bench.queue("p", PAY)
    await bench.step()
    (slot,) = await bench.open()
    assert (slot.attempts[0].node_answer or "").startswith("unknown: ")
    bench.tap.lose_sends = False
    await bench.step()
    assert set(bench.tap.raws) == {"0x" + slot.attempts[0].raw.hex()}
    assert await bench.state_of("p") == [TxState.BROADCAST]


async def test_a_node_that_is_down_loses_nothing_and_ends_nothing(bench: Bench) -> None:
    await bench.queue("p", PAY)
    bench.tap.fail_with = RpcUnavailable("no connection", endpoint="ethereum", method="any")
    await bench.engine.recover()
    await bench.step()
    assert await bench.txs("p") == []
    bench.tap.fail_with = None
    await bench.step()
    assert await bench.state_of("p") == [TxState.BROADCAST]


async def test_a_transaction_that_a_pool_dropped_is_sent_again(bench: Bench) -> None:
    await bench.queue("p", PAY)
    await bench.step()
    bench.rpc("anvil_dropAllTransactions")
    await bench.step()
    assert len(bench.tap.raws) == 2
    assert bench.tap.raws[0] == bench.tap.raws[1]
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.MINED]


async def test_bytes_that_were_mined_before_their_send_was_acknowledged_are_found(bench: Bench) -> None:
    await bench.queue("p", PAY)
    bench.tap.die_in_sends = True
    with pytest.raises(Killed):
        await bench.step()
    bench.tap.die_in_sends = False
    (slot,) = await bench.open()
    bench.rpc("eth_sendRawTransaction", "0x" + slot.attempts[0].raw.hex())
    bench.mine()
    bench.restart()
    await bench.engine.recover()  # the node answers "nonce too low"
    await bench.step()
    assert await bench.state_of("p") == [TxState.MINED]


# -- nodes without eth_simulateV1 -------------------------------------------------------------------------


async def test_where_a_sequence_cannot_be_simulated_each_step_waits_for_the_one_before(bench: Bench) -> None:
    bench.tap.lacking = frozenset({"eth_simulateV1"})
    bench.rpc("anvil_setCode", FLAG, FLAG_CODE)
    await bench.queue("p", RAISE_FLAG, NEED_FLAG)
    await bench.step()
    assert [intent.state for intent in (await bench.plan("p")).intents] == [IntentState.PLACED, IntentState.QUEUED]
    bench.restart()
    await bench.engine.recover()
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.MINED, TxState.BROADCAST]
    await bench.step(blocks=1)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]


async def test_where_steps_go_one_by_one_a_failed_one_rejects_the_rest(bench: Bench) -> None:
    bench.tap.lacking = frozenset({"eth_simulateV1"})
    await bench.queue("p", CallRequest(to=FLAG, data=b"\x01"), PAY)
    await bench.step()
    bench.rpc("anvil_setCode", FLAG, REVERT_CODE)
    await bench.step(blocks=1)
    first, second = (await bench.plan("p")).intents
    assert (first.state, second.state) == (IntentState.PLACED, IntentState.REJECTED)
    assert (second.reject_reason or "").startswith("earlier_step_failed: ")
    assert "rejected" in bench.seen.kinds("p")


# -- what other work of the lane has to do with it --------------------------------------------------------


async def test_a_plan_that_fails_beside_unmined_work_of_its_lane_waits_instead_of_being_rejected(bench: Bench) -> None:
    bench.rpc("anvil_setCode", FLAG, FLAG_CODE)
    await bench.queue("raise", RAISE_FLAG)
    bench.tap.lose_sends = True  # so that the node's pending block does not show it
    await bench.step()
    await bench.queue("need", NEED_FLAG)
    await bench.engine.step()
    assert (await bench.plan("need")).intents[0].state is IntentState.QUEUED
    bench.tap.lose_sends = False
    await bench.step()
    await bench.step(blocks=1)
    assert await bench.state_of("need") == [TxState.BROADCAST]


async def test_funds_bound_by_unmined_work_are_not_spent_twice(bench: Bench) -> None:
    await bench.queue("a", CallRequest(to=SINK, value_wei=6 * ETHER))
    await bench.queue("b", CallRequest(to=SINK, value_wei=6 * ETHER))
    bench.tap.lose_sends = True  # so that the node's pending block does not know of the first
    await bench.step()
    assert (await bench.plan("b")).intents[0].state is IntentState.QUEUED
    bench.tap.lose_sends = False
    await bench.step()
    await bench.step(blocks=1)
    assert ((await bench.plan("b")).intents[0].reject_reason or "").startswith("insufficient_funds: ")


# -- foreign use of the key -------------------------------------------------------------------------------


async def test_a_lane_starts_at_the_nonce_that_the_chain_has(bench: Bench) -> None:
    bench.foreign(0)
    bench.mine()
    await bench.queue("p", PAY)
    await bench.step()
    assert [tx.nonce for tx in await bench.txs("p")] == [1]


async def test_a_lane_is_not_opened_beside_pending_transactions_that_are_not_ours(bench: Bench) -> None:
    bench.foreign(0)
    await bench.queue("p", PAY)
    await bench.step()
    assert await bench.txs("p") == []
    await bench.step(blocks=1)
    assert [tx.nonce for tx in await bench.txs("p")] == [1]


async def test_a_nonce_used_by_another_program_holds_the_lane(bench: Bench) -> None:
    await bench.queue("a", PAY)
    await bench.step()
    await bench.step(blocks=1)
    bench.foreign(1)
    bench.mine()
    await bench.queue("b", PAY)
    await bench.step()
    assert ((await bench.lane_state()).hold_reason or "").startswith("foreign_nonce: ")
    assert (await bench.plan("b")).intents[0].state is IntentState.QUEUED
    await bench.step(blocks=1)
    assert await bench.txs("b") == []


async def test_a_foreign_transaction_in_our_slot_is_told_when_its_block_is_final(bench: Bench) -> None:
    await bench.queue("p", PAY)
    bench.tap.lose_sends = True
    await bench.step()
    bench.rpc("anvil_dropAllTransactions")
    bench.foreign(0)
    before = await bench.cursor()
    await bench.step(blocks=2)
    held_back = await bench.cursor()
    assert held_back == before
    assert await bench.state_of("p") == [TxState.SIGNED]
    await bench.step(blocks=2)
    assert await bench.state_of("p") == [TxState.SIGNED]  # final, but one look is not enough
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.SUPERSEDED]
    assert ((await bench.lane_state()).hold_reason or "").startswith("foreign_nonce: ")
    assert "superseded" in bench.seen.kinds("p/0")
    await bench.step(blocks=1)
    moved_on = await bench.cursor()
    assert held_back is not None
    assert moved_on is not None
    assert moved_on.number > held_back.number


async def test_a_chain_behind_our_nonce_with_nothing_open_holds_the_lane(bench: Bench) -> None:
    await bench.queue("p", PAY)
    await bench.uow.run(lambda u: bench.open_at(u, 633))
    await bench.step()
    assert ((await bench.lane_state()).hold_reason or "").startswith("nonce_ahead: ")
    assert await bench.txs("p") == []


# -- reorgs and the cursor --------------------------------------------------------------------------------


async def test_a_reorg_takes_it_back_to_broadcast_and_it_is_mined_once(lone: Bench) -> None:
    await lone.step(blocks=3)
    await lone.queue("p", PAY)
    await lone.engine.step()
    lone.mine()
    await lone.engine.step()
    assert await lone.state_of("p") == [TxState.MINED]
    lone.rpc("anvil_reorg", 1, [])
    await lone.engine.step()  # no time passes, yet it is sent again at once
    assert await lone.state_of("p") == [TxState.BROADCAST]
    assert len(lone.tap.raws) == 2
    await lone.step(blocks=2)
    assert await lone.state_of("p") == [TxState.CONFIRMED]
    assert lone.seen.kinds("p/0") == ["sent", "mined", "reorged", "mined", "confirmed"]
    assert lone.rpc("eth_getTransactionCount", lone.key.address, "latest") == "0x1"


async def test_a_transaction_mined_again_in_the_new_chain_gets_its_new_block_at_once(lone: Bench) -> None:
    await lone.step(blocks=3)
    await lone.queue("p", PAY)
    await lone.step()
    await lone.step(blocks=1)
    (before,) = await lone.txs("p")
    lone.rpc("anvil_reorg", 1, [[lone.tap.raws[0], 0]])
    await lone.step()
    (after,) = await lone.txs("p")
    assert after.state is TxState.MINED
    assert before.block is not None
    assert after.block is not None
    assert before.block.hash != after.block.hash
    assert lone.seen.kinds("p/0") == ["sent", "mined", "reorged", "mined"]


async def test_the_cursor_follows_at_confirmed_depth_with_the_canonical_hash(bench: Bench) -> None:
    await bench.step(blocks=3)
    head = int(bench.rpc("eth_blockNumber"), 16)
    cursor = await bench.cursor()
    assert cursor is not None
    assert cursor.number == head - 1
    assert cursor.hash == BlockHash(bench.rpc("eth_getBlockByNumber", hex(head - 1), False)["hash"])
    await bench.step()
    assert await bench.cursor() == cursor


async def test_a_reorg_below_the_cursor_freezes_the_chain_and_holds_its_lanes(lone: Bench) -> None:
    await lone.queue("p", PAY)
    await lone.step()
    await lone.step(blocks=3)
    cursor = await lone.cursor()
    lone.rpc("anvil_reorg", 3, [])
    await lone.queue("q", PAY)
    await lone.step(blocks=1)
    assert ((await lone.lane_state()).hold_reason or "").startswith("deep_reorg: ")
    assert await lone.cursor() == cursor
    assert await lone.txs("q") == []
    assert await lone.state_of("p") == [TxState.CONFIRMED]
    await lone.uow.run(lone.release)
    await lone.step(blocks=1)
    assert await lone.txs("q") == []  # the cursor is still not on the chain


# -- the loops --------------------------------------------------------------------------------------------


async def test_a_signer_that_refuses_after_the_nonce_was_taken_holds_the_lane_until_the_slot_is_filled(
    bench: Bench,
) -> None:
    signer, bench.signer = bench.signer, RefusingSigner(bench.key.address)
    bench.restart()
    await bench.queue("p", PAY)
    await bench.step()
    assert await bench.state_of("p") == [TxState.RESERVED]
    assert ((await bench.lane_state()).hold_reason or "").startswith("signing_failed: ")
    bench.signer = signer
    bench.restart()
    await bench.engine.recover()
    assert await bench.state_of("p") == [TxState.BROADCAST]


async def test_a_lane_with_an_unfilled_nonce_takes_no_new_work(bench: Bench) -> None:
    bench.signer = RefusingSigner(bench.key.address)
    bench.restart()
    await bench.queue("p", PAY)
    await bench.step()
    await bench.uow.run(bench.release)
    await bench.queue("q", PAY)
    await bench.step()
    assert await bench.txs("q") == []


async def test_an_observer_that_raises_ends_run_and_nothing_of_its_unit_of_work_stays(bench: Bench) -> None:
    bench.seen.breaks_on = "mined"
    await bench.queue("p", PAY)
    await bench.step()
    bench.mine()
    await bench.engine.recover()
    with pytest.raises(ExceptionGroup) as caught:
        await bench.engine.run(asyncio.Event())
    assert caught.group_contains(ZeroDivisionError)
    assert await bench.state_of("p") == [TxState.BROADCAST]


async def test_run_ends_when_told_even_while_the_node_is_down(bench: Bench) -> None:
    bench.tap.fail_with = RpcUnavailable("no connection", endpoint="ethereum", method="any")
    stop = asyncio.Event()
    await bench.engine.recover()
    running = asyncio.create_task(bench.engine.run(stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(60):
        await running
