"""The pool's own logs as events of `pool.apply`, and nothing of who caused them.

Guarantees: a log that is not one of Initialize, Swap, Mint and Burn is None; one that is, but malformed, raises.
Slices the fixed layouts instead of a general decoder, which would take a hundred times longer. Not guaranteed: that
the log is of the pool it is applied to; who follows logs asks by address.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from chains.types import Log
from contracts.abi import load_abi
from contracts.errors import AbiError
from contracts.uniswap_v3.pool import Event, Initialized, PositionChanged, Swapped

_WORD: Final = 32


def topics() -> tuple[bytes, ...]:
    """The first topics of the logs that change a pool's state, for a log filter."""
    return tuple(_decoders())


def decode(log: Log) -> Event | None:
    """What the log says. Raises: AbiError: it is shorter than its event."""
    decoder = _decoders().get(log.topics[0]) if log.topics else None
    return None if decoder is None else decoder(log)


@cache
def _decoders() -> Mapping[bytes, Callable[[Log], Event]]:
    pool = load_abi("uniswap_v3_pool")
    return MappingProxyType(
        {
            pool.event("Swap").topic: _swap,
            pool.event("Mint").topic: _mint,
            pool.event("Burn").topic: _burn,
            pool.event("Initialize").topic: _initialize,
        }
    )


def _swap(log: Log) -> Swapped:
    """amount0, amount1, sqrtPriceX96, liquidity, tick; sender and recipient are topics."""
    data = _data(log, words=5)
    return Swapped(
        sqrt_price_x96=_number(data, 2),
        liquidity=_number(data, 3),
        tick=_signed(data, 4),
    )


def _mint(log: Log) -> PositionChanged:
    """sender, amount, amount0, amount1; owner, tickLower and tickUpper are topics."""
    return _position(log, amount=_number(_data(log, words=4), 1))


def _burn(log: Log) -> PositionChanged:
    """amount, amount0, amount1; owner, tickLower and tickUpper are topics."""
    return _position(log, amount=-_number(_data(log, words=3), 0))


def _initialize(log: Log) -> Initialized:
    """sqrtPriceX96, tick."""
    data = _data(log, words=2)
    return Initialized(sqrt_price_x96=_number(data, 0), tick=_signed(data, 1))


def _position(log: Log, *, amount: int) -> PositionChanged:
    if len(log.topics) != 4:
        raise AbiError("a position's log has three indexed fields")
    _, _, lower, upper = log.topics
    return PositionChanged(lower=_signed(lower, 0), upper=_signed(upper, 0), delta=amount)


def _data(log: Log, *, words: int) -> bytes:
    if len(log.data) != words * _WORD:
        raise AbiError(f"a log of {len(log.data)} bytes where its event has {words} words")
    return log.data


def _number(data: bytes, word: int) -> int:
    return int.from_bytes(data[word * _WORD : (word + 1) * _WORD], "big")


def _signed(data: bytes, word: int) -> int:
    return int.from_bytes(data[word * _WORD : (word + 1) * _WORD], "big", signed=True)
