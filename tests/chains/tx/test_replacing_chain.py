"""Bumps and closings against a real Anvil. Anvil's pool takes any higher price, so prices are asserted here."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from chains.config import SendingPolicy
from chains.errors import RpcRefused
from chains.tx.memory import MemoryState
from chains.tx.model import AttemptKind, AttemptState, OpenTx, Outcome, TxState, Wish
from chains.tx.store import StaleState
from chains.types import CallRequest
from scripts.devnet.network import LocalChain
from tests.chains.tx.harness import ETHER, SINK, STORE, Bench, Killed, bench_on, config_for, make_engine
from tests.slack import slack

pytestmark = pytest.mark.chain

PAY = CallRequest(to=SINK, value_wei=1_000)
GWEI = 10**9
MOST_S = 60.0
"""Bounds a wait, no promise."""
TOO_CHEAP = RpcRefused("transaction underpriced", endpoint="x", method="eth_sendRawTransaction", code=-32000)


@pytest.fixture
async def bench(ethereum: LocalChain) -> AsyncIterator[Bench]:
    config = replace(config_for("ethereum"), sending=SendingPolicy(bump_after_blocks=2, max_bumps=2))
    async with bench_on(ethereum.rpc_url, config) as made:
        yield made


async def stuck(bench: Bench, name: str = "p") -> OpenTx:
    """A payment that was sent and that the next blocks leave out."""
    await bench.queue(name, PAY)
    await bench.step()
    return (await bench.open())[-1]


async def pass_blocks(bench: Bench, blocks: int) -> None:
    """Blocks that leave our transactions out, each looked at."""
    for _ in range(blocks):
        bench.rpc("anvil_dropAllTransactions")
        await bench.step(blocks=1)


def at_least_110_percent(after: OpenTx) -> bool:
    fees = [attempt.fees for attempt in after.attempts]
    return all(
        new.max_fee_wei * 100 >= old.max_fee_wei * 110 and new.priority_fee_wei * 100 >= old.priority_fee_wei * 110
        for old, new in itertools.pairwise(fees)
    )


async def test_what_waits_too_long_is_made_dearer_at_the_same_nonce_and_mined_once(bench: Bench) -> None:
    first = await stuck(bench)
    await pass_blocks(bench, 2)
    (slot,) = await bench.open()
    assert len(slot.attempts) == 2
    assert at_least_110_percent(slot)
    assert slot.attempts[1].kind is AttemptKind.REAL
    assert slot.attempts[1].gas_limit == first.tx.gas_limit
    await bench.step(blocks=2)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.mined_hash) == (TxState.CONFIRMED, slot.attempts[1].hash)
    assert bench.rpc("eth_getTransactionCount", bench.key.address, "latest") == "0x1"
    assert bench.seen.kinds("p/0") == ["sent", "mined", "confirmed"]


async def test_what_was_bumped_while_the_original_was_mined_ends_with_the_originals_hash(bench: Bench) -> None:
    """F14."""
    first = await stuck(bench)
    await pass_blocks(bench, 2)
    bench.rpc("anvil_dropAllTransactions")
    bench.rpc("eth_sendRawTransaction", "0x" + first.attempts[0].raw.hex())
    await bench.step(blocks=2)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.outcome, tx.mined_hash) == (TxState.CONFIRMED, Outcome.SUCCEEDED, first.attempts[0].hash)


async def test_after_as_many_bumps_as_the_policy_allows_it_stays_as_it_is_and_says_so(bench: Bench) -> None:
    await stuck(bench)
    await pass_blocks(bench, 9)
    (slot,) = await bench.open()
    assert len(slot.attempts) == 3
    assert (slot.tx.note or "").startswith("bumps_used: ")
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.MINED]


async def test_a_base_fee_above_the_cap_holds_the_price_where_it_is_and_it_goes_on_by_itself(bench: Bench) -> None:
    """F10."""
    await stuck(bench)
    for _ in range(3):
        bench.rpc("anvil_dropAllTransactions")
        bench.rpc("anvil_setNextBlockBaseFeePerGas", hex(600 * GWEI))
        bench.mine()
        bench.rpc("anvil_setNextBlockBaseFeePerGas", hex(600 * GWEI))
        await bench.step()
    (slot,) = await bench.open()
    assert len(slot.attempts) == 1
    assert (slot.tx.note or "").startswith("fee_cap: ")
    bench.rpc("anvil_dropAllTransactions")
    bench.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    bench.mine()
    await bench.step()
    (slot,) = await bench.open()
    assert (len(slot.attempts), slot.tx.note) == (2, None)
    assert slot.attempts[1].fees.max_fee_wei <= bench.config.fees.max_fee_cap_wei


async def test_killed_after_a_replacement_was_saved_the_same_bytes_are_sent(bench: Bench) -> None:
    """K10."""
    await stuck(bench)
    await pass_blocks(bench, 1)
    bench.rpc("anvil_dropAllTransactions")
    bench.mine()
    bench.tap.die_in_sends = True
    with pytest.raises(Killed):
        await bench.engine.step()  # no time has passed: nothing but the replacement is due
    bench.tap.die_in_sends = False
    (slot,) = await bench.open()
    assert [attempt.state for attempt in slot.attempts] == [AttemptState.SENT, AttemptState.SIGNED]
    before = len(bench.tap.raws)
    bench.restart()
    await bench.engine.recover()
    assert bench.tap.raws[before:] == ["0x" + slot.attempts[1].raw.hex()]
    await bench.step(blocks=1)
    (tx,) = await bench.txs("p")
    assert tx.mined_hash == slot.attempts[1].hash


async def test_what_a_node_calls_underpriced_gets_two_further_tries_at_once(bench: Bench) -> None:
    """F09."""
    bench.tap.refuse_sends = TOO_CHEAP
    await stuck(bench)
    for _ in range(4):
        await bench.step(blocks=1)
    (slot,) = await bench.open()
    assert len(slot.attempts) == 4  # the first, two further tries, and a bump for its age
    assert at_least_110_percent(slot)
    assert [attempt.state for attempt in slot.attempts][-1] is AttemptState.SIGNED
    bench.tap.refuse_sends = None
    await bench.step()
    await bench.step(blocks=1)
    assert await bench.state_of("p") == [TxState.MINED]


async def test_a_payment_that_the_check_refuses_by_now_is_closed_instead_of_made_dearer(bench: Bench) -> None:
    await stuck(bench)
    bench.check.refuse_from = 1
    await pass_blocks(bench, 2)
    (slot,) = await bench.open()
    assert [attempt.kind for attempt in slot.attempts] == [AttemptKind.REAL, AttemptKind.CANCEL]
    assert slot.tx.wish_reason == "it is refused now: not what was wanted"
    bench.rpc("anvil_mine", 2)
    await bench.step()
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.CANCELLED]


async def test_a_nonce_that_somebody_else_used_is_no_matter_of_price(bench: Bench) -> None:
    """F06."""
    await stuck(bench)
    bench.rpc("anvil_dropAllTransactions")
    bench.foreign(0)
    await bench.step(blocks=3)
    (slot,) = await bench.open()
    assert len(slot.attempts) == 1


async def test_without_gas_funds_the_bytes_wait_and_go_out_by_themselves_once_there_are_some(bench: Bench) -> None:
    """F17."""
    first = await stuck(bench)
    bench.rpc("anvil_dropAllTransactions")
    bench.rpc("anvil_setBalance", bench.key.address, "0x0")
    await bench.step()
    for _ in range(5):
        await bench.step(blocks=1)
    (slot,) = await bench.open()
    assert [attempt.raw for attempt in slot.attempts] == [first.attempts[0].raw]
    assert (slot.attempts[0].node_answer or "").startswith("insufficient_funds: ")
    assert (await bench.lane_state()).hold_reason is None
    bench.rpc("anvil_setBalance", bench.key.address, hex(ETHER))
    await bench.step()
    await bench.step(blocks=1)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.nonce, tx.mined_hash) == (TxState.MINED, first.tx.nonce, first.attempts[0].hash)


async def test_bytes_that_were_never_affordable_keep_their_nonce_and_hold_nothing_for_ever(bench: Bench) -> None:
    """F17: the funds go between the look at them and the send."""
    bench.tap.refuse_sends = RpcRefused(
        "insufficient funds for gas * price + value", endpoint="x", method="eth_sendRawTransaction", code=-32000
    )
    first = await stuck(bench)
    await bench.step(blocks=5)
    (slot,) = await bench.open()
    assert (slot.tx.state, slot.attempts[0].state) == (TxState.SIGNED, AttemptState.SIGNED)
    bench.tap.refuse_sends = None
    await bench.step()
    await bench.step(blocks=1)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.mined_hash) == (TxState.MINED, first.attempts[0].hash)
    await bench.queue("q", PAY)
    await bench.step()
    assert await bench.state_of("q") == [TxState.BROADCAST]


# -- asked for ---------------------------------------------------------------------------------------------


async def test_a_cancelled_slot_is_closed_by_a_self_send_that_beats_the_payload(bench: Bench) -> None:
    slot = await stuck(bench)
    assert await bench.engine.request_cancel(slot.tx.id, "the operator asked") is True
    assert await bench.engine.request_cancel(slot.tx.id, "again") is False
    await bench.step()
    (slot,) = await bench.open()
    assert [attempt.kind for attempt in slot.attempts] == [AttemptKind.REAL, AttemptKind.CANCEL]
    assert at_least_110_percent(slot)
    await bench.step(blocks=2)
    (tx,) = await bench.txs("p")
    assert (tx.outcome, tx.mined_hash) == (Outcome.CANCELLED, slot.attempts[1].hash)
    await bench.queue("q", PAY)
    await bench.step()
    assert [tx.nonce for tx in await bench.txs("q")] == [1]


async def test_a_cancel_that_loses_against_the_payload_leaves_the_payloads_outcome(bench: Bench) -> None:
    """F13."""
    slot = await stuck(bench)
    await bench.engine.request_cancel(slot.tx.id, "the operator asked")
    await bench.step()
    bench.rpc("anvil_dropAllTransactions")
    bench.rpc("eth_sendRawTransaction", "0x" + slot.attempts[0].raw.hex())
    await bench.step(blocks=2)
    (tx,) = await bench.txs("p")
    assert (tx.outcome, tx.mined_hash) == (Outcome.SUCCEEDED, slot.attempts[0].hash)


async def test_a_cancel_survives_a_restart_and_the_payload_is_not_sent_again(bench: Bench) -> None:
    bench.tap.lose_sends = True
    slot = await stuck(bench)
    assert slot.tx.state is TxState.SIGNED
    await bench.engine.request_cancel(slot.tx.id, "the operator asked")
    bench.tap.lose_sends = False
    payload = "0x" + slot.attempts[0].raw.hex()
    bench.tap.raws.clear()
    bench.restart()
    await bench.engine.recover()
    await bench.step()
    assert payload not in bench.tap.raws
    await bench.step(blocks=1)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.CANCELLED]


async def test_a_mined_slot_cannot_be_cancelled(bench: Bench) -> None:
    slot = await stuck(bench)
    await bench.step(blocks=1)
    with pytest.raises(StaleState):
        await bench.engine.request_cancel(slot.tx.id, "too late")


async def test_a_bump_that_is_asked_for_does_not_wait_for_blocks(bench: Bench) -> None:
    slot = await stuck(bench)
    assert await bench.engine.request_bump(slot.tx.id, "the operator asked") is True
    await bench.step()
    (slot,) = await bench.open()
    assert [attempt.kind for attempt in slot.attempts] == [AttemptKind.REAL, AttemptKind.REAL]
    assert slot.tx.wish is None


async def test_a_payment_whose_deadline_passed_on_the_chain_is_closed(bench: Bench) -> None:
    head = bench.rpc("eth_getBlockByNumber", "latest", False)
    until_ms = (int(head["timestamp"], 16) + 600) * 1000
    await bench.queue("p", PAY, valid_until_ms=until_ms)
    await bench.step()
    bench.rpc("anvil_dropAllTransactions")
    bench.rpc("evm_increaseTime", 700)
    await bench.step(blocks=1)
    (slot,) = await bench.open()
    assert [attempt.kind for attempt in slot.attempts] == [AttemptKind.REAL, AttemptKind.CANCEL]
    await bench.step(blocks=1)
    assert [tx.outcome for tx in await bench.txs("p")] == [Outcome.CANCELLED]


async def test_a_clock_that_jumps_neither_bumps_nor_closes(bench: Bench) -> None:
    """F20."""
    head = bench.rpc("eth_getBlockByNumber", "latest", False)
    await bench.queue("p", PAY, valid_until_ms=(int(head["timestamp"], 16) + 600) * 1000)
    await bench.step()
    bench.clock.advance_ms(400 * 86_400_000)
    await bench.step()
    (slot,) = await bench.open()
    assert len(slot.attempts) == 1


async def test_a_slot_that_was_cancelled_before_it_was_signed_is_filled_with_a_self_send(bench: Bench) -> None:
    first = await stuck(bench)
    bench.mine()
    await bench.step()
    plan = await bench.queue("q", PAY)
    wanted = [(plan.intents[0].id, 21_000)]
    (tx,) = await bench.uow.run(
        lambda u: STORE.reserve(u, bench.lane, wanted, first_nonce=first.tx.nonce + 1, now_ms=0)
    )
    await bench.engine.request_cancel(tx.id, "the operator asked")
    await bench.step()
    slot = (await bench.open())[-1]
    assert [attempt.kind for attempt in slot.attempts] == [AttemptKind.CANCEL]


async def test_a_paused_plan_waits_with_nothing_taken_and_goes_on_afterwards(bench: Bench) -> None:
    bench.check.paused = True
    await bench.queue("p", PAY)
    await bench.step()
    assert await bench.txs("p") == []
    assert bench.seen.kinds() == []
    bench.check.paused = False
    await bench.step()
    assert await bench.state_of("p") == [TxState.BROADCAST]


async def test_no_more_than_the_policy_says_are_unmined_and_the_others_follow_in_order(ethereum: LocalChain) -> None:
    config = replace(config_for("ethereum"), sending=SendingPolicy(max_in_flight=3))
    async with bench_on(ethereum.rpc_url, config) as bench:
        await bench.queue("a", PAY, PAY)
        await bench.queue("b", PAY, PAY)
        await bench.queue("c", PAY)
        await bench.step()
        assert [len(await bench.txs(name)) for name in "abc"] == [2, 0, 0]
        await bench.step(blocks=1)
        assert [tx.nonce for name in "bc" for tx in await bench.txs(name)] == [2, 3, 4]


async def test_a_plan_longer_than_the_bound_is_placed_in_an_empty_lane(ethereum: LocalChain) -> None:
    config = replace(config_for("ethereum"), sending=SendingPolicy(max_in_flight=1))
    async with bench_on(ethereum.rpc_url, config) as bench:
        await bench.queue("a", PAY, PAY)
        await bench.step()
        assert len(await bench.txs("a")) == 2


async def test_a_cancel_is_sent_within_a_second_by_an_engine_at_work(bench: Bench) -> None:
    """F97."""
    slot = await stuck(bench)
    stop = asyncio.Event()
    bench.tap.sent.clear()
    await bench.queue("q", PAY)
    running = asyncio.create_task(bench.engine.run(stop))
    async with asyncio.timeout(MOST_S):
        await bench.tap.sent.wait()  # it is at work: the second payment went out
    async with slack(bench.client.head) as busy:
        bench.tap.sent.clear()
        began_s = time.monotonic()
        async with asyncio.timeout(MOST_S):
            await bench.engine.request_cancel(slot.tx.id, "the operator asked")
            await bench.tap.sent.wait()
        assert time.monotonic() - began_s < 1 + busy.seconds
    stop.set()
    await running
    slot = (await bench.open())[0]
    assert slot.attempts[-1].kind is AttemptKind.CANCEL


async def test_a_cancel_that_another_process_asked_for_is_sent_within_two_seconds_however_rare_the_polls(
    bench: Bench,
) -> None:
    """F97."""
    slot = await stuck(bench)
    elsewhere = make_engine(bench)
    bench.engine._poll_ms = 3_600_000
    stop = asyncio.Event()
    bench.tap.sent.clear()
    await bench.queue("q", PAY)
    running = asyncio.create_task(bench.engine.run(stop))
    async with asyncio.timeout(MOST_S):
        await bench.tap.sent.wait()
    # Its first look at all slots is over.
    await asyncio.sleep(1)
    async with slack(bench.client.head) as busy:
        bench.tap.sent.clear()
        began_s = time.monotonic()
        async with asyncio.timeout(MOST_S):
            await elsewhere.request_cancel(slot.tx.id, "the operator asked")
            await bench.tap.sent.wait()
        assert time.monotonic() - began_s < 2 + busy.seconds
    stop.set()
    await running
    assert (await bench.open())[0].attempts[-1].kind is AttemptKind.CANCEL


def at_another_nonce(uow: MemoryState, slot: OpenTx) -> None:
    uow.txs[slot.tx.id] = replace(slot.tx, nonce=slot.tx.nonce + 1)


def with_other_bytes(uow: MemoryState, slot: OpenTx) -> None:
    (sent,) = slot.attempts
    uow.attempts[sent.hash] = replace(sent, raw=sent.raw[:-1] + bytes([sent.raw[-1] ^ 1]))


@pytest.mark.parametrize("wish", list(Wish))
@pytest.mark.parametrize("edit", [at_another_nonce, with_other_bytes])
async def test_F51_a_slot_that_is_not_where_it_was_signed_for_is_not_signed_again_and_holds_its_wallet(
    bench: Bench, edit: Callable[[MemoryState, OpenTx], None], wish: Wish
) -> None:
    before = int(bench.rpc("eth_getBalance", SINK, "latest"), 16)
    slot = await stuck(bench)

    def write(uow: MemoryState) -> None:
        edit(uow, slot)
        STORE.wish(uow, slot.tx.id, wish, reason="asked", now_ms=1)

    await bench.uow.run(write)
    await bench.step()
    (seen,) = await bench.open()
    assert len(seen.attempts) == 1
    assert (seen.tx.note or "").startswith("displaced: ")
    lane = await bench.uow.read(lambda u: STORE.lane(u, slot.tx.lane))
    assert lane is not None
    assert (lane.hold_reason or "").startswith("payload_mismatch: ")
    await bench.step(blocks=3)
    assert int(bench.rpc("eth_getBalance", SINK, "latest"), 16) - before == PAY.value_wei
    assert bench.rpc("eth_getTransactionCount", bench.key.address, "latest") == "0x1"
