"""Wrapping and unwrapping the native asset (WETH9; WPOL has the same code).

Guarantees: one wrapped unit is one wei. Note for readers of logs: `deposit` and `withdraw` emit `Deposit` and
`Withdrawal`, never `Transfer`.
"""

from chains.types import Address, CallRequest
from contracts.abi import encode_call, load_abi


def wrap_call(wrapped: Address, amount_wei: int) -> CallRequest:
    """Turn native coins of the sender into wrapped ones."""
    return CallRequest(to=wrapped, data=encode_call(load_abi("weth9").function("deposit")), value_wei=amount_wei)


def unwrap_call(wrapped: Address, amount_wei: int) -> CallRequest:
    """Turn wrapped coins of the sender into native ones. Raises: AbiError: not in uint256."""
    return CallRequest(to=wrapped, data=encode_call(load_abi("weth9").function("withdraw"), amount_wei))
