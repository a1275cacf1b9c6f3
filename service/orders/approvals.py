"""Which approvals a swap needs before it, decided in the unit of work that queues it.

Plans of a wallet run in nonce order, and approve sets an allowance rather than adding to it, so a plan that approves
its exact amount right before its swap does not depend on what runs before it. Only a plan that relies on an
allowance it finds does; hence an allowance counts only while no other open order sells the same asset.
"""

from chains.types import CallRequest
from contracts import erc20
from contracts.assets import APPROVE_RESET
from contracts.swaps import SwapCall


def approvals(swap: SwapCall, *, allowance: int, others_open: bool) -> tuple[CallRequest, ...]:
    """None, approve, or reset and approve; always of the exact amount that the swap may take.

    `allowance` is the router's at the quote's block. With `others_open` it may be anything by the time this plan
    runs: a token that insists on zero first is then reset whatever was read.
    """
    asset, spend = swap.spend.asset, swap.spend.raw
    if asset.is_native:
        return ()
    if not others_open:
        return erc20.approvals(asset, swap.spender, current=allowance, needed=spend)
    approve = erc20.approve_call(asset.token_address, swap.spender, amount=spend)
    if APPROVE_RESET in asset.flags:
        return (erc20.approve_call(asset.token_address, swap.spender, amount=0), approve)
    return (approve,)
