"""The engine while the node misbehaves about sends: the catalogue's cases, named by their ids."""

import itertools
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from chains.errors import SignerUnavailable
from chains.tx.engine import MAX_POLL_MS, TxEngine
from chains.tx.memory import MemoryState, MemoryUnitOfWork
from chains.tx.model import Outcome, TxState
from chains.types import Address, CallRequest, SignedTx, UnsignedTx
from scripts.devnet.rpc import RpcError
from tests.chains.tx.harness import HEADS, SINK, STORE
from tests.faults.emulation import GETH
from tests.faults.engine_bench import GWEI, PAY, RECEIPT, SEND, FaultBench, fault_bench
from tests.faults.rules import (
    About,
    Action,
    Drop,
    Flaw,
    HttpStatus,
    Lie,
    Malformed,
    NodeError,
    Phase,
    Rule,
    SlowLoris,
    Swallow,
    WrongHash,
)

pytestmark = pytest.mark.chain
T = TypeVar("T")

REVERTER = Address("0x00000000000000000000000000000000000bAd00")


@pytest.fixture
async def f() -> AsyncIterator[FaultBench]:
    async with fault_bench() as made:
        yield made


async def test_F02_a_response_lost_after_the_node_accepted_sends_the_same_bytes_again(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=3))
    await f.bench.queue("p", PAY)
    for _ in range(4):
        await f.bench.step()
    assert len(f.proxy.recorder.sendings) >= 4
    assert len(f.proxy.recorder.txs) == 1
    await f.ends_well()
    assert f.paid() == 1_000


async def test_F02_a_response_lost_and_the_process_restarted_still_pays_once(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    f.bench.restart()
    await f.bench.engine.recover()
    await f.ends_well()
    assert (len(f.proxy.recorder.txs), f.paid()) == (1, 1_000)


async def test_F03_a_transaction_that_the_node_swallowed_is_sent_again(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Swallow(), method=SEND, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    assert await f.bench.state_of("p") == [TxState.BROADCAST]
    assert f.node("txpool_status") == {"pending": "0x0", "queued": "0x0"}
    await f.ends_well()
    assert (len(f.proxy.recorder.txs), f.paid()) == (1, 1_000)


@pytest.mark.parametrize(
    "text",
    ["already known", "transaction already imported", "AlreadyKnown", "known transaction: 0xabc", "Known transaction"],
)
async def test_F04_already_known_on_the_first_send_is_success(f: FaultBench, text: str) -> None:
    f.proxy.add(Rule(action=NodeError(code=-32000, text=text), method=SEND, phase=Phase.AFTER, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    assert await f.bench.state_of("p") == [TxState.BROADCAST]
    await f.ends_well()


async def test_F05_nonce_too_low_with_our_own_attempt_mined_finds_its_receipt(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, times=1))
    f.proxy.add(Rule(action=NodeError(code=-32000, text="receipt index busy"), method=RECEIPT, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step(blocks=1)
    assert "nonce too low" in (f.proxy.recorder.sendings[-1].answer or "")
    assert await f.bench.state_of("p") == [TxState.SIGNED]
    await f.ends_well()
    assert (len(f.proxy.recorder.txs), f.paid()) == (1, 1_000)


async def test_F06_a_foreign_transaction_in_our_slot_is_for_a_person_and_nothing_is_signed_again(
    f: FaultBench,
) -> None:
    f.proxy.add(Rule(action=Swallow(), method=SEND, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    foreign = f.bench.foreign(0)
    for _ in range(8):
        await f.bench.step(blocks=1)
    (tx,) = await f.bench.txs("p")
    assert tx.state is TxState.SUPERSEDED
    assert (await f.bench.lane_state()).hold_reason is not None
    await f.bench.queue("next", PAY)
    await f.bench.step(blocks=1)
    assert await f.bench.txs("next") == []
    ours = [seen for seen in f.proxy.recorder.txs if seen.hash != foreign]
    assert [seen.nonce for seen in ours] == [0]
    assert f.paid() == 7


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_F16_an_http_error_around_an_accepted_send_is_an_unknown_outcome(f: FaultBench, status: int) -> None:
    f.proxy.add(Rule(action=HttpStatus(status=status), method=SEND, phase=Phase.AFTER, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    assert await f.bench.state_of("p") == [TxState.SIGNED]
    await f.ends_well()
    assert len(f.proxy.recorder.txs) == 1


@pytest.mark.parametrize(
    "action",
    [
        *(Malformed(flaw=flaw, size=50) for flaw in Flaw),
        NodeError(code=-32000, text="the frobnicator is out of phase"),
        NodeError(code=-32603, text="Internal error"),
        NodeError(code=-32000, text="transaction indexing is in progress"),
        WrongHash(),
    ],
    ids=lambda action: str(getattr(action, "flaw", None) or getattr(action, "text", "wrong hash")),
)
async def test_F16_whatever_a_node_says_to_an_accepted_send_the_nonce_is_kept_and_the_bytes_are_the_same(
    f: FaultBench, action: Action
) -> None:
    f.proxy.add(Rule(action=action, method=SEND, phase=Phase.AFTER, times=2))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    await f.bench.step()
    assert f.sent_nonces() == [0]
    await f.ends_well()
    assert (len(f.proxy.recorder.txs), f.paid()) == (1, 1_000)


async def test_F16_a_slow_answer_is_still_an_answer(f: FaultBench) -> None:
    f.proxy.add(Rule(action=SlowLoris(pause_s=0.002), phase=Phase.AFTER, method=SEND))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    assert await f.bench.state_of("p") == [TxState.BROADCAST]
    await f.ends_well()


@pytest.mark.parametrize(
    "text", ["nonce too low", "insufficient funds for gas * price + value", "already known", "nonce too high"]
)
async def test_F15_a_contract_that_reverts_in_a_nodes_words_is_a_revert(f: FaultBench, text: str) -> None:
    f.proxy.add(
        Rule(action=NodeError(code=-32601, text="Method not found"), method="eth_simulateV1"),
        Rule(action=NodeError(code=3, text=f"execution reverted: {text}", data="0x"), method="eth_estimateGas"),
    )
    await f.bench.queue("p", CallRequest(to=REVERTER, data=b"\x01"))
    await f.bench.step()
    assert await f.bench.txs("p") == []
    (rejected,) = [detail for kind, _, detail in f.bench.seen.events if kind == "rejected"]
    assert rejected.startswith("simulation_reverted")


async def test_F17_without_funds_at_the_node_the_nonce_is_kept_and_funding_resumes_by_itself(f: FaultBench) -> None:
    f.proxy.add(
        Rule(action=NodeError(code=-32000, text="insufficient funds for gas * price + value"), method=SEND, times=3)
    )
    await f.bench.queue("p", PAY)
    for _ in range(3):
        await f.bench.step()
    (attempt,) = await f.attempts()
    assert (attempt.node_answer or "").startswith("insufficient_funds")
    await f.ends_well()
    assert (f.sent_nonces(), len(f.proxy.recorder.txs)) == ([0], 1)


async def test_F17_a_wallet_out_of_gas_funds_keeps_its_queue_and_funding_resumes_with_no_manual_step(
    f: FaultBench,
) -> None:
    f.node("anvil_setBalance", f.bench.key.address, hex(3_000))
    for value, name in enumerate(("p", "q", "r"), start=1):
        await f.bench.queue(name, CallRequest(to=SINK, value_wei=value))
    for _ in range(3):
        await f.bench.step(blocks=1)
    assert [await f.bench.txs(name) for name in ("p", "q", "r")] == [[], [], []]
    assert (await f.bench.lane_state()).hold_reason is None
    f.node("anvil_setBalance", f.bench.key.address, hex(10**18))
    for name in ("p", "q", "r"):
        await f.ends_well(name)
    assert (f.sent_nonces(), f.paid()) == ([0, 1, 2], 1 + 2 + 3)


async def test_F17_gas_funds_that_end_in_the_middle_of_a_queue_hold_the_rest_of_it(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    f.node("anvil_setBalance", f.bench.key.address, hex(3 * 10**13))  # for one, not for two
    await f.bench.queue("q", CallRequest(to=SINK, value_wei=2))
    for _ in range(3):
        await f.bench.step()
    assert f.sent_nonces() == [0]
    await f.bench.step(blocks=1)
    f.node("anvil_setBalance", f.bench.key.address, hex(2))
    await f.ends_well("p")
    assert await f.bench.txs("q") == []
    f.node("anvil_setBalance", f.bench.key.address, hex(10**18))
    await f.bench.step()
    await f.ends_well("q")
    assert f.sent_nonces() == [0, 1]


async def test_F21_an_endpoint_that_changes_its_chain_is_sent_nothing_at_recovery(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Drop(), method=SEND, times=1))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    before = len(f.proxy.recorder.sendings)
    f.proxy.add(Rule(action=Lie(about=About.CHAIN_ID, value=137)))
    f.bench.restart()
    with pytest.raises(Exception, match="137"):
        await f.bench.engine.recover()
    assert len(f.proxy.recorder.sendings) == before


async def test_F21_a_signature_is_for_its_chain_only(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    assert {seen.chain_id for seen in f.proxy.recorder.txs} == {1}
    async with fault_bench("polygon") as other:
        with pytest.raises(RpcError):
            other.node(SEND, f.proxy.recorder.txs[0].raw)


async def test_F22_a_one_in_flight_limit_of_delegated_senders_only_delays(f: FaultBench) -> None:
    limited = NodeError(code=-32000, text="in-flight transaction limit reached for delegated accounts")
    for name in ("a", "b"):
        await f.bench.queue(name, PAY)
    f.proxy.add(Rule(action=limited, method=SEND, skip=1, times=2))
    await f.bench.step()
    assert await f.bench.state_of("a") == [TxState.BROADCAST]
    assert await f.bench.state_of("b") == [TxState.SIGNED]
    await f.bench.step(blocks=1)
    await f.bench.step(blocks=1)
    for _ in range(8):
        await f.bench.step(blocks=1)
    assert (await f.bench.state_of("a"), await f.bench.state_of("b")) == ([TxState.FINAL], [TxState.FINAL])
    assert (f.sent_nonces(), f.paid()) == ([0, 1], 2_000)


class _TimesOut:
    """A signer whose answer is lost after it signed, twice."""

    def __init__(self, f: FaultBench) -> None:
        self._key, self.signed, self.losing = f.bench.key, list[UnsignedTx](), 2

    async def addresses(self) -> list[Address]:
        return [self._key.address]

    async def sign(self, sender: Address, tx: UnsignedTx) -> SignedTx:
        self.signed.append(tx)
        done = self._key.sign(tx)
        if self.losing:
            self.losing -= 1
            raise SignerUnavailable("no answer in time")
        return done


async def test_F23_a_signer_that_times_out_after_signing_leaves_the_nonce_with_its_row(f: FaultBench) -> None:
    f.bench.signer = signer = _TimesOut(f)
    f.bench.restart()
    await f.bench.queue("p", PAY)
    await f.bench.step()
    assert await f.bench.state_of("p") == [TxState.RESERVED]
    assert f.proxy.recorder.txs == ()
    await f.bench.step()
    await f.ends_well()
    assert {tx.nonce for tx in signer.signed} == {0}
    assert (len(f.proxy.recorder.txs), f.paid()) == (1, 1_000)


async def test_F11_a_fee_oracle_that_lies_is_refused_by_the_caps(f: FaultBench) -> None:
    f.proxy.add(Rule(action=Lie(about=About.GAS_PRICE, value=10**15)))
    await f.bench.queue("tip", PAY)
    await f.bench.step()
    cap = f.bench.config.fees
    assert all(seen.priority_fee_wei <= cap.priority_cap_wei for seen in f.proxy.recorder.txs)
    assert all(seen.max_fee_wei <= cap.max_fee_cap_wei for seen in f.proxy.recorder.txs)
    f.proxy.clear()
    f.proxy.add(Rule(action=Lie(about=About.BASE_FEE, value=10**15)))
    await f.bench.queue("base", PAY)
    await f.bench.step()
    assert all(seen.max_fee_wei * seen.gas_limit <= cap.max_tx_cost_wei for seen in f.proxy.recorder.txs)
    assert all(seen.max_fee_wei <= cap.max_fee_cap_wei for seen in f.proxy.recorder.txs)


async def test_F10_a_spike_of_the_base_fee_waits_below_the_caps_and_is_mined_after_it(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    f.node("anvil_setNextBlockBaseFeePerGas", hex(500 * GWEI))
    await f.bench.step(blocks=1)
    assert await f.bench.state_of("p") == [TxState.BROADCAST]
    cap = f.bench.config.fees
    assert all(seen.max_fee_wei * seen.gas_limit <= cap.max_tx_cost_wei for seen in f.proxy.recorder.txs)
    f.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    for _ in range(8):
        await f.bench.step(blocks=1)
        f.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    (tx,) = await f.bench.txs("p")
    assert (tx.state, tx.outcome, tx.nonce) == (TxState.FINAL, Outcome.SUCCEEDED, 0)
    assert f.paid() == 1_000


async def test_F12_an_evicted_transaction_is_back_within_a_minute_at_the_same_nonce(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    f.node("anvil_dropTransaction", f.proxy.recorder.txs[0].hash)
    for _ in range(0, 60_000, MAX_POLL_MS):
        assert f.node("txpool_status")["pending"] == "0x0"
        f.bench.clock.advance_ms(MAX_POLL_MS)
        await f.bench.engine.step()
        if f.node("txpool_status")["pending"] == "0x1":
            break
    assert f.node("txpool_status")["pending"] == "0x1"
    await f.ends_well()
    assert len(f.proxy.recorder.txs) == 1


async def test_F24_a_gas_estimate_too_low_is_mined_as_failed_and_costs_its_fee_once(f: FaultBench) -> None:
    f.node("anvil_setCode", REVERTER, "0x600160015560016002556001600355" + "00")  # three slots: about 87,000 gas
    await f.bench.queue("p", CallRequest(to=REVERTER), gas_limit=50_000)
    f.proxy.add(Rule(action=NodeError(code=-32601, text="Method not found"), method="eth_simulateV1"))
    f.proxy.add(Rule(action=Lie(about=About.GAS_ESTIMATE, value=40_000)))
    for _ in range(8):
        await f.bench.step(blocks=1)
    (tx,) = await f.bench.txs("p")
    assert (tx.state, tx.outcome) == (TxState.FINAL, Outcome.REVERTED)
    assert f.bench.seen.kinds("p/0") == ["sent", "mined", "confirmed", "final"]


async def test_geths_rules_are_kept_on_the_ordinary_way(f: FaultBench) -> None:
    f.proxy.emulate(GETH)
    await f.bench.queue("a", PAY)
    await f.bench.queue("b", CallRequest(to=SINK, value_wei=2_000))
    await f.bench.step()
    await f.ends_well("b")
    refused = [s.answer for s in f.proxy.recorder.sendings if s.answer and not s.answer.startswith("0x")]
    assert all("already known" in text or "nonce too low" in text for text in refused)


async def test_F41_with_every_endpoint_down_nothing_is_lost_and_work_resumes(f: FaultBench) -> None:
    await f.bench.queue("p", PAY)
    down = Rule(action=Drop())
    f.proxy.add(down)
    for _ in range(3):
        f.bench.clock.advance_ms(600_000)
        await f.bench.engine.step()
    assert await f.bench.txs("p") == []
    f.proxy.remove(down)
    await f.ends_well()


async def test_F20_a_clock_that_jumps_expires_nothing_that_has_no_deadline_and_signs_nothing_again(
    f: FaultBench,
) -> None:
    await f.bench.queue("p", PAY)
    await f.bench.step()
    for hours in (2, -4, 2):
        f.bench.clock.step_wall_ms(hours * 3_600_000)
        await f.bench.engine.step()
    assert len(f.proxy.recorder.txs) == 1
    assert len(f.proxy.recorder.sendings) == 1
    await f.ends_well()


async def test_F09_a_bump_keeps_geths_rule_of_ten_percent_on_both_fees(f: FaultBench) -> None:
    f.proxy.emulate(GETH)
    await f.bench.queue("p", PAY)
    await f.bench.step()
    for _ in range(f.bench.config.sending.bump_after_blocks + 2):
        f.node("anvil_setNextBlockBaseFeePerGas", hex(50 * GWEI))
        await f.bench.step(blocks=1)
    bids = [(seen.max_fee_wei, seen.priority_fee_wei) for seen in f.proxy.recorder.txs]
    assert len(bids) >= 2
    for (fee, tip), (next_fee, next_tip) in itertools.pairwise(bids):
        assert next_fee * 100 >= fee * 110
        assert next_tip * 100 >= tip * 110
    assert "replacement transaction underpriced" not in [sending.answer for sending in f.proxy.recorder.sendings]
    f.node("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await f.ends_well()
    assert (set(f.sent_nonces()), f.paid()) == ({0}, 1_000)


async def test_F14_a_bump_beside_a_mined_original_leaves_one_payment_and_the_right_hash(f: FaultBench) -> None:
    f.proxy.add(Rule(action=NodeError(code=-32000, text="transaction underpriced"), method=SEND, phase=Phase.AFTER))
    await f.bench.queue("p", PAY)
    await f.bench.step()
    f.proxy.clear()
    f.proxy.add(Rule(action=NodeError(code=-32000, text="receipt index busy"), method=RECEIPT, times=2))
    await f.bench.step(blocks=1)
    await f.ends_well()
    (tx,) = await f.bench.txs("p")
    [mined] = [seen.hash for seen in f.proxy.recorder.txs if f.node(RECEIPT, seen.hash) is not None]
    assert (tx.mined_hash, f.paid()) == (mined, 1_000)


class _FullDisk:
    """Units of work that cannot be committed from the `n`-th on."""

    def __init__(self, inner: MemoryUnitOfWork, *, fails_from: int) -> None:
        self._inner, self._left = inner, fails_from

    async def run(self, work: Callable[[MemoryState], T]) -> T:
        self._left -= 1
        if self._left <= 0:
            raise OSError(28, "No space left on device")
        return await self._inner.run(work)

    async def read(self, work: Callable[[MemoryState], T]) -> T:
        return await self._inner.read(work)


@pytest.mark.parametrize("fails_from", [1, 2, 3, 4])
async def test_F88_with_a_full_disk_nothing_is_sent_that_is_not_durable(f: FaultBench, fails_from: int) -> None:
    await f.bench.queue("p", PAY)
    engine = TxEngine(
        client=f.bench.client,
        config=f.bench.config,
        signer=f.bench.signer,
        store=STORE,
        heads=HEADS,
        uow=_FullDisk(f.bench.uow, fails_from=fails_from),
        check=f.bench.check,
        observer=f.bench.seen,
        clock=f.bench.clock,
    )

    async def work() -> None:
        for _ in range(4):
            await engine.step()
            f.bench.mine()

    with pytest.raises(OSError, match="No space left"):
        await work()
    stored = {attempt.hash for attempt in await f.attempts()}
    assert {seen.hash for seen in f.proxy.recorder.txs} <= stored
    f.bench.restart()
    await f.bench.engine.recover()
    await f.ends_well()
    assert f.paid() == 1_000
