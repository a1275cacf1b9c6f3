"""Uniswap V3 paths: token (20 bytes), fee (3 bytes), token, ... as the periphery's Path library reads them.

An exact-output call takes the path from the bought token back to the sold one; these functions know only bytes.
"""

from collections.abc import Sequence
from typing import Final

from chains.types import Address, address_bytes, address_from_bytes
from contracts.errors import AbiError

_TOKEN_BYTES: Final = 20
_FEE_BYTES: Final = 3
_STEP: Final = _TOKEN_BYTES + _FEE_BYTES


def encode_path(tokens: Sequence[Address], fees: Sequence[int]) -> bytes:
    """`fees` in pips (hundredths of a basis point), one fewer than tokens. Raises: AbiError."""
    if len(tokens) != len(fees) + 1 or not fees or any(not 0 <= fee < 2**24 for fee in fees):
        raise AbiError("a path has one fee between two tokens, each a uint24")
    parts = [address_bytes(tokens[0])]
    for fee, token in zip(fees, tokens[1:], strict=True):
        parts += (fee.to_bytes(_FEE_BYTES, "big"), address_bytes(token))
    return b"".join(parts)


def decode_path(path: bytes) -> tuple[tuple[Address, ...], tuple[int, ...]]:
    """(tokens, fees). Raises: AbiError: not a whole number of steps, or no step at all."""
    steps, rest = divmod(len(path) - _TOKEN_BYTES, _STEP)
    if rest or steps < 1:
        raise AbiError(f"{len(path)} bytes are not a Uniswap V3 path")
    tokens = tuple(address_from_bytes(path[i * _STEP : i * _STEP + _TOKEN_BYTES]) for i in range(steps + 1))
    fees = tuple(int.from_bytes(path[i * _STEP + _TOKEN_BYTES : (i + 1) * _STEP], "big") for i in range(steps))
    return tokens, fees
