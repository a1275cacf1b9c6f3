"""Many reads in one node call, at one block, through Multicall3's aggregate3.

Guarantees: a call that fails is `Reverted`, alone; so is one that answers with what its ABI does not say (nothing,
when the target has no code). A failure never becomes zero. Answers come in the order of the calls. Not guaranteed:
that a contract which burns all gas fails alone (aggregate3 has no stipend a call); balances of many tokens, which are
anybody's code, are read by `contracts.balances`, where it does.

The hand-written codec exists because eth_abi takes some 90 us a tuple. Source of the layout: Solidity ABI
specification, `aggregate3((address,bool,bytes)[])`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from chains.types import Address, BlockRef, BlockTag, CallRequest, address_bytes
from contracts.abi import load_abi
from contracts.call import Call, ContractReader
from contracts.errors import ContractError, UndecodableReturn

T = TypeVar("T")

CALLS_PER_REQUEST: Final = 500
"""Calls in one eth_call: 500 x about 30,000 gas is 15 million, under the 30 to 50 million that nodes allow."""

_WORD: Final = 32
_ARRAY_HEAD: Final = _WORD.to_bytes(_WORD, "big")
_ONE: Final = (1).to_bytes(_WORD, "big")
# Of the calldata in its tuple, which is the last of three fields.
_OFFSET_IN_CALL: Final = (3 * _WORD).to_bytes(_WORD, "big")


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The call succeeded and its answer decoded."""

    value: T


@dataclass(frozen=True, slots=True)
class Reverted:
    """The call reverted, or answered with something else than its ABI says: the value is unknown."""

    data: bytes


async def aggregate(
    client: ContractReader, calls: Sequence[Call[Any]], *, multicall: Address, block: BlockRef | BlockTag
) -> list[Ok[Any] | Reverted]:
    """Execute all calls at one block; one node call for each 500 of them.

    Raises:
        ValueError: more than fit one node call at a tag, which may move between two of them.
        UndecodableReturn: the answer is not Multicall3's.
    """
    _check_block(len(calls), limit=CALLS_PER_REQUEST, block=block)
    results: list[Ok[Any] | Reverted] = []
    for start in range(0, len(calls), CALLS_PER_REQUEST):
        chunk = calls[start : start + CALLS_PER_REQUEST]
        answer = await client.call(
            CallRequest(to=multicall, data=encode_aggregate3([(call.to, call.data) for call in chunk])), block=block
        )
        outcomes = decode_aggregate3(answer, count=len(chunk))
        results += [_decoded(call, outcome) for call, outcome in zip(chunk, outcomes, strict=True)]
    return results


def encode_aggregate3(calls: Sequence[tuple[Address, bytes]]) -> bytes:
    """Calldata of aggregate3 with allowFailure for each (target, calldata)."""
    offsets: list[bytes] = []
    tuples: list[bytes] = []
    position = len(calls) * _WORD
    for target, data in calls:
        offsets.append(position.to_bytes(_WORD, "big"))
        padding = -len(data) % _WORD
        tuples += (
            b"\0" * 12 + address_bytes(target) + _ONE + _OFFSET_IN_CALL,
            len(data).to_bytes(_WORD, "big") + data + b"\0" * padding,
        )
        position += 4 * _WORD + len(data) + padding
    return b"".join([_selector("aggregate3"), _ARRAY_HEAD, len(calls).to_bytes(_WORD, "big"), *offsets, *tuples])


def decode_aggregate3(answer: bytes, *, count: int) -> list[tuple[bool, bytes]]:
    """(success, returned bytes) for each of `count` calls. Raises: UndecodableReturn."""
    base = 2 * _WORD
    if answer[:base] != _ARRAY_HEAD + count.to_bytes(_WORD, "big"):
        raise UndecodableReturn(f"Multicall3 did not answer with {count} results", data=answer[:base])
    outcomes = []
    for index in range(count):
        start = base + _word(answer, base + index * _WORD)
        success = _word(answer, start)
        inner = start + _word(answer, start + _WORD)
        first = inner + _WORD
        last = first + _word(answer, inner)
        if success > 1 or last > len(answer):
            raise UndecodableReturn(f"Multicall3's result {index} is malformed", data=b"")
        outcomes.append((success == 1, answer[first:last]))
    return outcomes


def _decoded(call: Call[Any], outcome: tuple[bool, bytes]) -> Ok[Any] | Reverted:
    success, data = outcome
    if not success:
        return Reverted(data)
    try:
        return Ok(call.decode(data))
    except ContractError:
        # The decoder refuses the answer: unknown, as for a revert. It concerns this call alone.
        return Reverted(data)


def _word(data: bytes, at: int) -> int:
    word = data[at : at + _WORD]
    if len(word) < _WORD:
        raise UndecodableReturn("Multicall3's answer is cut short", data=b"")
    return int.from_bytes(word, "big")


def _selector(name: str) -> bytes:
    return load_abi("multicall3").function(name).selector


def _check_block(count: int, *, limit: int, block: BlockRef | BlockTag) -> None:
    if count > limit and not isinstance(block, BlockRef):
        raise ValueError(f"{count} reads take several node calls: pin them to a block, {block!r} may move")
