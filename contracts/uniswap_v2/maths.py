"""V2's integer maths with the fee as a parameter: UniswapV2Library.getAmountOut and getAmountIn.

Guarantees: bit-equal to v2-periphery, SafeMath's overflows of 256 bits included: they revert there and raise here.
Source: github.com/Uniswap/v2-periphery, contracts/libraries/UniswapV2Library.sol; forks differ in 997 / 1000 only.
"""

from typing import Final

from contracts.errors import InsufficientLiquidity, InvalidTradeAmount

_MAX_UINT256: Final = 2**256 - 1


def get_amount_out(amount_in: int, reserve_in: int, reserve_out: int, *, kept: int, whole: int) -> int:
    """What `amount_in` buys; `kept` of `whole` of it remain after the fee (997 of 1000).

    Raises:
        InvalidTradeAmount: not positive, or so large that the contract's arithmetic overflows.
        InsufficientLiquidity: a reserve is empty.
    """
    if amount_in <= 0:
        raise InvalidTradeAmount("an amount to trade is at least one base unit")
    if reserve_in <= 0 or reserve_out <= 0:
        raise InsufficientLiquidity("a reserve of the pair is empty")
    less_fee = amount_in * kept
    numerator, denominator = less_fee * reserve_out, reserve_in * whole + less_fee
    if numerator > _MAX_UINT256 or denominator > _MAX_UINT256:
        raise InvalidTradeAmount("the amount overflows the pair's arithmetic")
    return numerator // denominator


def get_amount_in(amount_out: int, reserve_in: int, reserve_out: int, *, kept: int, whole: int) -> int:
    """What `amount_out` costs, rounded up and one more, as the contract does.

    Raises:
        InvalidTradeAmount: not positive, or so large that the contract's arithmetic overflows.
        InsufficientLiquidity: the pair does not hold more than `amount_out`.
    """
    if amount_out <= 0:
        raise InvalidTradeAmount("an amount to trade is at least one base unit")
    if reserve_in <= 0 or amount_out >= reserve_out:
        raise InsufficientLiquidity("the pair does not hold so much")
    numerator = reserve_in * amount_out * whole
    if numerator > _MAX_UINT256:
        raise InvalidTradeAmount("the amount overflows the pair's arithmetic")
    return numerator // ((reserve_out - amount_out) * kept) + 1
