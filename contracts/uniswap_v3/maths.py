"""V3's integer maths, as the Solidity has it: TickMath, SqrtPriceMath, SwapMath, FullMath, LiquidityMath.

Guarantees: bit-equal to v3-core 1.0.1 for every argument that its callers can produce, roundings and the less precise
branch on a 256-bit overflow included; where the contract would revert, `MathsRevert`. Not guaranteed: speed of
`compute_swap_step` (the quotes work by cumulative sums, `ladder.py`, and are compared with it).

Names follow the contracts, so that the two can be read side by side. Sqrt prices are Q64.96, fees are pips.
Source: github.com/Uniswap/v3-core, contracts/libraries, at v1.0.1.
"""

from functools import lru_cache
from typing import Final

from contracts.errors import ContractError

MIN_TICK: Final = -887_272
MAX_TICK: Final = 887_272
MIN_SQRT_RATIO: Final = 4_295_128_739
"""get_sqrt_ratio_at_tick(MIN_TICK)"""
MAX_SQRT_RATIO: Final = 1_461_446_703_485_210_103_287_273_052_203_988_822_378_723_970_342
"""get_sqrt_ratio_at_tick(MAX_TICK)"""
FEE_UNITS: Final = 1_000_000
"""Pips in one whole."""
Q96: Final = 2**96
MAX_UINT128: Final = 2**128 - 1
MAX_UINT160: Final = 2**160 - 1
_MAX_UINT256: Final = 2**256 - 1
_RATIOS_KEPT: Final = 65_536
"""Sqrt ratios remembered, some 10 MB when full: the stops of several hundred ordinary pools."""

# sqrt(1.0001)^-(2^i) as Q128.128, from TickMath.getSqrtRatioAtTick; bit i of |tick| multiplies by entry i.
_FACTORS: Final = (
    0xFFFCB933BD6FAD37AA2D162D1A594001,
    0xFFF97272373D413259A46990580E213A,
    0xFFF2E50F5F656932EF12357CF3C7FDCC,
    0xFFE5CACA7E10E4E61C3624EAA0941CD0,
    0xFFCB9843D60F6159C9DB58835C926644,
    0xFF973B41FA98C081472E6896DFB254C0,
    0xFF2EA16466C96A3843EC78B326B52861,
    0xFE5DEE046A99A2A811C461F1969C3053,
    0xFCBE86C7900A88AEDCFFC83B479AA3A4,
    0xF987A7253AC413176F2B074CF7815E54,
    0xF3392B0822B70005940C7A398E4B70F3,
    0xE7159475A2C29B7443B29C7FA6E889D9,
    0xD097F3BDFD2022B8845AD8F792AA5825,
    0xA9F746462D870FDF8A65DC1F90E061E5,
    0x70D869A156D2A1B890BB3DF62BAF32F7,
    0x31BE135F97D08FD981231505542FCFA6,
    0x9AA508B5B7A84E1C677DE54F3E99BC9,
    0x5D6AF8DEDB81196699C329225EE604,
    0x2216E584F5FA1EA926041BEDFE98,
    0x48A170391F7DC42444E8FA2,
)
# From TickMath.getTickAtSqrtRatio: 1 / log2(sqrt(1.0001)) and the error bounds of its 14 binary digits, Q128.128.
_LOG_SQRT10001: Final = 255_738_958_999_603_826_347_141
_TICK_LOW_ERROR: Final = 3_402_992_956_809_132_418_596_140_100_660_247_210
_TICK_HIGH_ERROR: Final = 291_339_464_771_989_622_907_027_621_153_398_088_495


class MathsRevert(ContractError):
    """The contract's arithmetic would revert on these numbers."""


def mul_div(a: int, b: int, denominator: int) -> int:
    """FullMath.mulDiv. Raises: MathsRevert: the result does not fit 256 bits."""
    if denominator == 0 or (result := a * b // denominator) > _MAX_UINT256:
        raise MathsRevert("mulDiv overflows")
    return result


def mul_div_rounding_up(a: int, b: int, denominator: int) -> int:
    """FullMath.mulDivRoundingUp. Raises: MathsRevert: the result does not fit 256 bits."""
    if denominator == 0 or (result := -(-a * b // denominator)) > _MAX_UINT256:
        raise MathsRevert("mulDivRoundingUp overflows")
    return result


def add_delta(liquidity: int, delta: int) -> int:
    """LiquidityMath.addDelta. Raises: MathsRevert: not a uint128 any more."""
    if not 0 <= (result := liquidity + delta) <= MAX_UINT128:
        raise MathsRevert("liquidity leaves uint128")
    return result


@lru_cache(maxsize=_RATIOS_KEPT)
def get_sqrt_ratio_at_tick(tick: int) -> int:
    """TickMath.getSqrtRatioAtTick. Raises: MathsRevert: beyond MIN_TICK or MAX_TICK ('T')."""
    left = abs(tick)
    if left > MAX_TICK:
        raise MathsRevert(f"tick {tick} is out of range")
    ratio = 1 << 128
    for factor in _FACTORS:
        if left & 1:
            ratio = ratio * factor >> 128
        left >>= 1
        if not left:
            break
    if tick > 0:
        ratio = _MAX_UINT256 // ratio
    return -(-ratio >> 32)


def get_tick_at_sqrt_ratio(sqrt_price_x96: int) -> int:
    """TickMath.getTickAtSqrtRatio: the greatest tick whose ratio is at most this.

    Raises: MathsRevert: not in MIN_SQRT_RATIO .. MAX_SQRT_RATIO - 1 ('R').
    """
    if not MIN_SQRT_RATIO <= sqrt_price_x96 < MAX_SQRT_RATIO:
        raise MathsRevert("the sqrt price is out of range")
    ratio = sqrt_price_x96 << 32
    msb = ratio.bit_length() - 1
    r = ratio >> (msb - 127) if msb >= 128 else ratio << (127 - msb)
    log_2 = (msb - 128) << 64
    for position in range(63, 49, -1):
        r = r * r >> 127
        if r >> 128:
            log_2 |= 1 << position
            r >>= 1
    log_sqrt10001 = log_2 * _LOG_SQRT10001
    low = (log_sqrt10001 - _TICK_LOW_ERROR) >> 128
    high = (log_sqrt10001 + _TICK_HIGH_ERROR) >> 128
    if low == high or get_sqrt_ratio_at_tick(high) > sqrt_price_x96:
        return low
    return high


def get_amount0_delta(sqrt_a_x96: int, sqrt_b_x96: int, *, liquidity: int, rounding_up: bool) -> int:
    """SqrtPriceMath.getAmount0Delta; the prices in either order. Raises: MathsRevert: a price is zero."""
    lower, upper = (sqrt_a_x96, sqrt_b_x96) if sqrt_a_x96 <= sqrt_b_x96 else (sqrt_b_x96, sqrt_a_x96)
    if lower <= 0:
        raise MathsRevert("a sqrt price is zero")
    numerator = (liquidity << 96) * (upper - lower)
    if rounding_up:
        return -(-numerator // upper // lower)  # both divisions round up: floor of a negative is away from zero
    return numerator // upper // lower


def get_amount1_delta(sqrt_a_x96: int, sqrt_b_x96: int, *, liquidity: int, rounding_up: bool) -> int:
    """SqrtPriceMath.getAmount1Delta; the prices in either order."""
    numerator = liquidity * abs(sqrt_b_x96 - sqrt_a_x96)
    return -(-numerator >> 96) if rounding_up else numerator >> 96


def get_next_sqrt_price_from_input(sqrt_p_x96: int, liquidity: int, *, amount_in: int, zero_for_one: bool) -> int:
    """SqrtPriceMath.getNextSqrtPriceFromInput. Raises: MathsRevert."""
    _require_market(sqrt_p_x96, liquidity)
    if zero_for_one:
        return next_price_adding_amount0(sqrt_p_x96, liquidity, amount_in)
    return _uint160(sqrt_p_x96 + (amount_in << 96) // liquidity)


def get_next_sqrt_price_from_output(sqrt_p_x96: int, liquidity: int, *, amount_out: int, zero_for_one: bool) -> int:
    """SqrtPriceMath.getNextSqrtPriceFromOutput. Raises: MathsRevert: the virtual reserves do not hold so much."""
    _require_market(sqrt_p_x96, liquidity)
    if zero_for_one:
        quotient = -((-amount_out << 96) // liquidity)
        if sqrt_p_x96 <= quotient:
            raise MathsRevert("the output is beyond the virtual reserves")
        return sqrt_p_x96 - quotient
    if amount_out == 0:
        return sqrt_p_x96
    numerator, product = liquidity << 96, amount_out * sqrt_p_x96
    if product > _MAX_UINT256 or numerator <= product:
        raise MathsRevert("the output is beyond the virtual reserves")
    return _uint160(-(-numerator * sqrt_p_x96 // (numerator - product)))


def next_price_adding_amount0(sqrt_p_x96: int, liquidity: int, amount: int) -> int:
    """SqrtPriceMath.getNextSqrtPriceFromAmount0RoundingUp with `add`."""
    if amount == 0:
        return sqrt_p_x96
    numerator = liquidity << 96
    denominator = numerator + amount * sqrt_p_x96
    if denominator <= _MAX_UINT256:
        return -(-numerator * sqrt_p_x96 // denominator)
    # The product or the sum overflows 256 bits: the contract takes the less precise formula.
    denominator = numerator // sqrt_p_x96 + amount
    if denominator > _MAX_UINT256:
        raise MathsRevert("the input overflows the denominator")
    return -(-numerator // denominator)


def compute_swap_step(
    sqrt_current_x96: int, sqrt_target_x96: int, *, liquidity: int, amount_remaining: int, fee_pips: int
) -> tuple[int, int, int, int]:
    """SwapMath.computeSwapStep: (next sqrt price, amount in, amount out, fee amount).

    `amount_remaining` is positive for exact input, negative for exact output. Raises: MathsRevert.
    """
    zero_for_one = sqrt_current_x96 >= sqrt_target_x96
    amount_in_to = get_amount0_delta if zero_for_one else get_amount1_delta
    amount_out_to = get_amount1_delta if zero_for_one else get_amount0_delta

    def paid(price: int) -> int:
        return amount_in_to(price, sqrt_current_x96, liquidity=liquidity, rounding_up=True)

    def received(price: int) -> int:
        return amount_out_to(price, sqrt_current_x96, liquidity=liquidity, rounding_up=False)

    if amount_remaining >= 0:
        less_fee = mul_div(amount_remaining, FEE_UNITS - fee_pips, FEE_UNITS)
        if less_fee >= paid(sqrt_target_x96):
            next_price = sqrt_target_x96
        else:
            next_price = get_next_sqrt_price_from_input(
                sqrt_current_x96, liquidity, amount_in=less_fee, zero_for_one=zero_for_one
            )
        amount_in, amount_out = paid(next_price), received(next_price)
        if next_price != sqrt_target_x96:
            return next_price, amount_in, amount_out, amount_remaining - amount_in
    else:
        if -amount_remaining >= received(sqrt_target_x96):
            next_price = sqrt_target_x96
        else:
            next_price = get_next_sqrt_price_from_output(
                sqrt_current_x96, liquidity, amount_out=-amount_remaining, zero_for_one=zero_for_one
            )
        amount_in, amount_out = paid(next_price), min(received(next_price), -amount_remaining)
    return next_price, amount_in, amount_out, mul_div_rounding_up(amount_in, fee_pips, FEE_UNITS - fee_pips)


def _require_market(sqrt_p_x96: int, liquidity: int) -> None:
    if sqrt_p_x96 <= 0 or liquidity <= 0:
        raise MathsRevert("there is no price or no liquidity")


def _uint160(value: int) -> int:
    if value > MAX_UINT160:
        raise MathsRevert("the price leaves uint160")
    return value
