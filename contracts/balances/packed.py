"""The packed reader: EVM code that reads balances, 40 bytes in and 32 bytes and a bit out a pair, placed by the call.

Two placements of one program: at an unused address by a state override (`placed`), where the pairs are calldata; and
as initcode of a call without `to` (`initcode`), where they follow the code. In: `token(20) wallet(20)` a pair. Out: one
bit a pair (first pair first, most significant bit first, whole bytes), then one word a pair.

Guarantees:
- a word is the first of what the token answered, within `STIPEND_GAS`. Where it did not answer with a word at least the
  bit is set, and the word means nothing;
- every call of a token gets its whole stipend, however much those before it burned: the program stops before a pair
  that it has not enough gas for, and the length of the answer says how far it came;
- an answer of another length than some number of pairs has is refused, such as the nothing of a node that ignores
  overrides.
Not guaranteed: that a token needing more than its stipend is read; that one which answers by the gas it is given says
the same as elsewhere.

`NATIVE` as token is the coin of the chain (ERC-7528), read by BALANCE.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from eth_utils.crypto import keccak

from chains.types import Address, address_from_bytes
from contracts.abi import load_abi
from contracts.balances.assembler import assemble
from contracts.errors import UndecodableReturn

Pair = tuple[Address, Address]
"""(token or NATIVE, wallet)."""
Balance = int | None
"""Base units; None where it is unknown: no code, a revert, too little or nothing returned, too much gas burned."""

NATIVE: Final = Address("0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE")
READER: Final = address_from_bytes(keccak(text="cambist balance reader")[12:])
"""Where the code is placed: the end of a hash, so that nobody has the key and nothing is there."""

PAIRINGS: Final = 10
STIPEND_GAS: Final = 45_000 + 34_000 * PAIRINGS
"""Of one balance: some ten times what a token behind proxies takes. The number is the price of a pairing check
(EIP-1108), by which the Multicall3 way sees whether as much was left (`contracts.balances.multicall3`)."""
_CALL_SPARE_GAS: Final = 12_000
"""The program's own work for a pair, a cold account and a word of memory, generously."""
_CALL_GAS: Final = -(-STIPEND_GAS * 64 // 63) + _CALL_SPARE_GAS
"""What must be left before a call: 1/64 stays with the caller (EIP-150)."""

PAIR_BYTES: Final = 40
WORD_BYTES: Final = 32
CODE_LIMIT_BYTES: Final = 24_576
"""EIP-170: what initcode returns may not be longer."""
CODE_GAS_A_BYTE: Final = 200
"""What returned code costs (Yellow Paper, G_codedeposit), charged after the program has ended."""
INITCODE_PAIRS: Final = 764
"""The most whose answer fits: 1 + 96 + 32 * 764 = 24,545 bytes. The initcode then has 31 kB of 49 kB (EIP-3860)."""

# Memory: 0..35 the calldata of balanceOf, from 64 on the answer (bits, then words), from IN on the pairs of initcode.
_OUT: Final = 64
_IN: Final = 0x8000

# Short, since a node takes some 6 ns for each instruction. The stack in the loop, top last: where the pairs end, p (the
# pair at hand), slot (where its word goes).
_LISTING: Final = """
    PUSH4 {selector}  PUSH1 0xe0  SHL  PUSH1 0  MSTORE          ; balanceOf(address), its argument to come
    {pairs}                                                     ; end p
    PUSH1 40  DUP2  DUP4  SUB  DIV                              ; end p n
    PUSH1 7  ADD  PUSH1 3  SHR  PUSH1 {out}  ADD                ; end p slot: behind the bits
loop: JUMPDEST
    DUP3  DUP3  EQ  PUSH done  JUMPI                            ; until p = end
    PUSH4 {needed}  GAS  LT  PUSH done  JUMPI                   ; or the gas may not do
    DUP2  {load}  PUSH1 96  SHR                                 ; end p slot token
    DUP1  PUSH20 {native}  EQ  PUSH native  JUMPI
    DUP3  PUSH1 20  ADD  {load}  PUSH1 96  SHR                  ; end p slot token wallet
    PUSH1 4  MSTORE                                             ; end p slot token
    PUSH1 32  DUP3  PUSH1 36  PUSH1 0                           ; end p slot token 32 slot 36 0
    DUP5  PUSH4 {stipend}  STATICCALL                           ; end p slot token done?
    RETURNDATASIZE  PUSH1 31  LT  AND                           ; and a word at least came back
    ISZERO  PUSH unknown  JUMPI                                 ; end p slot token
next: JUMPDEST
    POP  PUSH1 32  ADD  SWAP1  PUSH1 40  ADD  SWAP1             ; end p slot
    PUSH loop  JUMP
native: JUMPDEST                                                ; end p slot token
    DUP3  PUSH1 20  ADD  {load}  PUSH1 96  SHR  BALANCE         ; end p slot token balance
    DUP3  MSTORE  PUSH next  JUMP
unknown: JUMPDEST                                               ; end p slot token
    PUSH1 40  PUSH2 {first}  DUP5  SUB  DIV                     ; end p slot token i: which pair it is
    PUSH1 1  DUP2  PUSH1 7  AND  PUSH1 255  SUB  SHL            ; end p slot token i bit: 1 << 255 - i % 8
    SWAP1  PUSH1 3  SHR  PUSH1 {out}  ADD                       ; end p slot token bit byte: where it goes
    SWAP1  DUP2  MLOAD  OR  SWAP1  MSTORE                       ; end p slot token
    PUSH next  JUMP
done: JUMPDEST                                                  ; end p slot
    PUSH1 {answer}  SWAP1  SUB  PUSH1 {answer}  RETURN
end:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The reader in one placement. `lead` bytes, zeros, come before its answer."""

    code: bytes
    lead: int


def _program(*, pairs: str, load: str, first: int, needed: int, lead: int) -> Program:
    listing = _LISTING.format(
        selector="0x" + load_abi("erc20").function("balanceOf").selector.hex(),
        native=NATIVE,
        stipend=STIPEND_GAS,
        out=_OUT,
        answer=_OUT - lead,
        pairs=pairs,
        load=load,
        first=first,
        needed=needed,
    )
    return Program(code=assemble(listing), lead=lead)


@cache
def placed() -> Program:
    """For a state override: the pairs are calldata."""
    return _program(pairs="CALLDATASIZE  PUSH1 0", load="CALLDATALOAD", first=0, needed=_CALL_GAS, lead=0)


@cache
def initcode() -> Program:
    """For a call without `to`: the pairs follow the code. A zero leads, since no code may start with 0xEF (EIP-3541),
    and gas is left for what returned code costs.
    """
    return _program(
        pairs=f"PUSH end  CODESIZE  SUB  DUP1  PUSH end  PUSH2 {_IN}  CODECOPY  PUSH2 {_IN}  ADD  PUSH2 {_IN}",
        load="MLOAD",
        first=_IN,
        needed=_CALL_GAS + CODE_LIMIT_BYTES * CODE_GAS_A_BYTE,
        lead=1,
    )


def encode_pairs(pairs: Sequence[Pair]) -> bytes:
    """40 bytes a pair. Raises: ValueError: an address is none."""
    raw = bytes.fromhex("".join([token[2:] + wallet[2:] for token, wallet in pairs]))
    if len(raw) != PAIR_BYTES * len(pairs):
        raise ValueError("an address does not have 20 bytes")
    return raw


def decode_answer(answer: bytes, *, count: int, lead: int) -> list[Balance]:
    """The balances of the first pairs of `count` asked: at least one, all if the gas did.

    Raises:
        UndecodableReturn: it is no answer of the reader, or it had no gas for a single pair.
    """
    words = lead + (count + 7 >> 3)
    read, rest = divmod(len(answer) - words, WORD_BYTES)
    if rest or not (0 < read <= count):
        raise UndecodableReturn(f"{len(answer)} bytes are no balances of {count} pairs", data=answer[:WORD_BYTES])
    # Unpacked and converted without a line of Python a word: int.from_bytes is big-endian by default.
    values: list[Balance] = [*map(int.from_bytes, struct.unpack_from(f"{WORD_BYTES}s" * read, answer, words))]
    # Bits of pairs that were not reached are dropped.
    unknown = int.from_bytes(answer[lead:words]) >> 8 * (words - lead) - read
    while unknown:
        back = unknown.bit_length()
        values[read - back] = None
        unknown -= 1 << back - 1
    return values
