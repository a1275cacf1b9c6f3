"""Swap calldata: from a quote and its limits to the call of a pinned router, and from a plain description to bytes.

A `Swap` says everything a swap's calldata says; `encode_swap` is the only way calldata is made, so that the decoder
can hold bytes against it. Shapes:

    SwapRouter02 (Uniswap V3)            multicall(deadline, [swap, unwrapWETH9 if native out, refundETH if native in])
    Router02 (Uniswap V2, QuickSwap V2)  one of the six swap functions, which carry the deadline themselves

V2 pools are not traded through SwapRouter02: its exact output pays the rounded-up input and lets the pair give what
that buys, a few base units more than was asked (V2SwapRouter._swap). Router02 gives exactly the amount.

Guarantees: never without a limit, a deadline and a recipient; the router is the registry's; what may be spent is
exact or capped on-chain. Not guaranteed: that the limit is a good one (the caller derives it from a guarded price).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId
from contracts.abi import encode_call, load_abi
from contracts.assets import Asset, AssetList, TokenAmount
from contracts.deployments import WRAPPED_NATIVE, Deployments, Venue
from contracts.errors import UnknownDeployment, UnsafeSwap
from contracts.paths import encode_path
from contracts.pools import V2_FEE
from contracts.quoting import MAX_TRADE, SwapQuote
from contracts.routes import Exact

MAX_HOPS: Final = 4
MAX_DEADLINE_S: Final = 2**40
"""Unix seconds; far beyond any date, and what milliseconds given by mistake exceed."""
ROUTER_ITSELF: Final = Address("0x0000000000000000000000000000000000000002")
"""SwapRouter02's Constants.ADDRESS_THIS: the bought coins stay in the router for the unwrap that follows."""
_MSG_SENDER: Final = Address("0x0000000000000000000000000000000000000001")
"""SwapRouter02's Constants.MSG_SENDER. We always name the recipient."""
_NO_PRICE_LIMIT: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What a swap's calldata does. Amounts in base units.

    Exact "in": `max_in` is sold, at least `min_out` bought. Exact "out": `min_out` is bought, at most `max_in` sold.
    `path` has token addresses, the wrapped token where `sold` or `bought` is native; `fees_pips` are the V3 tiers
    between them, or 3,000 each for V2.
    """

    chain_id: ChainId
    venue: Venue
    router: Address
    sold: Asset
    bought: Asset
    exact: Exact
    max_in: int
    min_out: int
    recipient: Address
    deadline_s: int
    path: tuple[Address, ...]
    fees_pips: tuple[int, ...]

    @property
    def native_in(self) -> bool:
        return self.sold.is_native

    @property
    def native_out(self) -> bool:
        return self.bought.is_native


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapCall:
    """A swap ready to be simulated and signed. `spender` needs an allowance of `spend`, unless that is native."""

    call: CallRequest
    spender: Address
    spend: TokenAmount


def compile_swap(
    quote: SwapQuote,
    *,
    deployments: Deployments,
    assets: AssetList,
    recipient: Address,
    max_in: int,
    min_out: int,
    deadline_s: int,
) -> SwapCall:
    """The call that trades along the quote's route within these limits.

    The exact side must be the quote's: `max_in == quote.amount_in` for exact input, `min_out == quote.amount_out`
    for exact output.

    Raises:
        UnsafeSwap: the exact side differs, or `encode_swap` refuses.
    """
    fixed, wanted = (max_in, quote.amount_in) if quote.exact == "in" else (min_out, quote.amount_out)
    if fixed != wanted:
        raise UnsafeSwap(f"the exact amount is {wanted}, as quoted, not {fixed}")
    swap = Swap(
        chain_id=quote.chain_id,
        venue=quote.venue,
        router=_router(deployments, quote.chain_id, quote.venue),
        sold=quote.sold,
        bought=quote.bought,
        exact=quote.exact,
        max_in=max_in,
        min_out=min_out,
        recipient=recipient,
        deadline_s=deadline_s,
        path=(quote.hops[0].token_in, *(hop.token_out for hop in quote.hops)) if quote.hops else (),
        fees_pips=tuple(hop.fee_pips for hop in quote.hops),
    )
    call = encode_swap(swap, deployments=deployments, assets=assets)
    return SwapCall(call=call, spender=swap.router, spend=TokenAmount(asset=swap.sold, raw=max_in))


def encode_swap(swap: Swap, *, deployments: Deployments, assets: AssetList) -> CallRequest:
    """The one encoding of a swap.

    Raises:
        UnsafeSwap: no limit, no deadline, a recipient that is zero, a contract of the registry or a listed token,
            a router that is not the registry's, or a path that does not lead from `sold` to `bought`.
    """
    _check(swap, deployments=deployments, assets=assets)
    return _swap_router_02_call(swap) if swap.venue is Venue.UNISWAP_V3 else _router_02_call(swap)


def _check(swap: Swap, *, deployments: Deployments, assets: AssetList) -> None:
    if swap.router != _router(deployments, swap.chain_id, swap.venue):
        raise UnsafeSwap("the router is not the one in the registry")
    if not 0 < swap.min_out <= MAX_TRADE or not 0 < swap.max_in <= MAX_TRADE:
        raise UnsafeSwap("a swap needs a limit: both amounts are between 1 and 2^128 - 1")
    if not 0 < swap.deadline_s < MAX_DEADLINE_S:
        raise UnsafeSwap("the deadline is a Unix time in seconds")
    forbidden = {ZERO_ADDRESS, _MSG_SENDER, ROUTER_ITSELF, *deployments.contracts(swap.chain_id).values(), *swap.path}
    if swap.recipient in forbidden or assets.find_address(swap.recipient) is not None:
        raise UnsafeSwap("the recipient is no account: coins sent there are lost")
    if swap.sold not in assets or swap.bought not in assets or assets.chain_id != swap.chain_id:
        raise UnsafeSwap("both assets must be listed on the chain")
    wrapped = deployments.address(swap.chain_id, WRAPPED_NATIVE)
    ends = (swap.sold.address or wrapped, swap.bought.address or wrapped)
    if not 2 <= len(swap.path) <= MAX_HOPS + 1 or (swap.path[0], swap.path[-1]) != ends:
        raise UnsafeSwap("the path does not lead from the sold asset to the bought one")
    if len(set(swap.path)) != len(swap.path) or any(assets.find_address(token) is None for token in swap.path):
        raise UnsafeSwap("the path visits each listed token at most once")
    if len(swap.fees_pips) != len(swap.path) - 1:
        raise UnsafeSwap("the path has one pool between two tokens")
    if swap.venue is not Venue.UNISWAP_V3 and set(swap.fees_pips) != {V2_FEE}:
        raise UnsafeSwap("the pools of a V2 venue have one fee")


def _swap_router_02_call(swap: Swap) -> CallRequest:
    """SwapRouter02, IMulticallExtended.multicall(uint256 deadline, bytes[] data)."""
    abi = load_abi("swap_router_02")
    receiver = ROUTER_ITSELF if swap.native_out else swap.recipient
    steps = [_v3_step(swap, receiver)]
    if swap.native_out:
        steps.append(encode_call(abi.function("unwrapWETH9"), swap.min_out, swap.recipient))
    if swap.native_in:
        # The router wraps what the pools take; the rest would stay there for anyone.
        steps.append(encode_call(abi.function("refundETH")))
    return CallRequest(
        to=swap.router,
        data=encode_call(abi.function("multicall"), swap.deadline_s, steps),
        value_wei=swap.max_in if swap.native_in else 0,
    )


def _v3_step(swap: Swap, receiver: Address) -> bytes:
    abi = load_abi("swap_router_02")
    # (amountIn, amountOutMinimum) or (amountOut, amountInMaximum)
    amounts = (swap.max_in, swap.min_out) if swap.exact == "in" else (swap.min_out, swap.max_in)
    if len(swap.path) == 2:
        function = abi.function("exactInputSingle" if swap.exact == "in" else "exactOutputSingle")
        return encode_call(function, (*swap.path, *swap.fees_pips, receiver, *amounts, _NO_PRICE_LIMIT))
    if swap.exact == "in":
        return encode_call(abi.function("exactInput"), (encode_path(swap.path, swap.fees_pips), receiver, *amounts))
    backwards = encode_path(swap.path[::-1], swap.fees_pips[::-1])
    return encode_call(abi.function("exactOutput"), (backwards, receiver, *amounts))


def _router_02_call(swap: Swap) -> CallRequest:
    """Router02 (IUniswapV2Router01). It refunds what swapETHForExactTokens does not need by itself."""
    name, amounts = _router_02_function(swap)
    function = load_abi("uniswap_v2_router").function(name)
    return CallRequest(
        to=swap.router,
        data=encode_call(function, *amounts, swap.path, swap.recipient, swap.deadline_s),
        value_wei=swap.max_in if swap.native_in else 0,
    )


def _router_02_function(swap: Swap) -> tuple[str, Sequence[Any]]:
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


def _router(deployments: Deployments, chain_id: ChainId, venue: Venue) -> Address:
    try:
        return deployments.venue(chain_id, venue).router
    except UnknownDeployment as exc:
        raise UnsafeSwap(f"chain {chain_id} has no venue {venue}") from exc
