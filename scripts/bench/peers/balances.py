"""Other ways to the same balances: web3.py in the ways its documentation shows, and JSON-RPC by hand.

Guarantees: each makes its client before the clock runs, and answers with the balances, to be compared. What is
asynchronous runs in the loop that it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import orjson
from web3 import AsyncHTTPProvider, AsyncWeb3, HTTPProvider, Web3
from web3.contract import AsyncContract, Contract

from chains.types import Address
from contracts import erc20
from contracts.balances.packed import Pair

AT_ONCE: Final = 64
_BALANCE_OF: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "name": "balanceOf",
        "stateMutability": "view",
        "inputs": [{"name": "owner", "type": "address"}],
        "outputs": [{"name": "", "type": "uint256"}],
    }
]
_AGGREGATE3: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "name": "aggregate3",
        "stateMutability": "payable",
        "inputs": [
            {
                "name": "calls",
                "type": "tuple[]",
                "components": [
                    {"name": "target", "type": "address"},
                    {"name": "allowFailure", "type": "bool"},
                    {"name": "callData", "type": "bytes"},
                ],
            }
        ],
        "outputs": [
            {
                "name": "returnData",
                "type": "tuple[]",
                "components": [{"name": "success", "type": "bool"}, {"name": "returnData", "type": "bytes"}],
            }
        ],
    }
]


class Web3Balances:
    """Synchronous web3.py: a contract call each, or Multicall3 as a contract."""

    def __init__(self, url: str, *, multicall: Address, block: int) -> None:
        self._web3 = Web3(HTTPProvider(url))
        self._multicall = self._web3.eth.contract(address=Web3.to_checksum_address(multicall), abi=_AGGREGATE3)
        self._block = block
        self._tokens: dict[str, Contract] = {}

    def each(self, pairs: Sequence[Pair]) -> list[int]:
        return [
            self._token(token).functions.balanceOf(wallet).call(block_identifier=self._block) for token, wallet in pairs
        ]

    def multicall(self, pairs: Sequence[Pair]) -> list[int]:
        calls = [(token, True, self._token(token).encode_abi("balanceOf", [wallet])) for token, wallet in pairs]
        answers = self._multicall.functions.aggregate3(calls).call(block_identifier=self._block)
        return [int(self._web3.codec.decode(["uint256"], data)[0]) for _, data in answers]

    def _token(self, token: Address) -> Contract:
        if token not in self._tokens:
            self._tokens[token] = self._web3.eth.contract(address=Web3.to_checksum_address(token), abi=_BALANCE_OF)
        return self._tokens[token]


class AsyncWeb3Balances:
    """AsyncWeb3: many contract calls at a time, or its batches."""

    def __init__(self, url: str, *, block: int) -> None:
        self._web3 = AsyncWeb3(AsyncHTTPProvider(url))
        self._block = block
        self._tokens: dict[str, AsyncContract] = {}

    async def at_once(self, pairs: Sequence[Pair]) -> list[int]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(token: Address, wallet: Address) -> int:
            async with gate:
                return int(await self._token(token).functions.balanceOf(wallet).call(block_identifier=self._block))

        return list(await asyncio.gather(*(one(token, wallet) for token, wallet in pairs)))

    async def batch(self, pairs: Sequence[Pair]) -> list[int]:
        async with self._web3.batch_requests() as batch:
            for token, wallet in pairs:
                batch.add(self._token(token).functions.balanceOf(wallet).call(block_identifier=self._block))
            answers: list[Any] = await batch.async_execute()
        return [int(answer) for answer in answers]

    async def close(self) -> None:
        await self._web3.provider.disconnect()

    def _token(self, token: Address) -> AsyncContract:
        if token not in self._tokens:
            self._tokens[token] = self._web3.eth.contract(address=Web3.to_checksum_address(token), abi=_BALANCE_OF)
        return self._tokens[token]


class BatchByHand:
    """One JSON-RPC batch of eth_calls: aiohttp and orjson, no library for Ethereum."""

    def __init__(self, url: str, *, block: int) -> None:
        self._url, self._block = url, hex(block)
        self._session: aiohttp.ClientSession | None = None

    async def read(self, pairs: Sequence[Pair]) -> list[int]:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"Content-Type": "application/json"})
        calls = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "eth_call",
                "params": [{"to": token, "data": "0x" + erc20.balance_of(token, wallet).data.hex()}, self._block],
            }
            for number, (token, wallet) in enumerate(pairs)
        ]
        async with self._session.post(self._url, data=orjson.dumps(calls)) as response:
            answers = orjson.loads(await response.read())
        by_id = {answer["id"]: answer["result"] for answer in answers}
        return [int(by_id[number], 16) for number in range(len(pairs))]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
