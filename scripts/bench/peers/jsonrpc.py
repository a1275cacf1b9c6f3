"""Other ways to ask a node for one value: a bare stream, aiohttp with orjson, AsyncWeb3, httpx.

Each has `ask(address)`, which gives the wei of an account at a block, and can be asked many times at once. What opens a
connection does so in the loop it is used in.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpx
import orjson
from web3 import AsyncHTTPProvider, AsyncWeb3

from chains.types import Address

METHOD: Final = "eth_getBalance"


class RawStreams:
    """A socket for each that asks at once, HTTP written and read by hand, one number cut out of the answer."""

    def __init__(self, url: str, *, block: int) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._block = hex(block)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, address: Address) -> int:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
        body = b'{"jsonrpc":"2.0","id":1,"method":"%s","params":["%s","%s"]}' % (
            METHOD.encode(),
            address.encode(),
            self._block.encode(),
        )
        writer.write(
            b"POST / HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length:") + 15
        answer = await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))
        self._free.append((reader, writer))
        start = answer.index(b'"result":"') + 10
        return int(answer[start : answer.index(b'"', start)], 16)

    async def close(self) -> None:
        for _, writer in self._free:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


class AiohttpCalls:
    """The library and the parser that our transport stands on, and nothing else."""

    def __init__(self, url: str, *, block: int) -> None:
        self._url, self._block = url, hex(block)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, address: Address) -> int:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"Content-Type": "application/json"})
        async with self._session.post(self._url, data=orjson.dumps(_call(address, self._block))) as response:
            return int(orjson.loads(await response.read())["result"], 16)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class HttpxCalls:
    """httpx with orjson."""

    def __init__(self, url: str, *, block: int) -> None:
        self._url, self._block = url, hex(block)
        self._client = httpx.AsyncClient(headers={"Content-Type": "application/json"}, trust_env=False)

    async def ask(self, address: Address) -> int:
        response = await self._client.post(self._url, content=orjson.dumps(_call(address, self._block)))
        return int(orjson.loads(response.content)["result"], 16)

    async def close(self) -> None:
        await self._client.aclose()


class AsyncWeb3Calls:
    """As web3.py's documentation shows it."""

    def __init__(self, url: str, *, block: int) -> None:
        self._provider = AsyncHTTPProvider(url)
        self._web3, self._block = AsyncWeb3(self._provider), block

    async def ask(self, address: Address) -> int:
        return int(await self._web3.eth.get_balance(AsyncWeb3.to_checksum_address(address), self._block))

    async def close(self) -> None:
        await self._provider.disconnect()


def _call(address: Address, block: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": [address, block]}
