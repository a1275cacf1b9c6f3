"""The engine against a real Anvil: automine off, the test decides when a block exists."""

from collections.abc import AsyncIterator

import pytest

from chains.tx.model import IntentState, Outcome, TxState
from chains.types import CallRequest
from scripts.devnet.network import LocalChain
from tests.chains.tx.harness import SINK, Bench, bench_on, config_for

pytestmark = pytest.mark.chain

PAY = CallRequest(to=SINK, value_wei=1_000)


@pytest.fixture
async def bench(ethereum: LocalChain) -> AsyncIterator[Bench]:
    async with bench_on(ethereum.rpc_url, config_for("ethereum")) as made:
        yield made


async def test_a_transfer_is_mined_then_confirmed_then_final(bench: Bench) -> None:
    await bench.queue("p", PAY)
    await bench.engine.step()
    (tx,) = await bench.txs("p")
    assert tx.state is TxState.BROADCAST

    await bench.step(blocks=1)
    (tx,) = await bench.txs("p")
    assert (tx.state, tx.outcome) == (TxState.MINED, Outcome.SUCCEEDED)

    await bench.step(blocks=1)
    assert (await bench.txs("p"))[0].state is TxState.CONFIRMED

    await bench.step(blocks=2)
    assert (await bench.txs("p"))[0].state is TxState.FINAL
    assert bench.seen.kinds() == ["placed", "sent", "mined", "confirmed", "final"]
    assert bench.rpc("eth_getBalance", SINK, "latest") == hex(1_000)


async def test_a_plan_of_three_goes_out_at_once_on_adjacent_nonces(bench: Bench) -> None:
    await bench.queue("p", PAY, PAY, PAY)
    await bench.engine.step()
    assert [tx.nonce for tx in await bench.txs("p")] == [0, 1, 2]
    assert len(bench.tap.raws) == 3
    await bench.step(blocks=1)
    assert [tx.state for tx in await bench.txs("p")] == [TxState.MINED] * 3
    assert (await bench.plan("p")).intents[2].state is IntentState.PLACED
