"""What a V2 pair's Swap log moved, out of the log alone.

Guarantees: exact base units, fee inside. Slices the fixed layout, as `uniswap_v3.logs` does. Not guaranteed: that both
tokens went opposite ways: a pair can be paid in both (UniswapV2Pair.swap), or pay both out.
"""

from typing import Final

from chains.types import Log
from contracts.abi import load_abi
from contracts.errors import AbiError

_WORD: Final = 32


def topic() -> bytes:
    """The first topic of the pair's Swap log."""
    return load_abi("uniswap_v2_pair").event("Swap").topic


def moved(log: Log) -> tuple[int, int]:
    """What the pair gained of token0 and of token1, negative where it lost: in less out, since either may be both.

    Raises: AbiError: the data is not amount0In, amount1In, amount0Out, amount1Out.
    """
    data = log.data
    if len(data) != 4 * _WORD:
        raise AbiError(f"a Swap log of {len(data)} bytes where a pair's has 4 words")
    in0, in1, out0, out1 = (int.from_bytes(data[at : at + _WORD], "big") for at in range(0, len(data), _WORD))
    return in0 - out0, in1 - out1
