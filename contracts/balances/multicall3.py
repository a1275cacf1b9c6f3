"""Balances through Multicall3's aggregate3: calldata and answers of one fixed shape, by slicing.

eth_abi takes some 90 us a tuple; this takes about one. Pairs of one wallet share the bytes of its `balanceOf` call,
since the ABI's offsets may lead to the same place: 128 bytes a pair and 96 a wallet instead of 224 a pair.

aggregate3 gives every call all the gas there is, so that one that burns it starves those after it. The last call of
every batch is therefore a pairing check over points at infinity, which takes `packed.STIPEND_GAS` and hardly any time:
when it succeeds, every call before it had as much gas, and what failed, failed by itself. Source of the layout:
Solidity ABI specification, `aggregate3((address,bool,bytes)[]) returns ((bool,bytes)[])`.

Guarantees: a balance is the first word of a call that succeeded with at least a word; anything else is None.
Not guaranteed: which of the failed ones are final when the check failed too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import Address, CallRequest
from contracts import erc20
from contracts.abi import encode_call, load_abi
from contracts.balances.packed import NATIVE, PAIRINGS, WORD_BYTES, Balance, Pair
from contracts.multicall import decode_aggregate3

PAIRING_CHECK: Final = Address("0x0000000000000000000000000000000000000008")
"""The precompile of EIP-197."""

_HEX_WORD: Final = 2 * WORD_BYTES
_TUPLE_BYTES: Final = 3 * WORD_BYTES
_CALL_BYTES: Final = 3 * WORD_BYTES
"""Length, selector and address, padding."""
_CHECK_BYTES: Final = 192 * PAIRINGS
# success, offset of the bytes in the tuple, their length: what precedes the word of an answer.
_GOOD_HEAD: Final = b"".join(value.to_bytes(WORD_BYTES, "big") for value in (1, 2 * WORD_BYTES, WORD_BYTES))
_GOOD_BYTES: Final = 4 * WORD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The balances in the order asked; `had_gas`: every call had at least the stipend."""

    balances: list[Balance]
    had_gas: bool


def request(pair: Pair, *, multicall: Address) -> CallRequest:
    """The balance of one pair, asked without the others."""
    token, wallet = pair
    if token != NATIVE:
        return erc20.balance_of(token, wallet).request
    return CallRequest(to=multicall, data=encode_call(load_abi("multicall3").function("getEthBalance"), wallet))


def encode(pairs: Sequence[Pair], *, multicall: Address) -> bytes:
    """Calldata of aggregate3: a balance call a pair, and the check."""
    places = len(pairs) + 1
    # Where things are, from the start of the array's offsets: offsets, tuples, then the calls that tuples lead to.
    tuples = places * WORD_BYTES
    calls = tuples + places * _TUPLE_BYTES
    offsets = "".join([f"{tuples + index * _TUPLE_BYTES:064x}" for index in range(places)])
    token_call = load_abi("erc20").function("balanceOf").selector.hex()
    native_call = load_abi("multicall3").function("getEthBalance").selector.hex()
    shared: dict[tuple[str, bool], int] = {}
    targets: dict[str, str] = {NATIVE: f"{multicall[2:]:0>64}{1:064x}"}
    parts, tails = [offsets], list[str]()
    at = tuples
    for token, wallet in pairs:
        target = targets.get(token)
        if target is None:
            target = targets[token] = f"{token[2:]:0>64}{1:064x}"
        key = (wallet, token == NATIVE)
        call = shared.get(key)
        if call is None:
            call = shared[key] = calls + len(tails) * _CALL_BYTES
            selector = native_call if token == NATIVE else token_call
            tails.append(f"{36:064x}{selector}{wallet[2:]:0>64}{'':0>56}")
        parts.append(f"{target}{call - at:064x}")
        at += _TUPLE_BYTES
    check = calls + len(tails) * _CALL_BYTES
    parts.append(f"{PAIRING_CHECK[2:]:0>64}{1:064x}{check - at:064x}")
    tails.append(f"{_CHECK_BYTES:064x}{'':0>{2 * _CHECK_BYTES}}")
    data = bytes.fromhex("".join(parts) + "".join(tails))
    head = load_abi("multicall3").function("aggregate3").selector + WORD_BYTES.to_bytes(WORD_BYTES, "big")
    return head + places.to_bytes(WORD_BYTES, "big") + data


def decode(answer: bytes, *, count: int) -> Batch:
    """What `encode` of `count` pairs was answered with. Raises: UndecodableReturn: it is not Multicall3's."""
    places = count + 1
    base = (2 + places) * WORD_BYTES
    if len(answer) == base + places * _GOOD_BYTES and answer[:base] == _good_offsets(places):
        # Every call answered with one word, as far as lengths tell: fixed stride, no offsets to follow.
        heads = range(base, len(answer), _GOOD_BYTES)
        if all(answer[at : at + 96] == _GOOD_HEAD for at in heads):
            number = int.from_bytes
            values: list[Balance] = [number(answer[at : at + 32], "big") for at in range(base + 96, len(answer), 128)]
            return Batch(balances=values[:-1], had_gas=True)
    *outcomes, check = decode_aggregate3(answer, count=places)
    balances = [
        int.from_bytes(data[:WORD_BYTES], "big") if succeeded and len(data) >= WORD_BYTES else None
        for succeeded, data in outcomes
    ]
    return Batch(balances=balances, had_gas=check[0])


def _good_offsets(places: int) -> bytes:
    """The head of an answer in which every call gave one word."""
    first = places * WORD_BYTES
    offsets = "".join([f"{first + index * _GOOD_BYTES:064x}" for index in range(places)])
    return bytes.fromhex(f"{WORD_BYTES:064x}{places:064x}{offsets}")
