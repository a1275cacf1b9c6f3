"""Reading any contract: one `eth_call` at one block, of a packaged function or of one that the client describes.

Guarantees: nothing is signed or sent; no other address than the node's is ever contacted (an OffchainLookup revert
is a revert); the answer is bounded in size, and malformed answers are errors, not values.
Not guaranteed: that the contract tells the truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.errors import ExecutionReverted
from chains.types import Address, BlockHash, CallRequest, Header, InvalidAddress, InvalidHash, parse_address, parse_hash
from contracts.abi import Function, abi_names, decode_output, encode_call, load_abi
from contracts.errors import AbiError, UndecodableReturn
from service.errors import ApiError
from service.journal.needs import ChainParts
from service.markets import abi_text
from service.markets.abi_text import InvalidCall

MAX_RESULT_BYTES: Final = 65_536
MAX_GAS: Final = 20_000_000
"""Far more than a read needs, far less than what keeps a node busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be called. `block` is None for the head, a number or a hash."""

    to: Address
    function: Function
    arguments: Sequence[Any]
    block: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The decoded outputs, and the block they were read at."""

    function: Function
    values: Sequence[Any]
    header: Header


def wanted(
    chain: ChainParts,
    *,
    to: str,
    function: str | Mapping[str, Any],
    abi: str | None,
    arguments: Sequence[Any],
    block: str | None,
) -> Wanted:
    """Read a request. `to` is an address, a contract's name in the registry, or a listed token's symbol.

    Raises:
        ApiError: invalid_address, invalid_call.
    """
    try:
        found = abi_text.parse_function(function) if abi is None else _packaged(abi, function)
        return Wanted(
            to=_target(chain, to),
            function=found,
            arguments=abi_text.arguments(found, arguments),
            block=block,
        )
    except (InvalidCall, AbiError) as exc:
        raise ApiError("invalid_call", str(exc)) from exc


async def read(chain: ChainParts, call: Wanted) -> Answer:
    """Execute the call.

    Raises:
        ApiError: unknown_block, contract_reverted, undecodable_result, result_too_large, invalid_call.
        ChainError: the node did not answer.
    """
    header = await _header(chain, call.block)
    try:
        data = encode_call(call.function, *call.arguments)
        output = await chain.client.call(CallRequest(to=call.to, data=data), block=header.ref, gas_limit=MAX_GAS)
        if len(output) > MAX_RESULT_BYTES:
            raise ApiError("result_too_large", f"the contract answered with more than {MAX_RESULT_BYTES} bytes")
        return Answer(function=call.function, values=decode_output(call.function, output), header=header)
    except ExecutionReverted as exc:
        reason = exc.reason or f"no reason given, data 0x{exc.data[:68].hex()}"
        raise ApiError("contract_reverted", f"the contract reverted: {reason}") from exc
    except UndecodableReturn as exc:
        raise ApiError("undecodable_result", f"{exc}; is there a contract at {call.to}?") from exc
    except AbiError as exc:
        raise ApiError("invalid_call", str(exc)) from exc


def result_document(answer: Answer) -> list[dict[str, Any]]:
    """Name, type and value of each output."""
    return [
        {"name": param.name, "type": param.type, "value": abi_text.result(param, value)}
        for param, value in zip(answer.function.outputs, answer.values, strict=True)
    ]


def _packaged(abi: str, function: str | Mapping[str, Any]) -> Function:
    if abi not in abi_names():
        raise InvalidCall(f"there is no packaged ABI {abi!r}; there are {', '.join(abi_names())}")
    if not isinstance(function, str):
        raise InvalidCall("a function of a packaged ABI is given by its name")
    return load_abi(abi).function(function)


def _target(chain: ChainParts, to: str) -> Address:
    named = chain.deployments.contracts(chain.config.chain_id).get(to)
    if named is not None:
        return named
    listed = next((asset.address for asset in chain.assets if asset.symbol == to), None)
    if listed is not None:
        return listed
    try:
        return parse_address(to)
    except InvalidAddress as exc:
        raise ApiError("invalid_address", f"{exc}; names of the registry and listed tokens work too") from exc


async def _header(chain: ChainParts, block: str | None) -> Header:
    if block is None:
        return await chain.client.head()
    found: Header | None = None
    if block.isascii() and block.isdecimal() and len(block) <= 15:
        found = await chain.client.header(int(block))
    else:
        try:
            found = await chain.client.header(BlockHash(parse_hash(block)))
        except InvalidHash as exc:
            raise ApiError("unknown_block", "a block is a number as text, or a block hash") from exc
    if found is None:
        raise ApiError("unknown_block", f"{chain.config.key} has no block {block}")
    return found
