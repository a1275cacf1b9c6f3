"""WebSocket hints against Anvil's socket and against sick ones."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from chains.rpc.hints import SecretSocketUrl, new_heads
from tests.faults.node import Node, bare_node
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Drop, Rule


@pytest.fixture
def node() -> Iterator[Node]:
    with bare_node() as running:
        running.mine(20)
        yield running


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(node.url) as running:
        yield running


@pytest.mark.chain
async def test_F43_hints_come_back_after_the_socket_was_closed(node: Node, proxy: FaultProxy) -> None:
    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0.01)

    hints = new_heads(SecretSocketUrl(proxy.ws_url), sleep=at_once)
    async with asyncio.timeout(20):
        await anext(hints)  # the answer to the subscription
        await proxy.close_sockets()
        proxy.add(Rule(action=Drop(), method="eth_subscribe", times=1))
        await anext(hints)
        await asyncio.to_thread(node.mine, 1)
        await anext(hints)
    assert proxy.count("eth_subscribe") == 3
    await hints.aclose()


def test_a_websocket_address_is_never_shown() -> None:
    url = SecretSocketUrl("wss://node.example/v2/SECRET")
    assert "SECRET" not in f"{url} {url!r}"
    with pytest.raises(ValueError, match="ws://"):
        SecretSocketUrl("https://node.example")
