"""Calldata back into what it would do: what the signer's side checks before it signs.

Strict on purpose. A call is recognized only when its target is a listed token, the wrapped native token or a pinned
router, its function is one that we send, and encoding the decoded values again gives the very same bytes and value.
Everything else is `UnknownCall`, with the reason.

Guarantees: `decode_call(encode_swap(s)) == s` for each swap that can be encoded, likewise for transfers, approvals and
wraps; what is recognized does nothing beyond what it says. Not guaranteed: that the call would succeed.
"""

from dataclasses import dataclass

from chains.types import ZERO_ADDRESS, Address, CallRequest, ChainId
from contracts import erc20, weth
from contracts.abi import SELECTOR_BYTES, decode_input, load_abi
from contracts.assets import Asset, AssetList
from contracts.deployments import WRAPPED_NATIVE, Deployments
from contracts.errors import ContractError, UnknownCalldata, UnknownDeployment
from contracts.swaps import Swap, decode_swap

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
            return decode_swap(call, deployments=deployments, assets=assets)
        if token is not None:
            return _token_call(token, call, wrapped=wrapped)
    except ContractError as exc:
        return UnknownCall(reason=str(exc))
    return UnknownCall(reason="the target is neither a listed token nor a router of the registry")


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
        raise UnknownCalldata(f"0x{selector.hex()} is not a token function that we call")
    _check_same(call, again)
    return decoded


def _check_same(call: CallRequest, again: CallRequest) -> None:
    if call != again:
        raise UnknownCalldata("the bytes or the value are not those of the call that they decode to")
