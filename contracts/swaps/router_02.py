"""Router02's calldata (Uniswap V2 and its copies), both ways: one path of one factory, the deadline in each function.

Guarantees: one encoding of a swap. `parse` only reads: whether a swap is safe, and the bytes exactly its encoding, is
for `encoding.decode_swap`. Source: v2-periphery IUniswapV2Router01; the router refunds what swapETHForExactTokens does
not need by itself, and its exact output is exact (ADR 0006).
"""

from collections.abc import Sequence
from typing import Any, Final

from chains.types import CallRequest
from contracts.abi import SELECTOR_BYTES, decode_input, encode_call, load_abi
from contracts.assets import AssetList
from contracts.deployments import Router
from contracts.errors import UnknownCalldata
from contracts.pools import V2_FEE
from contracts.routes import Exact
from contracts.swaps.model import Swap, one_leg

_ABI: Final = "uniswap_v2_router"


def encode(swap: Swap) -> CallRequest:
    """The call of a swap that was checked."""
    name, amounts = _function(swap)
    (leg,) = swap.legs
    return CallRequest(
        to=swap.router,
        data=encode_call(load_abi(_ABI).function(name), *amounts, leg.path, swap.recipient, swap.deadline_s),
        value_wei=swap.max_in if swap.native_in else 0,
    )


def _function(swap: Swap) -> tuple[str, Sequence[Any]]:
    match swap.exact, swap.native_in, swap.native_out:
        case "in", True, _:
            return "swapExactETHForTokens", (swap.min_out,)
        case "in", False, True:
            return "swapExactTokensForETH", (swap.max_in, swap.min_out)
        case "in", False, False:
            return "swapExactTokensForTokens", (swap.max_in, swap.min_out)
        case "out", True, _:
            return "swapETHForExactTokens", (swap.min_out,)
        case "out", False, True:
            return "swapTokensForExactETH", (swap.min_out, swap.max_in)
        case _:
            return "swapTokensForExactTokens", (swap.min_out, swap.max_in)


def parse(call: CallRequest, *, router: Router, assets: AssetList) -> Swap:
    """The swap that the calldata seems to be. Raises: ContractError: it does not look like one of ours."""
    name, values = _decoded(call.data)
    *amounts, path, recipient, deadline_s = values
    exact: Exact
    match name, amounts:
        case "swapExactETHForTokens", [minimum]:
            exact, max_in, min_out = "in", call.value_wei, minimum
        case "swapETHForExactTokens", [amount_out]:
            exact, max_in, min_out = "out", call.value_wei, amount_out
        case "swapExactTokensForETH" | "swapExactTokensForTokens", [amount_in, minimum]:
            exact, max_in, min_out = "in", amount_in, minimum
        case "swapTokensForExactETH" | "swapTokensForExactTokens", [amount_out, maximum]:
            exact, max_in, min_out = "out", maximum, amount_out
        case _:
            raise UnknownCalldata(f"{name} is not a swap that we send")
    if len(path) < 2 or len(router.venues) != 1:
        raise UnknownCalldata("the path has no pool, or pools of several factories")
    (venue,) = router.venues
    native_in = name in ("swapExactETHForTokens", "swapETHForExactTokens")
    native_out = name in ("swapExactTokensForETH", "swapTokensForExactETH")
    fees = (V2_FEE,) * (len(path) - 1)
    return Swap(
        chain_id=assets.chain_id,
        router=call.to,
        sold=assets.native if native_in else assets.by_address(path[0]),
        bought=assets.native if native_out else assets.by_address(path[-1]),
        exact=exact,
        max_in=max_in,
        min_out=min_out,
        recipient=recipient,
        deadline_s=deadline_s,
        legs=one_leg(path, fees, venue=venue, exact=exact, max_in=max_in, min_out=min_out),
    )


def _decoded(data: bytes) -> tuple[str, tuple[Any, ...]]:
    for function in load_abi(_ABI).functions:
        if function.selector == data[:SELECTOR_BYTES] and function.name.startswith("swap"):
            return function.name, decode_input(function, data)
    raise UnknownCalldata(f"0x{data[:SELECTOR_BYTES].hex()} is not a swap that we send")
