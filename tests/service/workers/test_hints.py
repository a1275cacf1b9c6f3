"""Hints as a part of the process: all sockets are listened to, and the end comes at once."""

import asyncio

from chains.rpc.addresses import parse_sockets
from service.workers.hints import run_hints
from tests.chains.rpc.test_hints import answers_then_waits, serving


async def test_every_socket_is_heard_and_a_sick_one_holds_up_nothing() -> None:
    heard, stop = asyncio.Queue[str](), asyncio.Event()
    async with serving(answers_then_waits) as one, serving(answers_then_waits) as two:
        sockets = parse_sockets(f"{one} ws://127.0.0.1:9/nobody {two}", chain="ethereum")
        running = asyncio.create_task(run_hints(sockets, lambda: heard.put_nowait("look"), stop))
        async with asyncio.timeout(10):
            assert [await heard.get() for _ in range(2)] == ["look"] * 2
            stop.set()
            await running


async def test_without_sockets_it_only_waits_for_the_end() -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_hints((), lambda: None, stop))
    await asyncio.sleep(0)
    assert not running.done()
    stop.set()
    async with asyncio.timeout(10):
        await running
