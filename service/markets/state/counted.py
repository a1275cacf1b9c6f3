"""How many calls are made of the node, for the figures."""

from collections.abc import Sequence
from typing import Any, Final

from chains.errors import RpcError
from chains.rpc.transport import Transport


class CountedCalls:
    """A `Transport` that counts the calls made through it."""

    def __init__(self, inner: Transport) -> None:
        self.made = 0
        self._inner: Final = inner

    @property
    def name(self) -> str:
        return self._inner.name

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        self.made += 1
        return await self._inner.request(method, params)

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | RpcError]:
        self.made += len(calls)
        return await self._inner.batch(calls)

    async def close(self) -> None:
        await self._inner.close()
