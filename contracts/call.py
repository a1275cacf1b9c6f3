"""One typed read of a contract: target, calldata and how to decode the answer.

A `Call` is plain data: it can be executed alone (`execute`) or with others at one block (`contracts.multicall`).
Guarantees: an answer that does not fit the ABI raises, empty bytes included; it never becomes zero. Not guaranteed:
that the block is still canonical when the answer arrives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from chains.types import Address, BlockRef, BlockTag, CallRequest, Header
from contracts.abi import Function, decode_output, encode_call

T = TypeVar("T")


class ContractReader(Protocol):
    """What reads need of a chain client; `chains.client.EvmClient` is one."""

    async def call(self, request: CallRequest, *, block: BlockRef | BlockTag | int = "latest") -> bytes:
        """eth_call. Raises: chains.errors.ExecutionReverted, chains.errors.RpcError."""
        ...


class HeadReader(ContractReader, Protocol):
    """A reader that also knows the chain's latest block."""

    async def head(self) -> Header: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """A read: `decode` turns the returned bytes into a value, or raises `UndecodableReturn`."""

    to: Address
    data: bytes
    decode: Callable[[bytes], T]

    @property
    def request(self) -> CallRequest:
        return CallRequest(to=self.to, data=self.data)


def call_one(to: Address, function: Function, *arguments: Any) -> Call[Any]:
    """A call of a function whose only (or first) return value is wanted."""
    return Call(to=to, data=encode_call(function, *arguments), decode=lambda data: decode_output(function, data)[0])


def call_all(to: Address, function: Function, *arguments: Any) -> Call[tuple[Any, ...]]:
    """A call of a function of which all return values are wanted."""
    return Call(to=to, data=encode_call(function, *arguments), decode=lambda data: decode_output(function, data))


async def execute(client: ContractReader, call: Call[T], *, block: BlockRef | BlockTag | int) -> T:
    """One eth_call, decoded.

    Raises:
        chains.errors.ExecutionReverted: the contract reverted.
        UndecodableReturn: it answered with something else, nothing for instance.
    """
    return call.decode(await client.call(call.request, block=block))
