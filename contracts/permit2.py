"""Permit2, through which others move a wallet's tokens by its signatures: nothing here ever calls or approves it.

Uniswap deployed it with one salt, so that it has this address on every chain (github.com/Uniswap/permit2).
"""

from typing import Final

from chains.types import Address

PERMIT2: Final = Address("0x000000000022D473030F116dDEE9F6B43aC78BA3")
