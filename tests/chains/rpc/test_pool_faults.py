"""The pool over real HTTP: fault proxies in front of one Anvil, which is not aware of any of it."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import pytest

from chains.client import EvmClient
from chains.config import load_chains
from chains.errors import RpcError, RpcNotSent, RpcProtocolError, RpcRefused, RpcThrottled, RpcUnavailable
from chains.logs import LogQuery, logs_in
from chains.rpc.endpoint import EndpointConfig
from chains.rpc.health import HealthPolicy
from chains.rpc.policy import PoolPolicy
from chains.rpc.pool import RpcPool
from chains.rpc.quorum import QuorumNotReached
from chains.rpc.transport import HttpTransport, RpcLimits
from chains.sizing import Portion
from chains.types import ChainId, TxHash, parse_address
from service.clock import SystemClock
from tests.faults.node import CHAIN_ID, ETHER, RECIPIENT, Node, bare_node
from tests.faults.observed import Recorder
from tests.faults.proxy import FaultProxy
from tests.faults.rules import (
    About,
    Delay,
    Drop,
    EmptyLogs,
    Flaw,
    Freeze,
    HttpStatus,
    Lie,
    Malformed,
    NodeError,
    Phase,
    Rule,
    Silence,
    SlowLoris,
    Swallow,
)
from tests.slack import slack

pytestmark = pytest.mark.chain

SEND = "eth_sendRawTransaction"
MOST_S = 60.0
"""Bounds a wait, no promise."""
ALICE = parse_address(RECIPIENT.lower())
LIMITS = RpcLimits(max_response_bytes=2**20, request_timeout_ms=3_000)
POLICY = PoolPolicy(
    hedge_after_s=0.3, probe_every_s=0.05, probe_timeout_s=1.0, health=HealthPolicy(lag_blocks=4), head_hold_s=30.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One Anvil, three endpoints of it, and the pool over them."""

    node: Node
    proxies: Sequence[FaultProxy]
    pool: RpcPool
    client: EvmClient

    @property
    def states(self) -> list[str]:
        return [endpoint.state for endpoint in self.pool.figures().endpoints]


@pytest.fixture
def node() -> Iterator[Node]:
    with bare_node() as running:
        running.mine(60)
        yield running


@pytest.fixture
async def network(node: Node) -> AsyncIterator[Network]:
    recorder = Recorder()
    proxies = [FaultProxy(node.url, name=name, recorder=recorder) for name in ("a", "b", "c")]
    for proxy in proxies:
        await proxy.start()
    pool = RpcPool(
        [EndpointConfig(transport=HttpTransport(proxy.url, name=proxy.name, limits=LIMITS)) for proxy in proxies],
        name="pool",
        chain_id=ChainId(CHAIN_ID),
        clock=SystemClock(),
        policy=POLICY,
    )
    await pool.probe()
    try:
        yield Network(node=node, proxies=proxies, pool=pool, client=EvmClient(load_chains()["ethereum"], pool))
    finally:
        await pool.close()
        for proxy in proxies:
            await proxy.stop()


async def test_F39_a_stale_endpoint_is_taken_out_of_reads_and_reads_stay_monotonic(network: Network) -> None:
    a, b, _ = network.proxies
    frozen_at = network.node.head
    a.add(Rule(action=Freeze(block=frozen_at)))
    network.node.rpc(SEND, network.node.transfer(0, value=77))
    network.node.mine(50)
    heads = [(await network.client.head()).number for _ in range(3)]
    # The stale one answers first (order of preference), then others do, and then it can never take the head back.
    b.add(Rule(action=Drop(), times=3))
    heads += [(await network.client.head()).number for _ in range(6)]
    assert heads == sorted(heads)
    await network.pool.probe()
    await network.pool.probe()
    assert network.states == ["lagging", "alive", "alive"]
    assert (await network.client.head()).number == frozen_at + 50
    assert await network.client.balance(ALICE, block="latest") == 77
    a.calls.clear()
    await network.client.balance(ALICE, block="latest")
    assert not a.calls
    a.clear()
    await network.pool.probe()
    await network.pool.probe()
    assert network.states == ["alive"] * 3


async def test_F40_a_flipped_receipt_status_and_a_false_balance_are_outvoted(network: Network) -> None:
    tx_hash = TxHash(network.node.rpc(SEND, network.node.transfer(0, value=77)))
    network.node.mine()
    a, b, _ = network.proxies
    a.add(Rule(action=Lie(about=About.RECEIPT_STATUS, value=0)), Rule(action=Lie(about=About.BALANCE, value=ETHER)))
    block = (await network.client.head()).ref
    careful = EvmClient(network.client.config, network.pool.with_quorum())
    receipt = await careful.receipt(tx_hash)
    assert receipt is not None
    assert receipt.succeeded
    assert await careful.balance(ALICE, block=block) == 77
    assert network.pool.figures().quorum_disagreements == 2
    b.add(Rule(action=Lie(about=About.BALANCE, value=5)))
    with pytest.raises(QuorumNotReached):
        await careful.balance(ALICE, block=block)


async def test_F41_with_all_endpoints_down_reads_fail_plainly_and_recover_within_seconds(network: Network) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(network.pool.run(stop))
        for proxy in network.proxies:
            await proxy.stop()
        with pytest.raises(RpcUnavailable):
            await network.client.head()
        async with asyncio.timeout(MOST_S):
            while set(network.states) != {"unreachable"}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        with pytest.raises(RpcNotSent):
            await network.client.send_raw(bytes.fromhex(network.node.transfer(0)[2:]))
        for proxy in network.proxies:
            await proxy.start()
        await network.client.head()
        async with asyncio.timeout(MOST_S):
            while set(network.states) != {"alive"}:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()


async def test_F42_in_a_storm_of_429_reads_find_another_endpoint_and_sends_get_through(network: Network) -> None:
    a, b, c = network.proxies
    for proxy in (a, b):
        proxy.add(Rule(action=HttpStatus(status=429, retry_after_s=60), when=None, method="eth_get*"))
    for _ in range(10):
        await network.client.balance(ALICE, block="latest")
    assert a.count("eth_getBalance") + b.count("eth_getBalance") <= 2
    await network.client.send_raw(bytes.fromhex(network.node.transfer(0)[2:]))
    await network.pool.settle()
    assert [proxy.count(SEND) for proxy in (a, b, c)] == [1, 1, 1]
    c.add(Rule(action=HttpStatus(status=429, retry_after_s=60), method="eth_get*"))
    with pytest.raises(RpcUnavailable):
        await network.client.balance(ALICE, block="latest")
    assert all(figures.throttled == 1 for figures in network.pool.figures().endpoints)


@pytest.mark.parametrize("flaw", list(Flaw))
async def test_F44_a_malformed_answer_is_refused_and_another_endpoint_asked(network: Network, flaw: Flaw) -> None:
    size = 3 * 2**20 if flaw is Flaw.HUGE else 0
    asked = itertools.count(1)
    # Whichever endpoint is asked first: on a busy machine that need not be the first configured.
    first_only = Rule(
        action=Malformed(flaw=flaw, size=size),
        method="eth_getBalance",
        when=lambda _: next(asked) == 1,
        phase=Phase.AFTER,
    )
    for proxy in network.proxies:
        proxy.add(first_only)
    assert await network.client.balance(ALICE, block="latest") == 0
    assert [proxy.applied(first_only) for proxy in network.proxies].count(1) == 1
    assert sum(proxy.count("eth_getBalance") for proxy in network.proxies) >= 2
    for proxy in network.proxies:
        proxy.add(Rule(action=Malformed(flaw=flaw, size=size), method="eth_getBalance", phase=Phase.AFTER))
    with pytest.raises((RpcProtocolError, RpcUnavailable)):
        await network.client.balance(ALICE, block="latest")


async def test_F45_success_wins_over_a_severe_error_and_is_counted(network: Network) -> None:
    a, _, c = network.proxies
    a.add(Rule(action=NodeError(code=-32000, text="insufficient funds for gas * price + value"), method=SEND))
    # As the node itself would say if b was faster: which of the two is must not matter here.
    c.add(Rule(action=NodeError(code=-32000, text="already known"), method=SEND))
    raw = bytes.fromhex(network.node.transfer(0)[2:])
    tx_hash = await network.client.send_raw(raw)
    await network.pool.settle()
    network.node.mine()
    receipt = await network.client.receipt(tx_hash)
    assert receipt is not None
    assert receipt.succeeded
    assert network.pool.figures().contradictions == 1


async def test_F46_archive_state_that_one_node_lacks_comes_from_another_and_is_never_zero(network: Network) -> None:
    network.node.rpc(SEND, network.node.transfer(0, value=77))
    height = network.node.mine()
    a, b, c = network.proxies
    a.add(Rule(action=NodeError(code=-32000, text="missing trie node 1234 (path )"), method="eth_getBalance"))
    b.add(Rule(action=NodeError(code=-32000, text="header not found"), method="eth_getBalance"))
    assert await network.client.balance(ALICE, block=height) == 77
    c.add(Rule(action=NodeError(code=-32000, text="missing trie node 1234 (path )"), method="eth_getBalance"))
    with pytest.raises(RpcRefused):
        await network.client.balance(ALICE, block=height)


async def test_F21_an_endpoint_that_switches_its_chain_is_quarantined(network: Network) -> None:
    a, b, _ = network.proxies
    a.add(Rule(action=Lie(about=About.CHAIN_ID, value=5)))
    b.add(Rule(action=Lie(about=About.GENESIS, value="0x" + "66" * 32)))
    b.add(Rule(action=Drop(), times=1))
    await network.pool.probe()
    assert network.states[0] == "wrong_chain"
    # The connection to b broke; dialled again, it turns out to lead to another chain.
    await network.pool.probe()
    assert network.states == ["wrong_chain", "wrong_chain", "alive"]
    a.calls.clear()
    b.calls.clear()
    await network.client.send_raw(bytes.fromhex(network.node.transfer(0)[2:]))
    await network.pool.settle()
    assert a.count(SEND) + b.count(SEND) == 0


async def test_F02_a_lost_response_leaves_the_outcome_to_the_other_endpoints(network: Network) -> None:
    for proxy in network.proxies:
        proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, nth=1))
    raw = bytes.fromhex(network.node.transfer(0)[2:])
    with pytest.raises(RpcUnavailable):
        await network.client.send_raw(raw)
    with pytest.raises(RpcRefused, match="already imported"):
        await network.client.send_raw(raw)
    network.node.mine()
    [nonces] = network.proxies[0].recorder.effects().values()
    assert nonces == {0}


async def test_F03_a_transaction_swallowed_by_one_endpoint_reaches_the_chain_by_another(network: Network) -> None:
    network.proxies[0].add(Rule(action=Swallow(), method=SEND))
    tx_hash = await network.client.send_raw(bytes.fromhex(network.node.transfer(0)[2:]))
    await network.pool.settle()
    network.node.mine()
    assert await network.client.receipt(tx_hash) is not None


async def test_F32_empty_logs_of_a_lagging_endpoint_are_not_believed(network: Network) -> None:
    a, _, _ = network.proxies
    behind = network.node.head
    a.add(Rule(action=Freeze(block=behind)), Rule(action=EmptyLogs(), method="eth_getLogs"))
    lying = a.calls
    network.node.mine(2)
    await network.client.head()
    [chunk] = [
        chunk async for chunk in logs_in(network.pool, LogQuery(), first=behind, last=behind + 2, span=Portion(10))
    ]
    assert chunk.logs == []
    assert ("eth_getLogs" in {method for method, _ in lying}) is False


@pytest.mark.parametrize(
    "fault", [Silence(), SlowLoris(pause_s=0.5), Delay(seconds=30)], ids=["silent", "slow loris", "slow"]
)
async def test_a_primary_that_goes_silent_costs_a_read_less_than_two_seconds(
    network: Network, fault: Silence | SlowLoris | Delay
) -> None:
    network.proxies[0].add(Rule(action=fault, phase=Phase.AFTER))
    async with slack(lambda: asyncio.to_thread(network.node.rpc, "eth_chainId")) as busy:
        for _ in range(3):
            began = time.monotonic()
            await network.client.balance(ALICE, block="latest")
            assert time.monotonic() - began < 2 + busy.seconds


async def test_a_dead_primary_costs_a_read_less_than_two_seconds_and_a_send_less_than_five(network: Network) -> None:
    raw = bytes.fromhex(network.node.transfer(0)[2:])
    await network.proxies[0].stop()
    async with slack(lambda: asyncio.to_thread(network.node.rpc, "eth_chainId")) as busy:
        began = time.monotonic()
        await network.client.head()
        assert time.monotonic() - began < 2 + busy.seconds
        network.proxies[1].add(Rule(action=Silence()))
        began = time.monotonic()
        await network.client.send_raw(raw)
        assert time.monotonic() - began < 5 + busy.seconds


async def test_the_transport_tells_what_never_left_from_what_may_have(node: Node) -> None:
    async with FaultProxy(node.url) as proxy:
        transport = HttpTransport(proxy.url, name="one", limits=LIMITS)
        proxy.add(Rule(action=HttpStatus(status=429, retry_after_s=9), nth=1), Rule(action=Drop(), skip=1))
        with pytest.raises(RpcThrottled) as throttled:
            await transport.request("eth_chainId", [])
        assert throttled.value.retry_after_s == 9
        with pytest.raises(RpcUnavailable) as lost:
            await transport.request("eth_chainId", [])
        assert not isinstance(lost.value, RpcNotSent)
    with pytest.raises(RpcNotSent) as refused:
        await transport.request("eth_chainId", [])
    assert proxy.url.removeprefix("http://") not in str(refused.value)
    await transport.close()


async def test_no_error_or_figure_shows_an_endpoints_address(network: Network) -> None:
    texts = [repr(network.pool), repr(network.pool.figures()), repr(network.client)]
    for proxy in network.proxies:
        await proxy.stop()
    for attempt in (network.client.head(), network.client.send_raw(bytes.fromhex(network.node.transfer(0)[2:]))):
        with pytest.raises(RpcError) as raised:
            await attempt
        texts.append(f"{raised.value!r} {raised.value}")
    shown = " ".join(texts)
    assert "127.0.0.1" not in shown
    assert not any(proxy.url.rsplit(":", 1)[1] in shown for proxy in network.proxies)
