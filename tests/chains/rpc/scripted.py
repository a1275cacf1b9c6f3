"""A node that a test moves by hand, behind the `Transport` protocol: for what must be decided call by call, without
sockets. The same faults over real HTTP and a real Anvil are in test_pool_faults.py.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from eth_utils.crypto import keccak

from chains.errors import RpcError, RpcRefused, RpcUnavailable

GENESIS: Final = "0x" + "00" * 31 + "01"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def refused(text: str, code: int = -32000, data: Any = None) -> RpcRefused:
    return RpcRefused(text, endpoint="scripted", method="scripted", code=code, data=data)


class ScriptedTransport:
    """A healthy node, but for `on[method]`: an answer, an error, or a function of the params that gives either."""

    def __init__(self, name: str, *, head: int = 100, finalized: int | None = 64, chain_id: int = 1) -> None:
        self.name = name
        self.head = head
        self.finalized = finalized
        self.chain_id = chain_id
        self.genesis = GENESIS
        self.syncing: Any = False
        self.failure: RpcError | None = None
        """Raised by everything."""
        self.on: dict[str, Any] = {}
        self.gate: asyncio.Event | None = None
        """Nothing is answered before it is set."""
        self.calls: list[tuple[str, list[Any]]] = []
        self.is_closed = False

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        answer = await self._answer(method, params)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        answers = [await self._answer(method, params) for method, params in calls]
        for answer in answers:
            if isinstance(answer, RpcError) and not isinstance(answer, RpcRefused):
                raise answer
        return answers

    async def close(self) -> None:
        self.is_closed = True

    def count(self, method: str) -> int:
        return sum(1 for seen, _ in self.calls if seen == method)

    def header(self, number: int) -> dict[str, Any]:
        own = self.genesis if number == 0 else "0x" + keccak(text=f"{number}").hex()
        parent = "0x" + "00" * 32 if number == 0 else "0x" + keccak(text=f"{number - 1}").hex()
        return {
            "number": hex(number),
            "hash": own,
            "parentHash": parent,
            "timestamp": hex(1_700_000_000 + number),
            "gasLimit": hex(30_000_000),
            "baseFeePerGas": hex(10**9),
        }

    async def _answer(self, method: str, params: Sequence[Any]) -> Any:
        self.calls.append((method, list(params)))
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if method not in self.on:
            return self._healthy(method, params)
        scripted = self.on[method]
        return scripted(params) if callable(scripted) else scripted

    def _healthy(self, method: str, params: Sequence[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(self.chain_id)
            case "eth_syncing":
                return self.syncing
            case "eth_blockNumber":
                return hex(self.head)
            case "eth_getBlockByNumber":
                tags = {"latest": self.head, "finalized": self.finalized}
                number = tags[params[0]] if params[0] in tags else int(params[0], 16)
                return None if number is None or number > self.head else self.header(number)
            case "eth_sendRawTransaction":
                return "0x" + keccak(hexstr=params[0]).hex()
            case "eth_getBalance":
                return hex(self.head)
            case _:
                return None


def down(text: str = "no connection") -> RpcUnavailable:
    return RpcUnavailable(text, endpoint="scripted", method="scripted")
