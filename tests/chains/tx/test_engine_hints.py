"""F43: a running engine with a WebSocket that is well, silent, closing, flooding, lying, or not there at all."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chains.rpc.hints import HintTimes, SecretSocketUrl, SocketAddress, listen
from chains.tx.model import TxState
from chains.types import CallRequest
from scripts.devnet import artifacts
from scripts.devnet.anvil import run_anvil
from tests.chains.rpc.test_hints import floods, serving
from tests.chains.tx.harness import SINK, Bench, bench_on, config_for
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ThreadedProxy
from tests.faults.rules import CloseSocket, Rule, Silence

pytestmark = pytest.mark.chain

NEVER_MS = 3_600_000
SOON_MS = 50
TIMES = HintTimes(first_pause_s=0.05, max_pause_s=0.2, least_gap_s=0.02)
NOTIFICATION = "eth_subscription"


@pytest.fixture
async def chain() -> AsyncIterator[tuple[Bench, FaultProxy]]:
    arguments = ["--chain-id", "1", "--slots-in-an-epoch", "2", "--no-mining"]
    with (
        run_anvil(artifacts.ensure().anvil, "hints", arguments=arguments) as anvil,
        ThreadedProxy(FaultProxy(anvil.url)) as proxy,
    ):
        async with bench_on(proxy.url, config_for("ethereum")) as bench:
            bench.mine(5)
            yield bench, proxy


@asynccontextmanager
async def following(bench: Bench, socket_url: str, *, poll_ms: int) -> AsyncIterator[asyncio.Event]:
    """The engine runs, with hints from that socket; the event is set by the first one, the subscription's answer."""
    heard = asyncio.Event()

    def hint() -> None:
        heard.set()
        bench.engine.hint()

    bench.engine._poll_ms = poll_ms
    stop = asyncio.Event()
    socket = SocketAddress(name="own", url=SecretSocketUrl(socket_url))
    hints = asyncio.create_task(listen(socket, hint, times=TIMES))
    await bench.engine.recover()
    engine = asyncio.create_task(bench.engine.run(stop))
    try:
        yield heard
    finally:
        stop.set()
        hints.cancel()
        with suppress(asyncio.CancelledError):
            await hints
        await engine


async def knows(bench: Bench, number: int) -> None:
    """Until the engine has worked off that block."""
    async with asyncio.timeout(60):
        while (known := bench.engine.known_head) is None or known.header.number < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_hint_makes_the_engine_look_at_once(chain: tuple[Bench, FaultProxy]) -> None:
    bench, proxy = chain
    async with following(bench, proxy.ws_url, poll_ms=NEVER_MS) as heard:
        async with asyncio.timeout(60):
            await heard.wait()
        await knows(bench, 5)
        for number in (6, 7, 8):
            await asyncio.to_thread(bench.mine)
            await knows(bench, number)  # no poll would come within this test


@pytest.mark.parametrize("sickness", ["silent", "closing", "flooding", "absent"])
async def test_F43_with_a_sick_socket_polling_goes_on_as_without_one(
    chain: tuple[Bench, FaultProxy], sickness: str
) -> None:
    bench, proxy = chain
    proxy.add(Rule(action=Silence() if sickness == "silent" else CloseSocket(), method=NOTIFICATION))
    async with serving(floods) as flood:
        url = {"flooding": flood, "absent": "ws://127.0.0.1:9"}.get(sickness, proxy.ws_url)
        async with following(bench, url, poll_ms=SOON_MS):
            await bench.queue("p", CallRequest(to=SINK, value_wei=1_000))
            bench.engine.wake()
            async with asyncio.timeout(60):
                await bench.tap.sent.wait()
            for number in (6, 7, 8, 9, 10):
                await asyncio.to_thread(bench.mine)
                await knows(bench, number)
    assert await bench.state_of("p") == [TxState.FINAL]


async def test_a_flood_of_hints_costs_looks_at_the_head_and_nothing_more(chain: tuple[Bench, FaultProxy]) -> None:
    bench, proxy = chain
    async with serving(floods) as flood, following(bench, flood, poll_ms=NEVER_MS):
        await knows(bench, 5)
        before, began_s = (
            (proxy.count("eth_getBlockByNumber"), proxy.count("eth_getTransactionReceipt")),
            time.monotonic(),
        )
        await asyncio.sleep(0.5)
        while proxy.count("eth_getBlockByNumber") == before[0]:  # noqa: ASYNC110  it counts in another thread
            await asyncio.sleep(0.05)
        after = proxy.count("eth_getBlockByNumber"), proxy.count("eth_getTransactionReceipt")
        took_s = time.monotonic() - began_s
    assert after[0] - before[0] <= took_s / TIMES.least_gap_s + 2
    assert after[1] == before[1]
