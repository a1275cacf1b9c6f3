"""Plans of a lane that are placed together, on Anvil: order, and what is said of one of them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chains.config import SendingPolicy
from chains.errors import RpcError, SignerUnavailable
from chains.signing.signer import LocalSigner
from chains.tx.filling import SIGN_SLICE_S
from chains.tx.lanes import MAX_BATCH_PLANS
from chains.tx.memory import MemoryState
from chains.tx.model import AttemptKind, IntentState, LaneState, TxState
from chains.types import Address, CallRequest, SignedTx, UnsignedTx
from scripts.devnet.network import LocalChain
from tests.chains.tx.harness import ETHER, SINK, STORE, Bench, bench_on, config_for

pytestmark = pytest.mark.chain

PAY = CallRequest(to=SINK, value_wei=1)
MANY = SendingPolicy(max_in_flight=1_000)


@pytest.fixture
async def bench(ethereum: LocalChain) -> AsyncIterator[Bench]:
    config = replace(config_for("ethereum"), sending=MANY)
    async with bench_on(ethereum.rpc_url, config) as found:
        yield found


def reverting(bench: Bench) -> CallRequest:
    """A call of the wrapped native asset that fails: it withdraws what is not there."""
    return CallRequest(to=bench.config.wrapped_native, data=bytes.fromhex("2e1a7d4d") + (1).to_bytes(32, "big"))


async def nonces(bench: Bench, names: Sequence[str]) -> list[int]:
    return [tx.nonce for name in names for tx in await bench.txs(name)]


async def state_of_plan(bench: Bench, name: str) -> IntentState:
    return (await bench.plan(name)).intents[0].state


async def test_plans_that_wait_are_sent_in_one_batch_in_the_order_they_were_queued(bench: Bench) -> None:
    names = [f"p{number}" for number in range(20)]
    for name in names:
        await bench.queue(name, PAY)
    batches: list[int] = []
    batch = bench.tap.batch

    async def counted(calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        batches.append(sum(method == "eth_sendRawTransaction" for method, _ in calls))
        return await batch(calls)

    bench.tap.batch = counted  # type: ignore[method-assign]
    await bench.step()
    assert [size for size in batches if size] == [20]
    assert await nonces(bench, names) == list(range(20))
    await bench.step(blocks=1)
    assert {state for name in names for state in await bench.state_of(name)} == {TxState.MINED}


async def test_more_plans_than_a_batch_takes_follow_in_the_next_one(bench: Bench) -> None:
    names = [f"p{number}" for number in range(MAX_BATCH_PLANS + 3)]
    for name in names:
        await bench.queue(name, PAY)
    await bench.step()
    assert await nonces(bench, names) == list(range(len(names)))


async def test_a_plan_that_reverts_in_the_middle_takes_nothing_and_the_others_go_out_without_it(bench: Bench) -> None:
    await bench.queue("before", PAY)
    await bench.queue("bad", PAY, reverting(bench))
    await bench.queue("after", PAY)
    await bench.step()
    # Beside unmined work nothing is said of it: that may still change what it meets.
    assert [await state_of_plan(bench, name) for name in ("before", "bad", "after")] == ["placed", "queued", "queued"]
    await bench.step(blocks=1)
    assert await state_of_plan(bench, "bad") is IntentState.REJECTED
    assert await nonces(bench, ["before", "after"]) == [0, 1]
    assert await bench.txs("bad") == []


async def test_a_plan_that_needs_what_the_one_before_it_in_the_batch_does_is_placed_with_it(bench: Bench) -> None:
    wrap = CallRequest(to=bench.config.wrapped_native, data=bytes.fromhex("d0e30db0"), value_wei=5)
    unwrap = CallRequest(to=bench.config.wrapped_native, data=bytes.fromhex("2e1a7d4d") + (5).to_bytes(32, "big"))
    await bench.queue("wrap", wrap)
    await bench.queue("unwrap", unwrap)
    await bench.step()
    assert await nonces(bench, ["wrap", "unwrap"]) == [0, 1]
    await bench.step(blocks=1)
    assert [tx.outcome for name in ("wrap", "unwrap") for tx in await bench.txs(name)] == ["succeeded", "succeeded"]


async def test_funds_are_counted_over_the_whole_batch(bench: Bench) -> None:
    await bench.queue("first", CallRequest(to=SINK, value_wei=6 * ETHER))
    await bench.queue("second", CallRequest(to=SINK, value_wei=6 * ETHER))
    await bench.step()
    assert [await state_of_plan(bench, name) for name in ("first", "second")] == ["placed", "queued"]
    await bench.step(blocks=1)
    assert await state_of_plan(bench, "second") is IntentState.REJECTED


async def test_an_expired_plan_in_the_middle_is_rejected_alone(bench: Bench) -> None:
    await bench.queue("before", PAY)
    await bench.queue("late", PAY, valid_until_ms=1)
    await bench.queue("after", PAY)
    await bench.step()
    assert await state_of_plan(bench, "late") is IntentState.REJECTED
    assert await nonces(bench, ["before", "after"]) == [0, 1]


async def test_a_plan_that_the_check_refuses_in_the_middle_is_rejected_alone(bench: Bench) -> None:
    check, names = bench.check.check, ("before", "bad", "after")

    async def refuses(intent: Any) -> None:
        bench.check.refuse_from = 0 if intent.plan_id == "bad" else None
        await check(intent)

    bench.check.check = refuses  # type: ignore[method-assign]
    for name in names:
        await bench.queue(name, PAY)
    await bench.step()
    assert [await state_of_plan(bench, name) for name in names] == ["placed", "rejected", "placed"]
    assert await nonces(bench, names) == [0, 1]


async def test_a_refusal_after_the_nonces_were_taken_closes_that_plan_only(bench: Bench) -> None:
    check, names, asked = bench.check.check, ("before", "bad", "after"), 0

    async def refuses_the_second_time(intent: Any) -> None:
        nonlocal asked
        asked += intent.plan_id == "bad"
        bench.check.refuse_from = 0 if intent.plan_id == "bad" and asked > 1 else None
        await check(intent)

    bench.check.check = refuses_the_second_time  # type: ignore[method-assign]
    for name in names:
        await bench.queue(name, PAY)
    await bench.step()
    kinds = [slot.attempts[-1].kind for slot in await bench.open()]
    assert kinds == [AttemptKind.REAL, AttemptKind.CANCEL, AttemptKind.REAL]
    assert await nonces(bench, names) == [0, 1, 2]


async def test_a_batch_stays_within_what_may_be_unmined(ethereum: LocalChain) -> None:
    config = replace(config_for("ethereum"), sending=SendingPolicy(max_in_flight=5))
    async with bench_on(ethereum.rpc_url, config) as bench:
        names = [f"p{number}" for number in range(4)]
        for name in names:
            await bench.queue(name, PAY, PAY)
        await bench.step()
        assert await nonces(bench, names) == [0, 1, 2, 3]
        await bench.step(blocks=1)
        assert await nonces(bench, names) == list(range(8))


class _Signer:
    """Signs with the bench's key; before the `at`-th signature (from 1) `before` is called."""

    def __init__(self, bench: Bench, at: int, before: Any) -> None:
        self._bench, self._at, self._before = bench, at, before
        self.asked = 0

    async def addresses(self) -> Sequence[Address]:
        return [self._bench.key.address]

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        self.asked += 1
        if self.asked == self._at:
            self._before()
        return self._bench.key.sign(tx)


def _use(bench: Bench, signer: _Signer) -> None:
    bench.signer = signer
    bench.restart()


async def test_a_signer_that_fails_in_the_middle_leaves_what_was_signed_sent_and_the_rest_is_filled_later(
    bench: Bench,
) -> None:
    names = ["a", "b", "c"]

    def fail() -> None:
        raise SignerUnavailable("no answer")

    _use(bench, _Signer(bench, 2, fail))
    for name in names:
        await bench.queue(name, PAY)
    await bench.step()
    assert [state for name in names for state in await bench.state_of(name)] == ["broadcast", "reserved", "reserved"]
    await bench.step()
    assert [state for name in names for state in await bench.state_of(name)] == ["broadcast"] * 3
    assert await nonces(bench, names) == [0, 1, 2]


async def test_a_pause_while_a_slow_signer_works_through_a_batch_closes_what_is_not_signed(bench: Bench) -> None:
    def pause() -> None:
        bench.check.paused = True
        bench.clock.advance_ms(int(2_000 * SIGN_SLICE_S))

    _use(bench, _Signer(bench, 2, pause))
    for name in ("a", "b", "c"):
        await bench.queue(name, PAY)
    await bench.step()
    kinds = [slot.attempts[-1].kind for slot in await bench.open()]
    assert kinds == [AttemptKind.REAL, AttemptKind.REAL, AttemptKind.CANCEL]


async def test_a_plan_whose_time_passes_while_a_slow_signer_works_through_its_batch_is_closed(bench: Bench) -> None:
    def dawdle() -> None:
        bench.clock.advance_ms(3_600_000)

    _use(bench, _Signer(bench, 2, dawdle))
    until_ms = bench.clock.now_ms() + 3_600_000
    for name in ("a", "b", "c"):
        await bench.queue(name, PAY, valid_until_ms=until_ms)
    await bench.step()
    # What was signed in time is closed at its nonce afterwards; the last one's payload never is.
    kinds = [slot.attempts[0].kind for slot in await bench.open()]
    assert kinds == [AttemptKind.REAL, AttemptKind.REAL, AttemptKind.CANCEL]


async def test_a_plan_that_was_withdrawn_while_its_batch_was_looked_at_takes_nothing_with_it(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        await bench.queue(name, PAY)
    withdrawn = False
    history = bench.client.fee_history

    async def withdrawing(*args: Any) -> Any:
        nonlocal withdrawn
        if not withdrawn:
            withdrawn = True
            plan = await bench.plan("b")
            await bench.uow.run(lambda u: STORE.reject_plan(u, plan.id, "x: withdrawn"))
        return await history(*args)

    bench.client.fee_history = withdrawing  # type: ignore[method-assign, assignment]
    await bench.step()
    assert await nonces(bench, ["a", "b", "c"]) == []
    await bench.step()
    assert await nonces(bench, ["a", "c"]) == [0, 1]
    assert await bench.txs("b") == []


async def test_a_lane_that_was_held_while_its_batch_was_looked_at_takes_nothing(bench: Bench) -> None:
    for name in ("a", "b"):
        await bench.queue(name, PAY)
    await bench.uow.run(lambda u: bench.open_at(u, 0))
    history = bench.client.fee_history

    def hold(u: MemoryState) -> None:
        STORE.hold_lane(u, bench.lane, "x: held")

    async def holding(*args: Any) -> Any:
        await bench.uow.run(hold)
        return await history(*args)

    bench.client.fee_history = holding  # type: ignore[method-assign, assignment]
    await bench.step()
    assert await nonces(bench, ["a", "b"]) == []
    assert await bench.lane_state() == LaneState(lane=bench.lane, next_nonce=0, hold_reason="x: held")


async def test_what_one_lost_send_leaves_open_is_sent_again_and_the_batch_is_mined_once(bench: Bench) -> None:
    names = ["a", "b", "c"]
    for name in names:
        await bench.queue(name, PAY)
    bench.tap.lose_sends = True
    await bench.step()
    assert [state for name in names for state in await bench.state_of(name)] == ["signed"] * 3
    bench.tap.lose_sends = False
    sent = list(bench.tap.raws)
    await bench.step()
    assert bench.tap.raws[len(sent) :] == sent[:3]
    await bench.step(blocks=1)
    assert {state for name in names for state in await bench.state_of(name)} == {TxState.MINED}


async def test_stored_bytes_are_sent_again_with_no_key_at_hand_and_not_twice_at_a_start(bench: Bench) -> None:
    names = ["a", "b", "c"]
    for name in names:
        await bench.queue(name, PAY)
    bench.tap.lose_sends = True
    await bench.step()
    bench.tap.lose_sends = False
    stored = [slot.attempts[-1].raw for slot in await bench.open()]
    bench.tap.raws.clear()
    bench.signer = LocalSigner([])
    bench.restart()
    await bench.engine.resend()
    assert [bytes.fromhex(raw[2:]) for raw in bench.tap.raws] == stored
    assert [state for name in names for state in await bench.state_of(name)] == ["broadcast"] * 3
    await bench.engine.recover()
    assert len(bench.tap.raws) == len(stored)
