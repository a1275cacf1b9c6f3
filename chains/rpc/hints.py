"""A WebSocket's newHeads as hints that the head may have moved. Nothing in them is believed.

Guarantees: reconnects for ever, with growing pauses; the address is in no log or error; a message's size is bounded.
Not guaranteed: that hints come. A half-open socket is noticed by its heartbeat after some seconds at best, which is why
heads are polled.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import aiohttp

SUBSCRIBE: Final = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
CONNECT_TIMEOUT_S: Final = 5.0
HEARTBEAT_S: Final = 20.0
MAX_MESSAGE_BYTES: Final = 2**20
"""A header has about 2 KB."""
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0


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


async def new_heads(
    url: SecretSocketUrl,
    *,
    rng: random.Random | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[None, None]:
    """Yields once for each message after the subscription, until the consumer stops."""
    jitter = rng or random.Random()
    pause_s = FIRST_PAUSE_S
    # A time-out of the whole session would end a healthy subscription.
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S), trust_env=False
    ) as session:
        while True:
            try:
                async with session.ws_connect(
                    url.reveal(), heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES
                ) as socket:
                    await socket.send_json(SUBSCRIBE)
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            pause_s = FIRST_PAUSE_S
                            yield
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass  # polling goes on without it; the pause below is the whole answer
            await sleep(pause_s * jitter.uniform(0.5, 1.0))
            pause_s = min(MAX_PAUSE_S, pause_s * 2)
