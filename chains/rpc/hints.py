"""A WebSocket's newHeads as hints that the head may have moved. Nothing in them is believed.

    connect -> subscribe -> each message is one hint -> closed, silent or sick -> pause -> connect ...

Guarantees: goes on for ever, whatever the other side does, with pauses that grow up to a minute; a socket that floods
is read slowly, one that says nothing is opened anew; a message's size is bounded; logs and errors call it by its name.
Not guaranteed: that hints come, or come in time. That is why heads are polled, and polling waits for nothing here: a
sick socket costs what no socket costs, one poll interval.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

SUBSCRIBE: Final = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
CONNECT_TIMEOUT_S: Final = 5.0
"""Until the handshake is answered."""
HEARTBEAT_S: Final = 20.0
"""A ping; without its pong within half of that, the connection is dead."""
SILENCE_S: Final = 90.0
"""Without any message. Ethereum may miss a few of its 12 s slots in a row, hardly seven."""
LEAST_GAP_S: Final = 0.1
"""Between two hints: below the shortest poll interval, and what a flooding socket may cost."""
MAX_MESSAGE_BYTES: Final = 2**20
"""A header has about 2 KB."""
CLOSE_TIMEOUT_S: Final = 1.0
"""For the other side's goodbye; at the end of the process nobody waits longer."""
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
"""Also how long a connection must have lasted for the pauses to start over."""

log = logging.getLogger(__name__)


class SecretSocketUrl:
    """A WebSocket address, shown only by `reveal()`."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        if not url.startswith(("ws://", "wss://")):
            raise ValueError("a WebSocket address starts with ws:// or wss://")
        self._url = url

    def reveal(self) -> str:
        return self._url

    def __repr__(self) -> str:
        return "SecretSocketUrl(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketAddress:
    """One socket of a setting."""

    name: str
    url: SecretSocketUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class HintTimes:
    """Seconds; other than the defaults only in tests."""

    connect_timeout_s: float = CONNECT_TIMEOUT_S
    silence_s: float = SILENCE_S
    least_gap_s: float = LEAST_GAP_S
    first_pause_s: float = FIRST_PAUSE_S
    max_pause_s: float = MAX_PAUSE_S


async def listen(
    socket: SocketAddress,
    hint: Callable[[], None],
    *,
    times: HintTimes | None = None,
    rng: random.Random | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call `hint` for each message, until cancelled."""
    times, jitter = times or HintTimes(), rng or random.Random()
    loop = asyncio.get_running_loop()
    pause_s = times.first_pause_s
    # A time-out of the whole session would end a healthy subscription.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), trust_env=False) as session:
        while True:
            began_s = loop.time()
            try:
                await _subscription(session, socket, hint, times)
                why = "it was closed"
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                # Not its text, which may quote the address.
                why = type(exc).__name__
            if loop.time() - began_s >= times.max_pause_s:
                pause_s = times.first_pause_s
            log.info("no hints from %s (%s); heads are polled", socket.name, why)
            await sleep(pause_s * jitter.uniform(0.5, 1.0))
            pause_s = min(times.max_pause_s, pause_s * 2)


async def _subscription(
    session: aiohttp.ClientSession, socket: SocketAddress, hint: Callable[[], None], times: HintTimes
) -> None:
    """One connection, until it ends. Raises: TimeoutError: not answered, or silent."""
    async with asyncio.timeout(times.connect_timeout_s):
        connection = await session.ws_connect(
            socket.url.reveal(),
            heartbeat=HEARTBEAT_S,
            max_msg_size=MAX_MESSAGE_BYTES,
        )
    try:
        await connection.send_json(SUBSCRIBE)
        while True:
            async with asyncio.timeout(times.silence_s):
                message = await connection.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return  # closed, broken, or something that no node sends
            hint()
            # Meanwhile a flood waits in the kernel's buffers: aiohttp stops reading when its own are full.
            await asyncio.sleep(times.least_gap_s)
    finally:
        # aiohttp's own time-out is for each message, and a flood has no last one.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await connection.close()
