"""Many reads in one node call, at one block, through Multicall3's aggregate3; balances by a codec of their own.

Guarantees: a call that fails is `Reverted`, alone; so is one that answers with what its ABI does not say (nothing,
when the target has no code). A failure never becomes zero. Answers come in the order of the calls. Not guaranteed:
that a token which burns all gas fails alone (aggregate3 has no stipend a call); only listed tokens are read.

The hand-written codec exists because eth_abi takes some 90 us a tuple; for the fixed shape `balanceOf(address)` it
costs about 5 us a pair. Source of the layout: Solidity ABI specification, `aggregate3((address,bool,bytes)[])`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from chains.types import Address, BlockRef, BlockTag, CallRequest, address_bytes
from contracts.abi import load_abi
from contracts.assets import Asset, AssetId
from contracts.call import Call, ContractReader
from contracts.errors import ContractError, UndecodableReturn

T = TypeVar("T")

CALLS_PER_REQUEST: Final = 500
"""Calls in one eth_call: 500 x about 30,000 gas is 15 million, under the 30 to 50 million that nodes allow."""
BALANCES_PER_REQUEST: Final = 2_000
"""Pairs in one eth_call: a balance costs about 10,000 gas cold, so 2,000 are about 20 million."""

_WORD: Final = 32
_ARRAY_HEAD: Final = _WORD.to_bytes(_WORD, "big")
_ONE: Final = (1).to_bytes(_WORD, "big")
# A call of 36 bytes (selector and address): offset of its bytes in the tuple, and their length.
_OFFSET_IN_CALL: Final = (3 * _WORD).to_bytes(_WORD, "big")
_BALANCE_CALL_LENGTH: Final = (36).to_bytes(_WORD, "big")
_BALANCE_CALL_SIZE: Final = 6 * _WORD
# success, offset of the bytes in the tuple, their length: what precedes the word of a balance.
_OK_WORD_HEAD: Final = _ONE + (2 * _WORD).to_bytes(_WORD, "big") + _WORD.to_bytes(_WORD, "big")
_OK_WORD_SIZE: Final = 4 * _WORD


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


async def balances_of(
    client: ContractReader,
    *,
    multicall: Address,
    wallets: Sequence[Address],
    assets: Sequence[Asset],
    block: BlockRef | BlockTag,
) -> dict[Address, dict[AssetId, Ok[int] | Reverted]]:
    """Balances of every asset (native ones through getEthBalance) of every wallet, at one block.

    One node call for each 2,000 pairs.

    Raises:
        ValueError: more than fit one node call at a tag, which may move between two of them.
        UndecodableReturn: the answer is not Multicall3's.
    """
    pairs = [(wallet, asset) for wallet in wallets for asset in assets]
    _check_block(len(pairs), limit=BALANCES_PER_REQUEST, block=block)
    balances: dict[Address, dict[AssetId, Ok[int] | Reverted]] = {wallet: {} for wallet in wallets}
    for start in range(0, len(pairs), BALANCES_PER_REQUEST):
        chunk = pairs[start : start + BALANCES_PER_REQUEST]
        data = encode_balance_calls(chunk, multicall=multicall)
        answer = await client.call(CallRequest(to=multicall, data=data), block=block)
        for (wallet, asset), value in zip(chunk, decode_balances(answer, count=len(chunk)), strict=True):
            balances[wallet][asset.id] = value
    return balances


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


def encode_balance_calls(pairs: Sequence[tuple[Address, Asset]], *, multicall: Address) -> bytes:
    """aggregate3 of one balance call a pair. Every element has the same size, so that offsets are arithmetic."""
    native = _balance_prefix(multicall, _selector("getEthBalance"))
    selector = load_abi("erc20").function("balanceOf").selector
    prefixes: dict[AssetId, bytes] = {}
    owners: dict[Address, bytes] = {}
    parts = [_selector("aggregate3"), _ARRAY_HEAD, len(pairs).to_bytes(_WORD, "big")]
    first = len(pairs) * _WORD
    parts += [(first + index * _BALANCE_CALL_SIZE).to_bytes(_WORD, "big") for index in range(len(pairs))]
    for wallet, asset in pairs:
        prefix = prefixes.get(asset.id)
        if prefix is None:
            prefix = native if asset.is_native else _balance_prefix(asset.token_address, selector)
            prefixes[asset.id] = prefix
        owner = owners.get(wallet)
        if owner is None:
            owner = owners[wallet] = address_bytes(wallet) + b"\0" * 28
        parts += (prefix, owner)
    return b"".join(parts)


def decode_balances(answer: bytes, *, count: int) -> list[Ok[int] | Reverted]:
    """Inverse of `encode_balance_calls`'s answer. Raises: UndecodableReturn."""
    base = 2 * _WORD + count * _WORD
    if len(answer) == base + count * _OK_WORD_SIZE and answer[:base] == _expected_head(count):
        # Every call answered with one word: fixed stride, no offsets to follow.
        heads = range(base, len(answer), _OK_WORD_SIZE)
        if all(answer[at : at + 96] == _OK_WORD_HEAD for at in heads):
            return [Ok(int.from_bytes(answer[at + 96 : at + _OK_WORD_SIZE], "big")) for at in heads]
    return [
        Ok(int.from_bytes(data[:_WORD], "big")) if success and len(data) >= _WORD else Reverted(data)
        for success, data in decode_aggregate3(answer, count=count)
    ]


def _decoded(call: Call[Any], outcome: tuple[bool, bytes]) -> Ok[Any] | Reverted:
    success, data = outcome
    if not success:
        return Reverted(data)
    try:
        return Ok(call.decode(data))
    except ContractError:
        # The decoder refuses the answer: unknown, as for a revert. It concerns this call alone.
        return Reverted(data)


def _balance_prefix(target: Address, selector: bytes) -> bytes:
    return (b"\0" * 12 + address_bytes(target)) + _ONE + _OFFSET_IN_CALL + _BALANCE_CALL_LENGTH + selector + b"\0" * 12


def _expected_head(count: int) -> bytes:
    first = count * _WORD
    offsets = [(first + index * _OK_WORD_SIZE).to_bytes(_WORD, "big") for index in range(count)]
    return b"".join([_ARRAY_HEAD, count.to_bytes(_WORD, "big"), *offsets])


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
