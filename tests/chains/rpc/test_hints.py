"""WebSocket hints: from Anvil's socket, and from sockets that are sick in every way. F43."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from chains.rpc.addresses import InvalidEndpoints, parse_sockets
from chains.rpc.hints import (
    FIRST_PAUSE_S,
    LEAST_GAP_S,
    MAX_MESSAGE_BYTES,
    MAX_PAUSE_S,
    HintTimes,
    SecretSocketUrl,
    SocketAddress,
    listen,
)
from tests.faults.node import Node, bare_node
from tests.faults.proxy import FaultProxy
from tests.faults.rules import Drop, Rule
from tests.looptime import held_time, turns, until

QUICK = HintTimes(connect_timeout_s=0.1, silence_s=0.1, least_gap_s=0.02, first_pause_s=1.0, max_pause_s=60.0)
Handler = Callable[[web.WebSocketResponse], Awaitable[None]]


class Ear:
    """A listener, what it heard, and how long it wanted to pause each time (it does not)."""

    def __init__(self) -> None:
        self.hints = 0
        self.pauses: list[float] = []
        self._changed = asyncio.Event()

    def hint(self) -> None:
        self.hints += 1
        self._changed.set()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._changed.set()
        await asyncio.sleep(0)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    @asynccontextmanager
    async def listening(self, url: str, times: HintTimes = QUICK) -> AsyncIterator[None]:
        socket = SocketAddress(name="own", url=SecretSocketUrl(url))
        task = asyncio.create_task(listen(socket, self.hint, times=times, sleep=self.sleep))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A WebSocket server of one's own; its address has a secret in it."""

    async def accept(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await handler(socket)
        return socket

    app = web.Application()
    app.router.add_get("/CANARY", accept)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"ws://{host}:{port}/CANARY"
    finally:
        await runner.cleanup()


async def closes(socket: web.WebSocketResponse) -> None:
    await socket.close()


async def is_silent(socket: web.WebSocketResponse) -> None:
    await asyncio.sleep(3600)


async def answers_once_and_closes(socket: web.WebSocketResponse) -> None:
    await socket.send_str("{}")
    await socket.close()


async def answers_then_waits(socket: web.WebSocketResponse) -> None:
    await socket.send_str("{}")
    await socket.receive()  # the goodbye


async def floods(socket: web.WebSocketResponse) -> None:
    with suppress(ConnectionError):
        while True:
            await socket.send_str("x" * 1000)


async def sends_too_much(socket: web.WebSocketResponse) -> None:
    with suppress(ConnectionError):
        await socket.send_str("x" * (MAX_MESSAGE_BYTES + 1))
        await asyncio.sleep(3600)


async def sends_bytes(socket: web.WebSocketResponse) -> None:
    await socket.send_bytes(b"\x00")
    await socket.receive()  # the goodbye


@pytest.mark.parametrize(
    "handler", [closes, is_silent, answers_once_and_closes, sends_too_much, sends_bytes], ids=lambda h: h.__name__
)
async def test_F43_a_sick_socket_is_opened_again_after_pauses_that_grow_to_a_bound(handler: Handler) -> None:
    ear = Ear()
    async with serving(handler) as url, ear.listening(url):
        await ear.until(lambda: len(ear.pauses) >= 9)
    most = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(high / 2 <= pause <= high for pause, high in zip(ear.pauses, most, strict=False))


async def test_F43_a_handshake_that_is_never_answered_is_given_up() -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server, ear = await asyncio.start_server(hold, "127.0.0.1", 0), Ear()
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with ear.listening(f"ws://127.0.0.1:{port}"):
            await ear.until(lambda: len(ear.pauses) >= 3)
    assert ear.hints == 0


async def test_F43_a_flood_becomes_a_few_hints() -> None:
    ear = Ear()
    async with serving(floods) as url, ear.listening(url, HintTimes()):
        with held_time() as time:
            for count in range(1, 10):
                await until(lambda count=count: ear.hints >= count)  # type: ignore[misc]
                await turns()
                assert ear.hints == count
                await time.passes(LEAST_GAP_S)
    assert ear.pauses == []


async def test_pauses_start_over_after_a_connection_that_lasted() -> None:
    opened, lasted = 0, asyncio.Event()

    async def sick_then_well(socket: web.WebSocketResponse) -> None:
        nonlocal opened
        opened += 1
        if opened == 4:
            await lasted.wait()
        await socket.close()

    ear = Ear()
    async with serving(sick_then_well) as url:
        with held_time() as time:
            async with ear.listening(url, HintTimes()):
                await until(lambda: opened == 4)
                await time.passes(MAX_PAUSE_S)
                lasted.set()
                await ear.until(lambda: len(ear.pauses) >= 5)
    assert ear.pauses[2] >= 2 * FIRST_PAUSE_S
    assert ear.pauses[3] <= FIRST_PAUSE_S


async def test_logs_name_the_socket_and_not_its_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ear = Ear()
    async with serving(closes) as url, ear.listening(url):
        await ear.until(lambda: len(ear.pauses) >= 2)
    async with ear.listening(f"{url}-CANARY-of-nobody"):  # by now nobody listens there
        await ear.until(lambda: len(ear.pauses) >= 4)
    async with ear.listening("wss://CANARY.invalid/\x7f"):
        await ear.until(lambda: len(ear.pauses) >= 5)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("chains")]
    assert len(ours) >= 5
    assert all("own" in message for message in ours)
    assert "CANARY" not in " ".join(ours)


# -- Anvil --------------------------------------------------------------------------------------------------


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
    ear = Ear()
    async with ear.listening(proxy.ws_url, HintTimes()):
        await ear.until(lambda: ear.hints == 1)  # the answer to the subscription
        proxy.add(Rule(action=Drop(), method="eth_subscribe", times=1))
        await proxy.close_sockets()
        await ear.until(lambda: ear.hints == 2)
        await asyncio.to_thread(node.mine, 1)
        await ear.until(lambda: ear.hints == 3)
    assert proxy.count("eth_subscribe") == 3
    assert len(ear.pauses) == 2


# -- the setting --------------------------------------------------------------------------------------------


def test_a_websocket_address_is_never_shown() -> None:
    url = SecretSocketUrl("wss://node.example/v2/SECRET")
    assert "SECRET" not in f"{url} {url!r}"
    with pytest.raises(ValueError, match="ws://"):
        SecretSocketUrl("https://node.example")


def test_a_setting_holds_several_sockets_with_names_or_without() -> None:
    found = parse_sockets("own=ws://a/K wss://b/K,c=wss://c", chain="ethereum")
    assert [(one.name, one.url.reveal()) for one in found] == [
        ("own", "ws://a/K"),
        ("ethereum-ws-2", "wss://b/K"),
        ("c", "wss://c"),
    ]
    assert "K" not in f"{found}"


@pytest.mark.parametrize("text", ["", "https://canary", "a=wss://canary a=wss://canary"])
def test_what_is_no_list_of_sockets_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidEndpoints) as raised:
        parse_sockets(text, chain="ethereum")
    assert "canary" not in str(raised.value)
