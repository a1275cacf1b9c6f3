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

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from chains.types import Address, CallRequest, address_bytes
from contracts import erc20
from contracts.abi import encode_call, load_abi
from contracts.balances.packed import NATIVE, PAIRINGS, WORD_BYTES, Balance, Pair
from contracts.multicall import decode_aggregate3

PAIRING_CHECK: Final = Address("0x0000000000000000000000000000000000000008")
"""The precompile of EIP-197."""

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
    at = places * WORD_BYTES
    calls = at + places * _TUPLE_BYTES
    token_call, native_call = (
        _word(36) + load_abi(abi).function(name).selector + bytes(12)
        for abi, name in (("erc20", "balanceOf"), ("multicall3", "getEthBalance"))
    )
    heads: dict[str, bytes] = {NATIVE: _target(multicall)}
    shared: dict[str, int] = {}
    shared_native: dict[str, int] = {}
    parts = [load_abi("multicall3").function("aggregate3").selector, _offsets(places, of=_TUPLE_BYTES)]
    tails: list[bytes] = []
    for token, wallet in pairs:
        head = heads.get(token)
        if head is None:
            head = heads[token] = _target(token)
        made = shared_native if token == NATIVE else shared
        call = made.get(wallet)
        if call is None:
            call = made[wallet] = calls + len(tails) * _CALL_BYTES
            tails.append((native_call if token == NATIVE else token_call) + address_bytes(wallet) + bytes(28))
        parts += (head, (call - at).to_bytes(WORD_BYTES, "big"))
        at += _TUPLE_BYTES
    check = calls + len(tails) * _CALL_BYTES
    parts += (_target(PAIRING_CHECK), _word(check - at))
    return b"".join([*parts, *tails, _word(_CHECK_BYTES), bytes(_CHECK_BYTES)])


def decode(answer: bytes, *, count: int) -> Batch:
    """What `encode` of `count` pairs was answered with. Raises: UndecodableReturn: it is not Multicall3's."""
    places = count + 1
    base = (2 + places) * WORD_BYTES
    if len(answer) == base + places * _GOOD_BYTES and answer.startswith(_offsets(places, of=_GOOD_BYTES)):
        # Every call answered with one word, as far as lengths tell: no offsets to follow, no line of Python a word.
        halves = struct.unpack_from("96s32s" * places, answer, base)
        if halves[::2].count(_GOOD_HEAD) == places:
            values: list[Balance] = [*map(int.from_bytes, halves[1::2])]
            return Batch(balances=values[:-1], had_gas=True)
    *outcomes, check = decode_aggregate3(answer, count=places)
    balances = [
        int.from_bytes(data[:WORD_BYTES], "big") if succeeded and len(data) >= WORD_BYTES else None
        for succeeded, data in outcomes
    ]
    return Batch(balances=balances, had_gas=check[0])


@lru_cache(maxsize=64)
def _offsets(places: int, *, of: int) -> bytes:
    """The head of an array of so many elements of one size: where it is, its length, where each element is.

    Chunks have few sizes, and this takes a third of the time of the rest; 64 of the largest are 4 MB.
    """
    first = places * WORD_BYTES
    return b"".join([_word(WORD_BYTES), _word(places), *(_word(first + index * of) for index in range(places))])


def _target(address: Address) -> bytes:
    """The first two words of a tuple: whom to call, and that it may fail."""
    return bytes(12) + address_bytes(address) + _word(1)


def _word(value: int) -> bytes:
    return value.to_bytes(WORD_BYTES, "big")
