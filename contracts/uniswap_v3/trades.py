"""What a V3 pool's Swap log moved, out of the log alone.

Guarantees: exact base units, fee inside. Slices the fixed layout, as `uniswap_v3.logs` does.
"""

from typing import Final

from chains.types import Log
from contracts.abi import load_abi
from contracts.errors import AbiError

_WORD: Final = 32
_WORDS: Final = 5


def topic() -> bytes:
    """The first topic of the pool's Swap log."""
    return load_abi("uniswap_v3_pool").event("Swap").topic


def moved(log: Log) -> tuple[int, int]:
    """What the pool gained of token0 and of token1, negative where it lost.

    Raises: AbiError: the data is not amount0, amount1, sqrtPriceX96, liquidity, tick.
    """
    data = log.data
    if len(data) != _WORDS * _WORD:
        raise AbiError(f"a Swap log of {len(data)} bytes where a pool's has {_WORDS} words")
    return int.from_bytes(data[:_WORD], "big", signed=True), int.from_bytes(data[_WORD : 2 * _WORD], "big", signed=True)
