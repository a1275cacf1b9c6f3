"""A small assembler, so that the bytecode of the readers is written where it is explained.

    assemble("PUSH1 0x40  loop:  DUP1  PUSH loop  JUMPI  STOP  end:")

Names of opcodes are the Yellow Paper's; `;` starts a comment; a `name:` is a place, with a JUMPDEST where it is jumped
to. `PUSHn value` takes decimal or hex, `PUSH name` the place as two bytes.

Guarantees: a name that is unknown, missing or given twice, and a value that does not fit, raise. The Yellow Paper's
numbers are in `OPCODES`, only those that are used. Not guaranteed: that the program does something sensible.
"""

from typing import Final

OPCODES: Final = {
    "STOP": 0x00,
    "ADD": 0x01,
    "SUB": 0x03,
    "DIV": 0x04,
    "LT": 0x10,
    "EQ": 0x14,
    "ISZERO": 0x15,
    "AND": 0x16,
    "OR": 0x17,
    "SHL": 0x1B,
    "SHR": 0x1C,
    "BALANCE": 0x31,
    "CALLDATALOAD": 0x35,
    "CALLDATASIZE": 0x36,
    "CODESIZE": 0x38,
    "CODECOPY": 0x39,
    "RETURNDATASIZE": 0x3D,
    "POP": 0x50,
    "MLOAD": 0x51,
    "MSTORE": 0x52,
    "JUMP": 0x56,
    "JUMPI": 0x57,
    "GAS": 0x5A,
    "JUMPDEST": 0x5B,
    "RETURN": 0xF3,
    "STATICCALL": 0xFA,
}
_PUSH1: Final = 0x60
_DUP1: Final = 0x80
_SWAP1: Final = 0x90
_PLACE_BYTES: Final = 2


def assemble(listing: str) -> bytes:
    """Raises: ValueError: the listing is not a program; the message names the word."""
    words = [word for line in listing.splitlines() for word in line.partition(";")[0].split()]
    code = bytearray()
    places: dict[str, int] = {}
    wanted: list[tuple[int, str]] = []
    reading = iter(words)
    for word in reading:
        if word.endswith(":"):
            if word[:-1] in places:
                raise ValueError(f"{word} is there twice")
            places[word[:-1]] = len(code)
            continue
        if word == "PUSH":
            code += bytes([_PUSH1 + _PLACE_BYTES - 1])
            wanted.append((len(code), next(reading, "")))
            code += bytes(_PLACE_BYTES)
            continue
        code.append(_opcode(word))
        if word.startswith("PUSH"):
            code += _immediate(next(reading, ""), size=int(word[4:]))
    for at, name in wanted:
        if name not in places:
            raise ValueError(f"there is no place {name!r}")
        code[at : at + _PLACE_BYTES] = places[name].to_bytes(_PLACE_BYTES, "big")
    return bytes(code)


def _opcode(word: str) -> int:
    if word in OPCODES:
        return OPCODES[word]
    for prefix, first, most in (("PUSH", _PUSH1, 32), ("DUP", _DUP1, 16), ("SWAP", _SWAP1, 16)):
        number = word.removeprefix(prefix)
        if number != word and number.isascii() and number.isdigit() and 1 <= int(number) <= most:
            return first + int(number) - 1
    raise ValueError(f"{word!r} is no opcode here")


def _immediate(word: str, *, size: int) -> bytes:
    try:
        return int(word, 0).to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise ValueError(f"{word!r} does not fit PUSH{size}") from None
