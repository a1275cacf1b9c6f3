"""What to ask a node to have a V3 pool in memory: slot0 and liquidity, words of the tick bitmap, the ticks in them.

    run_plans(client, [load_pool(address, fee_pips=500, tick_spacing=10)], ...) -> [V3Pool]

Guarantees: pure; three rounds of calls, every answer of one block when the driver pins it; a state whose parts do not
belong together is refused, and so is a call that failed. Calls are bounded by the words asked for: at a spacing of 60
all words are 116 calls, at 10 694, at 1 6,932; `ticks_around` asks for fewer, and a quote that walks out of them says
so. Not guaranteed: that the address is a pool of the factory; that is the directory's business (contracts.pools).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from chains.types import Address
from contracts.abi import Function, load_abi
from contracts.call import Call, call_all, call_one
from contracts.errors import InconsistentPool, UndecodableReturn
from contracts.multicall import Ok, Reverted
from contracts.plans import Plan
from contracts.uniswap_v3.maths import MAX_TICK, MIN_TICK
from contracts.uniswap_v3.pool import V3Pool
from contracts.uniswap_v3.ticks import WORD_BITS, TickLiquidity, TickMap, WordRange, word_of

WORDS_AROUND: Final = 16
"""At a spacing of 1 these are 4,096 ticks, half as much again or a third less than the price, in 33 calls."""
_WORD: Final = 32
_TICK_WORDS: Final = 8
"""Words that `ticks` answers with."""


def load_pool(
    address: Address,
    *,
    fee_pips: int,
    tick_spacing: int | None = None,
    ticks_around: int | None = None,
    words: WordRange | None = None,
) -> Plan[V3Pool]:
    """The pool's state: all ticks, or those of the `words` given, or of as many words as it takes to have so many
    `ticks_around` the price on each side, at most `WORDS_AROUND`. A spacing that is not given is asked for.

    Raises: InconsistentPool: a call failed, or the answers do not belong together.
    """
    calls = state_calls(address)
    if tick_spacing is None:
        calls.append(call_one(address, load_abi("uniswap_v3_pool").function("tickSpacing")))
    slot0, liquidity, *told = _all_ok((yield calls), what="slot0, liquidity and spacing")
    spacing = told[0] if tick_spacing is None else tick_spacing
    if not 0 < spacing <= MAX_TICK:
        raise InconsistentPool(f"a pool with a tick spacing of {spacing}")
    sqrt_price_x96, tick = slot0[0], slot0[1]
    every = WordRange.all_of(spacing)
    loaded = words if words is not None else every
    if words is None and ticks_around is not None:
        word, around = word_of(tick, spacing), min(WORDS_AROUND, -(-ticks_around // (WORD_BITS * spacing)))
        loaded = WordRange(first=max(every.first, word - around), last=min(every.last, word + around))
    found = TickMap.of(spacing, (yield from load_ticks(address, tick_spacing=spacing, words=loaded)), loaded=loaded)
    found.check(tick, liquidity)
    return V3Pool(
        address=address,
        fee_pips=fee_pips,
        sqrt_price_x96=sqrt_price_x96,
        tick=tick,
        liquidity=liquidity,
        ticks=found,
    )


def load_ticks(address: Address, *, tick_spacing: int, words: WordRange) -> Plan[dict[int, TickLiquidity]]:
    """The initialised ticks of these words. Raises: InconsistentPool: a call failed."""
    positions = range(words.first, words.last + 1)
    bits = _all_ok((yield word_calls(address, positions)), what="tickBitmap")
    ticks = [
        tick for position, word in zip(positions, bits, strict=True) for tick in ticks_of(position, word, tick_spacing)
    ]
    infos = _all_ok((yield tick_calls(address, ticks)), what="ticks")
    return dict(zip(ticks, infos, strict=True))


def state_calls(address: Address) -> list[Call[Any]]:
    """slot0 and the liquidity in range."""
    abi = load_abi("uniswap_v3_pool")
    return [call_all(address, abi.function("slot0")), call_one(address, abi.function("liquidity"))]


def word_calls(address: Address, positions: Iterable[int]) -> list[Call[int]]:
    """One word of TickBitmap each."""
    function = load_abi("uniswap_v3_pool").function("tickBitmap")
    return [Call(to=address, data=_int_call(function, position), decode=_bits) for position in positions]


def tick_calls(address: Address, ticks: Iterable[int]) -> list[Call[TickLiquidity]]:
    """Gross and net liquidity of each tick."""
    function = load_abi("uniswap_v3_pool").function("ticks")
    return [Call(to=address, data=_int_call(function, tick), decode=_tick) for tick in ticks]


def ticks_of(position: int, bits: int, tick_spacing: int) -> list[int]:
    """The initialised ticks of a word. Raises: InconsistentPool: a bit beyond all prices."""
    ticks = []
    while bits:
        lowest = bits & -bits
        ticks.append((position * WORD_BITS + lowest.bit_length() - 1) * tick_spacing)
        bits ^= lowest
    if ticks and not MIN_TICK <= ticks[0] <= ticks[-1] <= MAX_TICK:
        raise InconsistentPool(f"word {position} has ticks beyond all prices")
    return ticks


def _int_call(function: Function, argument: int) -> bytes:
    """Calldata with one signed argument: thousands of them, and eth_abi takes 20 us for each."""
    return function.selector + argument.to_bytes(_WORD, "big", signed=True)


def _bits(data: bytes) -> int:
    if len(data) != _WORD:
        raise UndecodableReturn("tickBitmap answers with one word", data=data)
    return int.from_bytes(data, "big")


def _tick(data: bytes) -> TickLiquidity:
    if len(data) != _TICK_WORDS * _WORD:
        raise UndecodableReturn("ticks answers with eight words", data=data)
    return TickLiquidity(
        int.from_bytes(data[:_WORD], "big"), int.from_bytes(data[_WORD : 2 * _WORD], "big", signed=True)
    )


def _all_ok(answers: Sequence[Ok[Any] | Reverted], *, what: str) -> list[Any]:
    values = [answer.value for answer in answers if isinstance(answer, Ok)]
    if len(values) != len(answers):
        raise InconsistentPool(f"{what}: {len(answers) - len(values)} of {len(answers)} calls failed")
    return values
