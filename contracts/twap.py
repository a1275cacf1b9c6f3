"""Time-weighted average prices of V3 pools: what a pool's own oracle says of the last minutes.

A swap moves the price of its block at once, the average only for as long as the price is kept there against everyone
who would trade it back.

Guarantees: the mean tick and the mean liquidity are those of v3-periphery's OracleLibrary.consult, roundings
included; of several pools the one with most liquidity over its window speaks, since liquidity that was added a moment
ago does not count; a pool that remembers less than `WINDOWS_S[-1]` says nothing.
Not guaranteed: that a thin pool is honest. Its average costs little to move, and whoever reads it knows its liquidity.

Source: github.com/Uniswap/v3-periphery, contracts/libraries/OracleLibrary.sol; v3-core, libraries/Oracle.sol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chains.types import Address
from chains.units import mul_div
from contracts.abi import decode_output, encode_call, load_abi
from contracts.call import Call
from contracts.errors import UndecodableReturn
from contracts.multicall import Ok, Reverted
from contracts.ratio import Ratio
from contracts.uniswap_v3.maths import MAX_TICK, MIN_TICK, get_sqrt_ratio_at_tick

WINDOWS_S: Final = (1_800, 900, 600, 300)
"""Windows asked for, in seconds, the longest first: a pool keeps only as many observations as somebody paid for, and
one that remembers less than five minutes is moved too cheaply to be asked."""

_UINT160: Final = 2**160
_INT56: Final = 2**56
_Q192: Final = 2**192


@dataclass(frozen=True, slots=True, kw_only=True)
class Consulted:
    """A pool over a window: the arithmetic mean tick and the harmonic mean of the liquidity in range."""

    mean_tick: int
    mean_liquidity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Twap:
    """`price` is base units of token1 for one of token0: the geometric mean over `window_s` seconds."""

    pool: Address
    window_s: int
    mean_tick: int
    mean_liquidity: int

    @property
    def price(self) -> Ratio:
        return price_at_tick(self.mean_tick)


def twap_calls(pools: Sequence[Address]) -> list[Call[Consulted]]:
    """The reads for `deepest_twap`: each pool over each window."""
    return [consult(pool, window_s=window_s) for pool in pools for window_s in WINDOWS_S]


def deepest_twap(pools: Sequence[Address], answers: Sequence[Ok[Consulted] | Reverted]) -> Twap | None:
    """Of the pools that remember at least the shortest window the deepest, over the longest that it remembers.

    `answers` are those to `twap_calls(pools)`, in order. None: no pool remembers enough.
    """
    found: list[Twap] = []
    for position, pool in enumerate(pools):
        windows = answers[position * len(WINDOWS_S) : (position + 1) * len(WINDOWS_S)]
        for window_s, answer in zip(WINDOWS_S, windows, strict=True):
            if isinstance(answer, Ok):
                seen = answer.value
                found.append(
                    Twap(
                        pool=pool,
                        window_s=window_s,
                        mean_tick=seen.mean_tick,
                        mean_liquidity=seen.mean_liquidity,
                    )
                )
                break
    return max(found, key=lambda twap: twap.mean_liquidity, default=None)


def consult(pool: Address, *, window_s: int) -> Call[Consulted]:
    """`observe([window_s, 0])`. Reverts ('OLD') when the pool does not remember that long."""
    function = load_abi("uniswap_v3_pool").function("observe")

    def decode(data: bytes) -> Consulted:
        ticks, seconds_per_liquidity = decode_output(function, data)
        if len(ticks) != 2 or len(seconds_per_liquidity) != 2:
            raise UndecodableReturn(f"pool {pool} observed something else than two moments", data=data)
        consulted = consulted_from(ticks, seconds_per_liquidity, window_s=window_s)
        if not MIN_TICK <= consulted.mean_tick <= MAX_TICK:
            raise UndecodableReturn(f"pool {pool} observed a tick that no pool can have", data=data)
        return consulted

    return Call(to=pool, data=encode_call(function, [window_s, 0]), decode=decode)


def consulted_from(ticks: Sequence[int], seconds_per_liquidity: Sequence[int], *, window_s: int) -> Consulted:
    """The means between two pairs of accumulators (older, newer), which wrap around as int56 and uint160 do."""
    ticks_passed = (ticks[1] - ticks[0] + _INT56 // 2) % _INT56 - _INT56 // 2
    seconds_passed = (seconds_per_liquidity[1] - seconds_per_liquidity[0]) % _UINT160
    # Python rounds down, as OracleLibrary does for negative ticks: towards the lower price.
    mean_tick = ticks_passed // window_s
    mean_liquidity = mul_div(window_s, _UINT160 - 1, seconds_passed << 32) if seconds_passed else 0
    return Consulted(mean_tick=mean_tick, mean_liquidity=mean_liquidity)


def price_at_tick(tick: int) -> Ratio:
    """1.0001^tick as the pools compute it, base units of token1 for one of token0."""
    return Ratio.of(get_sqrt_ratio_at_tick(tick) ** 2, _Q192)
