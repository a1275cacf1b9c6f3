"""The proxy itself, against a real Anvil: a fault that it does not make would prove nothing about others."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.faults.emulation import BOR, Emulation
from tests.faults.node import ETHER, GWEI, RECIPIENT, Node, bare_node
from tests.faults.observed import Recorder, decode_raw
from tests.faults.proxy import FaultProxy
from tests.faults.remote import ProxyControl, ThreadedProxy
from tests.faults.rules import (
    About,
    CloseSocket,
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
    WrongHash,
    rule_from_json,
    rule_to_json,
)

pytestmark = pytest.mark.chain

SEND = "eth_sendRawTransaction"


@pytest.fixture
def node() -> Iterator[Node]:
    with bare_node() as running:
        yield running


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(node.url) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as opened:
        yield opened


class Client:
    """Asks through a proxy; shows answers as they are."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def body(self, method: str, *params: Any) -> bytes:
        payload = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        async with self._session.post(self._url, json=payload) as response:
            return await response.read()

    async def answer(self, method: str, *params: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.body(method, *params))
        return found

    async def result(self, method: str, *params: Any) -> Any:
        found = await self.answer(method, *params)
        assert "error" not in found, found
        return found["result"]

    async def error(self, method: str, *params: Any) -> str:
        found = await self.answer(method, *params)
        return str(found["error"]["message"])


@pytest.fixture
def client(session: aiohttp.ClientSession, proxy: FaultProxy) -> Client:
    return Client(session, proxy.url)


# -- rules --------------------------------------------------------------------------------------------------


async def test_without_rules_the_proxy_changes_nothing(client: Client, node: Node) -> None:
    node.mine(3)
    assert await client.result("eth_blockNumber") == hex(node.head)
    found = await client.answer("eth_getBlockByNumber", "latest", False)
    assert found == {"jsonrpc": "2.0", "id": 7, "result": node.rpc("eth_getBlockByNumber", "latest", False)}


async def test_a_response_lost_after_forwarding_leaves_the_transaction_in_the_pool(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.add(Rule(action=Drop(), method=SEND, phase=Phase.AFTER, nth=1))
    raw = node.transfer(0)
    with pytest.raises(aiohttp.ClientError):
        await client.body(SEND, raw)
    sent = decode_raw(raw)
    assert sent is not None
    assert node.rpc("eth_getTransactionByHash", sent.hash)["hash"] == sent.hash
    assert await client.error(SEND, raw) == "transaction already imported"


async def test_a_request_dropped_before_forwarding_never_reaches_the_node_but_is_recorded(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.add(Rule(action=Drop(), method=SEND))
    raw = node.transfer(0)
    with pytest.raises(aiohttp.ClientError):
        await client.body(SEND, raw)
    [tx] = proxy.recorder.txs
    assert node.rpc("eth_getTransactionByHash", tx.hash) is None
    assert [sending.forwarded for sending in proxy.recorder.sendings] == [False]


async def test_a_swallowed_transaction_is_answered_with_its_hash_and_goes_nowhere(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.add(Rule(action=Swallow(), method=SEND, times=1))
    raw = node.transfer(0)
    tx_hash = await client.result(SEND, raw)
    assert node.rpc("eth_getTransactionByHash", tx_hash) is None
    assert await client.result(SEND, raw) == tx_hash
    assert node.rpc("eth_getTransactionByHash", tx_hash) is not None


async def test_a_wrong_hash_is_another_one_than_the_transactions(client: Client, proxy: FaultProxy, node: Node) -> None:
    proxy.add(Rule(action=WrongHash(), method=SEND))
    answered = await client.result(SEND, node.transfer(0))
    [tx] = proxy.recorder.txs
    assert answered != tx.hash
    assert node.rpc("eth_getTransactionByHash", tx.hash) is not None


async def test_a_node_error_carries_code_text_and_data(client: Client, proxy: FaultProxy) -> None:
    proxy.add(Rule(action=NodeError(code=-32005, text="limit exceeded", data={"see": "docs"}), method="eth_get*"))
    found = await client.answer("eth_getBalance", RECIPIENT, "latest")
    assert found["error"] == {"code": -32005, "message": "limit exceeded", "data": {"see": "docs"}}
    assert "result" in await client.answer("eth_blockNumber")


async def test_an_http_status_comes_with_retry_after(
    session: aiohttp.ClientSession, client: Client, proxy: FaultProxy
) -> None:
    proxy.add(Rule(action=HttpStatus(status=429, retry_after_s=3), times=1))
    async with session.post(proxy.url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "3")
        assert (await response.text()).startswith("<html>")
    assert await client.result("eth_chainId") == hex(31337)


async def test_a_delay_waits_and_then_answers(client: Client, proxy: FaultProxy) -> None:
    proxy.add(Rule(action=Delay(seconds=0.2)))
    began = time.monotonic()
    assert await client.result("eth_chainId") == hex(31337)
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("flaw", [Flaw.TRUNCATED, Flaw.NOT_JSON, Flaw.EMPTY])
async def test_a_flawed_answer_is_not_json(client: Client, proxy: FaultProxy, flaw: Flaw) -> None:
    proxy.add(Rule(action=Malformed(flaw=flaw), phase=Phase.AFTER))
    body = await client.body("eth_blockNumber")
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads(body)


async def test_other_flaws_are_what_they_say(client: Client, proxy: FaultProxy) -> None:
    async def spoiled(flaw: Flaw, size: int = 0) -> bytes:
        proxy.clear()
        proxy.add(Rule(action=Malformed(flaw=flaw, size=size), phase=Phase.AFTER))
        return await client.body("eth_chainId")

    assert (await spoiled(Flaw.DUPLICATE_KEYS)).count(b'"result"') == 2
    assert json.loads(await spoiled(Flaw.WRONG_ID))["id"] != 7
    assert b"NaN" in await spoiled(Flaw.NAN)
    assert str(2**256).encode() in await spoiled(Flaw.HUGE_NUMBER)
    assert (await spoiled(Flaw.DEEP, 5000)).count(b"[") == 5000
    assert len(await spoiled(Flaw.HUGE, 300_000)) >= 300_000


async def test_a_slow_loris_dribbles_the_right_answer(client: Client, proxy: FaultProxy) -> None:
    proxy.add(Rule(action=SlowLoris(pause_s=0.003), phase=Phase.AFTER))
    began = time.monotonic()
    assert await client.result("eth_chainId") == hex(31337)
    assert time.monotonic() - began > 0.1


async def test_silence_keeps_the_connection_open_without_an_answer(client: Client, proxy: FaultProxy) -> None:
    proxy.add(Rule(action=Silence()))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.body("eth_chainId"), 0.3)


async def test_rules_count_what_they_match(client: Client, proxy: FaultProxy) -> None:
    third = Rule(action=NodeError(code=1, text="third"), method="eth_chainId", nth=3)
    later = Rule(action=NodeError(code=1, text="later"), method="eth_chainId", skip=4, times=1)
    proxy.add(third, later)
    said = [(await client.answer("eth_chainId")).get("error", {}).get("message") for _ in range(6)]
    assert said == [None, None, "third", None, "later", None]
    assert (proxy.applied(third), proxy.applied(later)) == (1, 1)


async def test_a_rule_chooses_by_params(client: Client, proxy: FaultProxy, node: Node) -> None:
    proxy.add(Rule(action=Lie(about=About.BALANCE, value=5), where={"0": RECIPIENT.upper().replace("0X", "0x")}))
    proxy.add(Rule(action=Lie(about=About.NONCE, value=9), when=lambda params: params[0] == node.key.address))
    assert await client.result("eth_getBalance", RECIPIENT, "latest") == "0x5"
    assert await client.result("eth_getBalance", node.key.address, "latest") == hex(1000 * ETHER)
    assert await client.result("eth_getTransactionCount", node.key.address, "latest") == "0x9"
    assert await client.result("eth_getTransactionCount", RECIPIENT, "latest") == "0x0"


async def test_probability_is_seeded(node: Node, session: aiohttp.ClientSession) -> None:
    async def pattern(seed: int) -> list[bool]:
        async with FaultProxy(node.url, seed=seed) as proxy:
            proxy.add(Rule(action=NodeError(code=1, text="x"), probability=0.5))
            client = Client(session, proxy.url)
            return ["error" in await client.answer("eth_chainId") for _ in range(24)]

    first = await pattern(1)
    assert first == await pattern(1)
    assert first != await pattern(2)
    assert 4 < sum(first) < 20


async def test_a_batch_gets_its_rules_element_by_element(
    session: aiohttp.ClientSession, proxy: FaultProxy, node: Node
) -> None:
    node.mine(2)
    proxy.add(Rule(action=NodeError(code=-32000, text="no"), method="eth_chainId"))
    proxy.add(Rule(action=EmptyLogs(), method="eth_getLogs"))
    methods = [
        ("eth_blockNumber", []),
        ("eth_chainId", []),
        ("eth_getLogs", [{"fromBlock": "0x0"}]),
        ("net_version", []),
    ]
    batch = [{"jsonrpc": "2.0", "id": n, "method": m, "params": p} for n, (m, p) in enumerate(methods)]
    async with session.post(proxy.url, json=batch) as response:
        found = await response.json()
    assert [answer["id"] for answer in found] == [0, 1, 2, 3]
    assert [answer.get("result") for answer in found] == ["0x2", None, [], "31337"]
    assert found[1]["error"]["message"] == "no"


# -- freeze and lies ----------------------------------------------------------------------------------------


async def test_a_frozen_node_answers_as_at_its_block(client: Client, proxy: FaultProxy, node: Node) -> None:
    node.mine(5)
    sent = node.rpc(SEND, node.transfer(0, value=77))
    node.mine(10)
    proxy.add(Rule(action=Freeze(block=5)))
    later = node.rpc("eth_getBlockByNumber", hex(8), False)["hash"]

    assert await client.result("eth_blockNumber") == "0x5"
    assert (await client.result("eth_getBlockByNumber", "latest", False))["number"] == "0x5"
    assert (await client.result("eth_getBlockByNumber", "finalized", False))["number"] == "0x5"
    assert await client.result("eth_getBlockByNumber", "0x8", False) is None
    assert await client.result("eth_getBlockByHash", later, False) is None
    assert await client.result("eth_getBalance", RECIPIENT, "latest") == "0x0"
    assert await client.result("eth_getTransactionCount", node.key.address, "latest") == "0x0"
    assert await client.error("eth_getBalance", RECIPIENT, "0x6") == "header not found"
    assert await client.error("eth_getBalance", RECIPIENT, {"blockHash": later}) == "header not found"
    assert await client.result("eth_getTransactionReceipt", sent) is None
    assert await client.result("eth_getLogs", {"fromBlock": "0x6", "toBlock": "0x9"}) == []
    assert await client.result("eth_estimateGas", {"to": RECIPIENT}) == hex(21000)

    proxy.clear()
    assert await client.result("eth_getBalance", RECIPIENT, "latest") == hex(77)


async def test_lies_replace_one_value(client: Client, proxy: FaultProxy, node: Node) -> None:
    sent = node.rpc(SEND, node.transfer(0))
    node.mine(6)
    other = "0x" + "11" * 32
    lies: list[tuple[About, int | str]] = [
        (About.RECEIPT_STATUS, 0),
        (About.GAS_PRICE, 10**15),
        (About.BASE_FEE, 123),
        (About.CHAIN_ID, 5),
        (About.GENESIS, other),
        (About.FINALIZED_HASH, other),
        (About.GAS_ESTIMATE, 1),
        (About.CALL, "0xbeef"),
    ]
    for about, value in lies:
        proxy.add(Rule(action=Lie(about=about, value=value)))
    assert (await client.result("eth_getTransactionReceipt", sent))["status"] == "0x0"
    assert await client.result("eth_gasPrice") == hex(10**15)
    history = await client.result("eth_feeHistory", "0x2", "latest", [50])
    assert set(history["baseFeePerGas"]) == {hex(123)}
    assert history["reward"] == [[hex(10**15)]] * 2
    assert (await client.result("eth_getBlockByNumber", "latest", False))["baseFeePerGas"] == hex(123)
    assert await client.result("eth_chainId") == "0x5"
    assert await client.result("net_version") == "5"
    assert (await client.result("eth_getBlockByNumber", "0x0", False))["hash"] == other
    assert (await client.result("eth_getBlockByNumber", "finalized", False))["hash"] == other
    assert (await client.result("eth_getBlockByNumber", "0x1", False))["hash"] != other
    assert await client.result("eth_estimateGas", {"to": RECIPIENT}) == "0x1"
    assert await client.result("eth_call", {"to": RECIPIENT}, "latest") == "0xbeef"


# -- emulation ----------------------------------------------------------------------------------------------


async def test_F09_a_replacement_needs_ten_percent_more_on_both_fees(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.emulate(Emulation(replacement_bump_percent=10))

    def bid(max_fee: int, tip: int) -> str:
        return node.transfer(0, maxFeePerGas=max_fee, maxPriorityFeePerGas=tip)

    await client.result(SEND, bid(100 * GWEI, 10 * GWEI))
    refused = "replacement transaction underpriced"
    assert await client.error(SEND, bid(200 * GWEI, 10 * GWEI)) == refused
    assert await client.error(SEND, bid(100 * GWEI, 20 * GWEI)) == refused
    assert await client.error(SEND, bid(110 * GWEI - 1, 11 * GWEI)) == refused
    assert "result" in await client.answer(SEND, bid(110 * GWEI, 11 * GWEI))


async def test_a_dropped_transaction_needs_no_bump_to_be_replaced(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.emulate(Emulation(replacement_bump_percent=10))
    first = await client.result(SEND, node.transfer(0))
    node.rpc("anvil_dropTransaction", first)
    assert "result" in await client.answer(SEND, node.transfer(0, value=2))


async def test_polygons_pool_refuses_a_low_tip_in_bors_words(client: Client, proxy: FaultProxy, node: Node) -> None:
    proxy.emulate(BOR)
    assert (
        await client.error(SEND, node.transfer(0, maxPriorityFeePerGas=1_500_000_000))
        == "transaction gas price below minimum: gas tip cap 1500000000, minimum needed 25000000000"
    )
    raw = node.transfer(0)
    assert "result" in await client.answer(SEND, raw)
    assert await client.error(SEND, raw) == "already known"


async def test_the_nodes_fee_cap_refuses_an_expensive_transaction(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.emulate(Emulation(tx_fee_cap_wei=ETHER))
    dear = node.transfer(0, gas=1_100_000, maxFeePerGas=1000 * GWEI)
    assert await client.error(SEND, dear) == "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)"


async def test_transactions_orphaned_by_a_reorg_return_to_the_pool(
    client: Client, proxy: FaultProxy, node: Node
) -> None:
    proxy.emulate(Emulation(reinject_orphans=True))
    tx_hash = await client.result(SEND, node.transfer(0))
    node.mine()
    assert (await client.result("eth_getTransactionReceipt", tx_hash))["status"] == "0x1"
    node.rpc("anvil_reorg", 1, [])
    assert node.rpc("eth_getTransactionByHash", tx_hash) is None
    found = await client.result("eth_getTransactionByHash", tx_hash)
    assert found["blockHash"] is None
    node.mine()
    assert (await client.result("eth_getTransactionReceipt", tx_hash))["status"] == "0x1"


# -- the oracle ---------------------------------------------------------------------------------------------


async def test_effects_tell_one_payment_under_two_nonces_from_a_bump(
    node: Node, session: aiohttp.ClientSession
) -> None:
    recorder = Recorder()
    async with (
        FaultProxy(node.url, name="a", recorder=recorder) as one,
        FaultProxy(node.url, name="b", recorder=recorder) as two,
    ):
        first, second = Client(session, one.url), Client(session, two.url)
        await first.result(SEND, node.transfer(0))
        await second.result(SEND, node.transfer(0, maxFeePerGas=200 * GWEI, maxPriorityFeePerGas=60 * GWEI))
        [(effect, nonces)] = recorder.effects().items()
        assert (effect.sender, effect.to, effect.value_wei, nonces) == (node.key.address, RECIPIENT, 1, frozenset({0}))
        await first.result(SEND, node.transfer(1))
    assert list(recorder.effects().values()) == [frozenset({0, 1})]
    assert [sending.proxy for sending in recorder.sendings] == ["a", "b", "a"]


# -- WebSocket ----------------------------------------------------------------------------------------------


async def _subscribe(socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
    assert "result" in await socket.receive_json(timeout=60)


async def test_new_heads_pass_until_the_socket_is_silenced_or_closed(
    session: aiohttp.ClientSession, proxy: FaultProxy, node: Node
) -> None:
    async with session.ws_connect(proxy.ws_url) as socket:
        await _subscribe(socket)
        node.mine()
        assert (await socket.receive_json(timeout=60))["params"]["result"]["number"] == "0x1"

        silence = Rule(action=Silence(), method="eth_subscription")
        proxy.add(silence)
        node.mine()
        with pytest.raises(TimeoutError):
            await socket.receive_json(timeout=0.3)
        assert proxy.applied(silence) == 1

        proxy.clear()
        proxy.add(Rule(action=CloseSocket(), method="eth_subscription"))
        node.mine()
        assert (await socket.receive(timeout=60)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_other_calls_over_the_websocket_obey_the_rules(session: aiohttp.ClientSession, proxy: FaultProxy) -> None:
    proxy.add(Rule(action=Lie(about=About.CHAIN_ID, value=9)))
    async with session.ws_connect(proxy.ws_url) as socket:
        await socket.send_json({"jsonrpc": "2.0", "id": 5, "method": "eth_chainId", "params": []})
        assert await socket.receive_json(timeout=60) == {"jsonrpc": "2.0", "id": 5, "result": "0x9"}


# -- life and remote control --------------------------------------------------------------------------------


async def test_a_stopped_proxy_refuses_connections_and_comes_back_at_the_same_address(
    client: Client, proxy: FaultProxy
) -> None:
    url = proxy.url
    await proxy.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.body("eth_chainId")
    await proxy.start()
    assert proxy.url == url
    assert await client.result("eth_chainId") == hex(31337)


def test_a_proxy_in_a_thread_is_scripted_from_another_process(node: Node) -> None:
    def ask(url: str, method: str, *params: Any) -> Any:
        payload = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        request = urllib.request.Request(
            url, data=json.dumps(payload).encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.loads(response.read())

    with ThreadedProxy(FaultProxy(node.url)) as proxy:
        control = ProxyControl(proxy.url)
        control.add(Rule(action=Lie(about=About.CHAIN_ID, value=3)), Rule(action=HttpStatus(status=503), method=SEND))
        assert ask(proxy.url, "eth_chainId")["result"] == "0x3"
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(proxy.url, SEND, node.transfer(0))
        refused.value.close()
        control.clear()
        control.emulate(Emulation(tip_floor_wei=31 * GWEI))
        assert "minimum needed" in ask(proxy.url, SEND, node.transfer(0))["error"]["message"]
        txs, sendings = control.seen()
        assert [tx.nonce for tx in txs] == [0]
        assert [sending.forwarded for sending in sendings] == [False, False]
        assert txs == list(proxy.recorder.txs)
        assert control.observe() == []


def test_every_rule_travels_as_json_unless_it_has_a_predicate() -> None:
    rule = Rule(action=Malformed(flaw=Flaw.DEEP, size=3), method="eth_*", where={"0": 1}, phase=Phase.AFTER, times=2)
    assert rule_from_json(json.loads(json.dumps(rule_to_json(rule)))) == rule
    with pytest.raises(ValueError, match="where"):
        rule_to_json(Rule(action=Drop(), when=lambda params: True))
