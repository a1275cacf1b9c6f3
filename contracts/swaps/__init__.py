"""Swap calldata: from a route and its limits to the call of a pinned router, and back to a plain description.

    model.py            the plain description and the rules it must keep
    compiling.py        route and limits -> Swap -> SwapCall
    encoding.py         Swap <-> calldata: one encoder, and a decoder that accepts only what it gives back
    swap_router_02.py   Uniswap's SwapRouter02: one to many legs, V3 and V2, in one multicall
    router_02.py        Router02 and its copies: one leg of one V2 factory

Guarantees: never without a limit, a deadline and a recipient; the router is the registry's; what may be spent is exact
or capped on-chain, and what must arrive is enforced on-chain, for the whole trade. Not guaranteed: that the limit is a
good one.
"""

from contracts.swaps.compiling import SwapCall, compile_route
from contracts.swaps.encoding import decode_swap, encode_swap
from contracts.swaps.model import MAX_DEADLINE_S, MAX_HOPS, MAX_LEGS, ROUTER_ITSELF, Swap, SwapLeg, one_leg

__all__ = [
    "MAX_DEADLINE_S",
    "MAX_HOPS",
    "MAX_LEGS",
    "ROUTER_ITSELF",
    "Swap",
    "SwapCall",
    "SwapLeg",
    "compile_route",
    "decode_swap",
    "encode_swap",
    "one_leg",
]
