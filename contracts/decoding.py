"""Calldata back into what it would do: what the signer's side checks before it signs.

Strict on purpose. A call is recognized only when its target is a listed token, the wrapped native token or a pinned
router, its function is one that we send, and encoding the decoded values again gives the very same bytes and value.
Everything else is `UnknownCall`, with the reason.

Guarantees: `decode_call(encode_swap(s)) == s` for each swap that can be encoded, likewise for transfers, approvals and
wraps; what is recognized does nothing beyond what it says. Not guaranteed: that the call would succeed.
"""

from dataclasses import dataclass
from typing import Any

from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId
from contracts import erc20, weth
from contracts.abi import SELECTOR_BYTES, Function, decode_input, load_abi
from contracts.assets import Asset, AssetList
from contracts.deployments import WRAPPED_NATIVE, Deployments, Venue
from contracts.errors import ContractError, UnknownDeployment
from contracts.paths import decode_path
from contracts.pools import V2_FEE
from contracts.routes import Exact
from contracts.swaps import ROUTER_ITSELF, Swap, encode_swap

__all__ = [
    "Approve",
    "DecodedCall",
    "NativeTransfer",
    "Swap",
    "Transfer",
    "UnknownCall",
    "Unwrap",
    "Wrap",
    "decode_call",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeTransfer:
    """A plain value transfer to an account, or with value 0 to oneself an empty transaction."""

    asset: Asset
    recipient: Address
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """ERC-20 transfer of a listed token."""

    asset: Asset
    recipient: Address
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """ERC-20 approve of a listed token. `spender` may be anyone: compare it with the registry's spenders."""

    asset: Asset
    spender: Address
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrap:
    asset: Asset
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrap:
    asset: Asset
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCall:
    """Not one of the calls that we make. Never signed."""

    reason: str


DecodedCall = NativeTransfer | Transfer | Approve | Wrap | Unwrap | Swap | UnknownCall


def decode_call(deployments: Deployments, assets: AssetList, chain_id: ChainId, call: CallRequest) -> DecodedCall:
    """What the call would do on that chain."""
    if assets.chain_id != chain_id:
        return UnknownCall(reason=f"the asset list is of chain {assets.chain_id}, the call of chain {chain_id}")
    try:
        wrapped = deployments.address(chain_id, WRAPPED_NATIVE)
        routers = deployments.spenders(chain_id)
        pinned = set(deployments.contracts(chain_id).values())
    except UnknownDeployment as exc:
        return UnknownCall(reason=str(exc))
    token = assets.find_address(call.to)
    if not call.data:
        if token is not None or call.to in pinned or call.to == ZERO_ADDRESS:
            return UnknownCall(reason="plain value sent to the zero address or a contract of the registry")
        return NativeTransfer(asset=assets.native, recipient=call.to, amount=call.value_wei)
    try:
        if call.to in routers:
            return _swap(deployments, assets, chain_id, call=call)
        if token is not None:
            return _token_call(token, call, wrapped=wrapped)
    except ContractError as exc:
        return UnknownCall(reason=str(exc))
    return UnknownCall(reason="the target is neither a listed token nor a router of the registry")


class _Unrecognized(ContractError):
    """Turned into UnknownCall at the top."""


def _token_call(token: Asset, call: CallRequest, *, wrapped: Address) -> DecodedCall:
    erc20_abi, weth_abi = load_abi("erc20"), load_abi("weth9")
    selector = call.data[:SELECTOR_BYTES]
    decoded: Transfer | Approve | Wrap | Unwrap
    if selector == (function := erc20_abi.function("transfer")).selector:
        recipient, amount = decode_input(function, call.data)
        decoded = Transfer(asset=token, recipient=recipient, amount=amount)
        again = erc20.transfer_call(token, recipient, amount=amount)
    elif selector == (function := erc20_abi.function("approve")).selector:
        spender, amount = decode_input(function, call.data)
        decoded = Approve(asset=token, spender=spender, amount=amount)
        again = erc20.approve_call(call.to, spender, amount=amount)
    elif call.to == wrapped and selector == weth_abi.function("deposit").selector:
        decoded = Wrap(asset=token, amount=call.value_wei)
        again = weth.wrap_call(wrapped, call.value_wei)
    elif call.to == wrapped and selector == (function := weth_abi.function("withdraw")).selector:
        (amount,) = decode_input(function, call.data)
        decoded = Unwrap(asset=token, amount=amount)
        again = weth.unwrap_call(wrapped, amount)
    else:
        raise _Unrecognized(f"0x{selector.hex()} is not a token function that we call")
    _check_same(call, again)
    return decoded


def _swap(deployments: Deployments, assets: AssetList, chain_id: ChainId, *, call: CallRequest) -> Swap:
    venues = [found.venue for found in deployments.venues(chain_id) if found.router == call.to]
    if len(venues) != 1:
        raise _Unrecognized("the router belongs to several venues")
    parts = _from_swap_router_02(call) if venues[0] is Venue.UNISWAP_V3 else _from_router_02(call)
    if len(parts.path) < 2:
        raise _Unrecognized("the path has no pool")
    tokens = [assets.by_address(parts.path[0]), assets.by_address(parts.path[-1])]
    swap = Swap(
        chain_id=chain_id,
        venue=venues[0],
        router=call.to,
        sold=assets.native if parts.native_in else tokens[0],
        bought=assets.native if parts.native_out else tokens[1],
        exact=parts.exact,
        max_in=parts.max_in,
        min_out=parts.min_out,
        recipient=parts.recipient,
        deadline_s=parts.deadline_s,
        path=parts.path,
        fees_pips=parts.fees_pips,
    )
    # Encoding checks the limits, the assets and the path again, and leaves no room for bytes we did not look at.
    _check_same(call, encode_swap(swap, deployments=deployments, assets=assets))
    return swap


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    exact: Exact
    max_in: int
    min_out: int
    recipient: Address
    deadline_s: int
    path: tuple[Address, ...]
    fees_pips: tuple[int, ...]
    native_in: bool
    native_out: bool


def _from_swap_router_02(call: CallRequest) -> _Parts:
    abi = load_abi("swap_router_02")
    deadline_s, steps = decode_input(abi.function("multicall"), call.data)
    if not 1 <= len(steps) <= 3:
        raise _Unrecognized("a swap is one router step, with an unwrap and a refund at most")
    exact, max_in, min_out, receiver, path, fees = _router_step(steps[0])
    native_out = receiver == ROUTER_ITSELF
    recipient = receiver
    if native_out:
        if len(steps) < 2:
            raise _Unrecognized("the bought coins would stay in the router")
        _minimum, recipient = decode_input(abi.function("unwrapWETH9"), steps[1])
    return _Parts(
        exact=exact,
        max_in=max_in,
        min_out=min_out,
        recipient=recipient,
        deadline_s=deadline_s,
        path=path,
        fees_pips=fees,
        native_in=steps[-1] == abi.function("refundETH").selector,
        native_out=native_out,
    )


def _router_step(step: bytes) -> tuple[Exact, int, int, Address, tuple[Address, ...], tuple[int, ...]]:
    abi = load_abi("swap_router_02")
    function = _by_selector(abi.functions, step)
    values: tuple[Any, ...] = decode_input(function, step)
    match function.name:
        case "exactInputSingle":
            token_in, token_out, fee, receiver, amount_in, minimum, _limit = values[0]
            return "in", amount_in, minimum, receiver, (token_in, token_out), (fee,)
        case "exactOutputSingle":
            token_in, token_out, fee, receiver, amount_out, maximum, _limit = values[0]
            return "out", maximum, amount_out, receiver, (token_in, token_out), (fee,)
        case "exactInput":
            path, receiver, amount_in, minimum = values[0]
            tokens, fees = decode_path(path)
            return "in", amount_in, minimum, receiver, tokens, fees
        case "exactOutput":
            path, receiver, amount_out, maximum = values[0]
            tokens, fees = decode_path(path)
            return "out", maximum, amount_out, receiver, tokens[::-1], fees[::-1]
        case name:
            raise _Unrecognized(f"{name} is not how our swaps begin")


def _from_router_02(call: CallRequest) -> _Parts:
    abi = load_abi("uniswap_v2_router")
    function = _by_selector(abi.functions, call.data)
    *amounts, path, recipient, deadline_s = _swap_arguments(function, call.data)
    value = call.value_wei
    exact: Exact
    match function.name, amounts:
        case "swapExactETHForTokens", [minimum]:
            exact, max_in, min_out = "in", value, minimum
        case "swapETHForExactTokens", [amount_out]:
            exact, max_in, min_out = "out", value, amount_out
        case "swapExactTokensForETH" | "swapExactTokensForTokens", [amount_in, minimum]:
            exact, max_in, min_out = "in", amount_in, minimum
        case "swapTokensForExactETH" | "swapTokensForExactTokens", [amount_out, maximum]:
            exact, max_in, min_out = "out", maximum, amount_out
        case _:
            raise _Unrecognized(f"{function.name} is not a swap that we send")
    return _Parts(
        exact=exact,
        max_in=max_in,
        min_out=min_out,
        recipient=recipient,
        deadline_s=deadline_s,
        path=path,
        fees_pips=_v2_fees(path),
        native_in=function.name in ("swapExactETHForTokens", "swapETHForExactTokens"),
        native_out=function.name in ("swapExactTokensForETH", "swapTokensForExactETH"),
    )


def _swap_arguments(function: Function, data: bytes) -> tuple[Any, ...]:
    values = decode_input(function, data)
    if len(values) < 4:
        raise _Unrecognized(f"{function.name} is not a swap that we send")
    return values


def _by_selector(functions: tuple[Function, ...], data: bytes) -> Function:
    for function in functions:
        if function.selector == data[:SELECTOR_BYTES]:
            return function
    raise _Unrecognized(f"0x{data[:SELECTOR_BYTES].hex()} is not a router function that we call")


def _v2_fees(path: tuple[Address, ...]) -> tuple[int, ...]:
    return (V2_FEE,) * (len(path) - 1)


def _check_same(call: CallRequest, again: CallRequest) -> None:
    if call != again:
        raise _Unrecognized("the bytes or the value are not those of the call that they decode to")
