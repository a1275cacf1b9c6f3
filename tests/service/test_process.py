"""The process that owns its parts: one that ends takes the others with it, and a stop ends them all in time."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest

from service import process
from service.process import (
    PartEnded,
    Tls,
    UnsafeBind,
    Worker,
    bind,
    http_part,
    reasons,
    refuse_unsafe_bind,
    run_until_stopped,
    url_of,
)
from tests.looptime import held_time, turns

Message = MutableMapping[str, Any]


async def hello(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def until_stopped(stop: asyncio.Event) -> None:
    await stop.wait()


class Broken(Exception):
    """What the failing worker raises."""


@pytest.fixture
def listener() -> socket.socket:
    return bind("127.0.0.1", 0)


async def run(listener: socket.socket, stop: asyncio.Event, *workers: Worker) -> None:
    await run_until_stopped(hello, listener=listener, tls=None, workers=workers, stop=stop)


async def test_it_serves_until_it_is_stopped_and_then_ends(listener: socket.socket) -> None:
    stop = asyncio.Event()
    url = url_of(listener, tls=None)
    running = asyncio.create_task(run(listener, stop, Worker(name="w", run=until_stopped)))
    async with httpx.AsyncClient() as client:
        answer = await get_when_up(client, url)
    assert answer.text == "hello"
    assert "server" not in answer.headers
    stop.set()
    await asyncio.wait_for(running, timeout=process.SHUTDOWN_S)


async def test_a_second_server_answers_beside_the_first_and_ends_with_it(listener: socket.socket) -> None:
    stop, second = asyncio.Event(), bind("127.0.0.1", 0)
    urls = [url_of(one, tls=None) for one in (listener, second)]
    part = http_part("metrics", hello, listener=second, tls=None)
    running = asyncio.create_task(run(listener, stop, part))
    async with httpx.AsyncClient() as client:
        assert [(await get_when_up(client, url)).text for url in urls] == ["hello", "hello"]
    stop.set()
    await asyncio.wait_for(running, timeout=process.SHUTDOWN_S)
    assert second.fileno() == -1


async def test_a_worker_that_fails_ends_the_whole_process_with_its_reason(listener: socket.socket) -> None:
    async def fail(stop: asyncio.Event) -> None:
        await asyncio.sleep(0)
        raise Broken("lane 7")

    with pytest.raises(BaseExceptionGroup) as failure:
        await run(listener, asyncio.Event(), Worker(name="good", run=until_stopped), Worker(name="bad", run=fail))
    assert [type(reason) for reason in reasons(failure.value)] == [Broken]


async def test_a_worker_that_returns_early_counts_as_failed(listener: socket.socket) -> None:
    async def leave(stop: asyncio.Event) -> None:
        return

    with pytest.raises(BaseExceptionGroup) as failure:
        await run(listener, asyncio.Event(), Worker(name="leaver", run=leave))
    (reason,) = reasons(failure.value)
    assert isinstance(reason, PartEnded)
    assert "leaver" in str(reason)


async def test_a_worker_that_ignores_the_stop_is_cancelled_at_the_deadline(listener: socket.socket) -> None:
    cancelled = asyncio.Event()

    async def deaf(stop: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    stop = asyncio.Event()
    running = asyncio.create_task(run(listener, stop, Worker(name="deaf", run=deaf)))
    with held_time() as time:
        await turns()
        stop.set()
        await turns()
        await time.passes(process.SHUTDOWN_S - 1)
        assert not cancelled.is_set()
        await time.passes(1)
        assert cancelled.is_set()
    await asyncio.wait_for(running, timeout=process.SHUTDOWN_S)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    refuse_unsafe_bind(host, tls=None, trusted_proxies=())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "cambist.example", ""])
def test_a_public_address_is_refused_without_tls_or_a_named_proxy(host: str) -> None:
    with pytest.raises(UnsafeBind):
        refuse_unsafe_bind(host, tls=None, trusted_proxies=())


def test_a_public_address_is_taken_behind_a_named_proxy_or_with_tls(tmp_path: Any) -> None:
    refuse_unsafe_bind("0.0.0.0", tls=None, trusted_proxies=("10.0.0.1",))
    refuse_unsafe_bind("0.0.0.0", tls=Tls(certificate=tmp_path / "c", key=tmp_path / "k"), trusted_proxies=())


def test_the_url_names_an_address_a_client_on_this_machine_can_use() -> None:
    with bind("0.0.0.0", 0) as everywhere:
        port = everywhere.getsockname()[1]
        assert url_of(everywhere, tls=None) == f"http://127.0.0.1:{port}"


def test_a_taken_port_is_known_before_anything_starts() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(OSError):  # noqa: PT011 - the number differs between systems
            bind("127.0.0.1", first.getsockname()[1])


async def get_when_up(client: httpx.AsyncClient, url: str) -> httpx.Response:
    async with asyncio.timeout(10):
        while True:
            try:
                return await client.get(url)
            except httpx.ConnectError:
                await asyncio.sleep(0.01)
