"""What to ask a node to have a V3 pool in memory: slot0 and liquidity, words of the tick bitmap, the ticks in them.

    run_plans(client, [load_pool(address, fee_pips=500, tick_spacing=10)], ...) -> [V3Pool]

Guarantees: pure; three rounds of calls, every answer of one block when the driver pins it; a state whose parts do not
belong together is refused, and so is a call that failed. Calls are bounded by the words asked for: at a spacing of 60
all words are 116 calls, at 10 694, at 1 6,932; `words_around` asks for fewer, and a quote that walks out of them says
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

_WORD: Final = 32
_TICK_WORDS: Final = 8
"""Words that `ticks` answers with."""


def load_pool(address: Address, *, fee_pips: int, tick_spacing: int, words_around: int | None = None) -> Plan[V3Pool]:
    """The pool's state; with `words_around` only so many words of the bitmap on each side of the price's.

    Raises: InconsistentPool: a call failed, or the answers do not belong together.
    """
    slot0, liquidity = _all_ok((yield state_calls(address)), what="slot0 and liquidity")
    sqrt_price_x96, tick = slot0[0], slot0[1]
    loaded = WordRange.all_of(tick_spacing)
    if words_around is not None:
        word = word_of(tick, tick_spacing)
        loaded = WordRange(first=max(loaded.first, word - words_around), last=min(loaded.last, word + words_around))
    positions = range(loaded.first, loaded.last + 1)
    words = _all_ok((yield word_calls(address, positions)), what="tickBitmap")
    ticks = [
        tick for position, bits in zip(positions, words, strict=True) for tick in ticks_of(position, bits, tick_spacing)
    ]
    infos = _all_ok((yield tick_calls(address, ticks)), what="ticks")
    found = TickMap.of(tick_spacing, dict(zip(ticks, infos, strict=True)), loaded=loaded)
    found.check(tick, liquidity)
    return V3Pool(
        address=address,
        fee_pips=fee_pips,
        sqrt_price_x96=sqrt_price_x96,
        tick=tick,
        liquidity=liquidity,
        ticks=found,
    )


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
