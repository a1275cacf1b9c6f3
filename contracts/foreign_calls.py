"""Calls of contracts that are none of ours: which are refused whatever a key may do, and what they grant to others.

Guarantees: `why_never` refuses what would go around the rules of orders and withdrawals: the registry's contracts,
Permit2, the account's own wallets, system contracts, and on a listed token everything by which tokens are moved,
approved, or promised by a signature. `decoded` accepts only calldata that encodes to the very same bytes again.
Not guaranteed: that a contract does what its function's name says, or does the same when the call is mined as when it
was simulated; and a listed token may have a function of its own that grants, which is not in the table. What such a
function grants is seen in the simulation's logs (`grants`), as long as the token tells.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from eth_utils.crypto import keccak

from chains.client import SimLog
from chains.types import Address, CallRequest, address_bytes, address_from_bytes
from contracts.abi import SELECTOR_BYTES, Function, decode_input, encode_call, load_abi
from contracts.assets import Asset, AssetList
from contracts.deployments import Deployments
from contracts.errors import UnknownCalldata, UnknownDeployment
from contracts.permit2 import PERMIT2

SYSTEM_ADDRESSES: Final = 1 << 16
"""Below it are precompiles, and contracts of the chain itself: Polygon's 0x1010 moves native coins like a token."""
DELEGATION: Final = bytes.fromhex("ef0100")
"""What the code of a wallet begins with that delegates to a contract (EIP-7702): it is a wallet all the same."""

TOKEN_FUNCTIONS: Final = (
    # ERC-20, and OpenZeppelin's and older additions to it.
    "transfer(address,uint256)",
    "transferFrom(address,address,uint256)",
    "approve(address,uint256)",
    "increaseAllowance(address,uint256)",
    "decreaseAllowance(address,uint256)",
    "increaseApproval(address,uint256)",
    "decreaseApproval(address,uint256)",
    "increaseApproval(address,uint256,bytes)",
    "safeTransfer(address,uint256)",
    "safeTransferFrom(address,address,uint256)",
    "safeApprove(address,uint256)",
    # EIP-2612, DAI's own, and USDC's with the signature as bytes.
    "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
    "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)",
    "permit(address,address,uint256,uint256,bytes)",
    # EIP-3009.
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
    "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)",
    "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
    # ERC-677, ERC-1363, and MiniMe's.
    "transferAndCall(address,uint256)",
    "transferAndCall(address,uint256,bytes)",
    "transferFromAndCall(address,address,uint256)",
    "transferFromAndCall(address,address,uint256,bytes)",
    "approveAndCall(address,uint256)",
    "approveAndCall(address,uint256,bytes)",
    # DAI's names for transferFrom.
    "push(address,uint256)",
    "pull(address,uint256)",
    "move(address,address,uint256)",
    # ERC-777.
    "send(address,uint256,bytes)",
    "authorizeOperator(address)",
    "operatorSend(address,address,uint256,bytes,bytes)",
    # Any call inside another one.
    "multicall(bytes[])",
    "executeMetaTransaction(address,bytes,bytes32,bytes32,uint8)",
)
"""Refused on every listed token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A listed token says that `spender` may take `amount` of the wallet's."""

    asset: Asset
    spender: Address
    amount: int


def why_never(
    call: CallRequest, *, assets: AssetList, deployments: Deployments, wallets: Collection[Address]
) -> str | None:
    """Why nobody may make this call; None: the key decides. `wallets` are all that this service signs for."""
    try:
        pinned = set(deployments.contracts(assets.chain_id).values())
    except UnknownDeployment as exc:
        return str(exc)
    if len(call.data) < SELECTOR_BYTES:
        return "a call names a function"
    if is_system(call.to):
        return "this is no contract, or one of the chain itself"
    if call.to == PERMIT2:
        return "Permit2 moves tokens by signatures, which nothing here makes"
    if call.to in pinned:
        return "this is a contract of the registry: orders, wraps and reads use it"
    if call.to in wallets:
        return "this is no contract that may be called"
    token = assets.find_address(call.to)
    if token is not None and call.data[:SELECTOR_BYTES] in _token_selectors():
        return f"{token.symbol} is moved by withdrawals and orders, and approved by orders, only"
    return None


def is_system(address: Address) -> bool:
    """Whether it is nobody's, a precompile, or a contract of the chain itself: native coins sent there succeed, and are
    lost."""
    return int.from_bytes(address_bytes(address), "big") < SYSTEM_ADDRESSES


def is_contract(code: bytes) -> bool:
    """Whether that code at an address is a contract's."""
    return bool(code) and not code.startswith(DELEGATION)


def decoded(function: Function, data: bytes) -> tuple[Any, ...]:
    """The arguments of calldata. Raises: AbiError; UnknownCalldata: they encode to other bytes."""
    values = decode_input(function, data)
    if encode_call(function, *values) != data:
        raise UnknownCalldata("the bytes are not those of the call that they decode to")
    return values


def grants(logs: Sequence[SimLog], *, wallet: Address, assets: AssetList) -> list[Grant]:
    """What the wallet's listed tokens are approved for in the end, as far as the logs tell; none of nothing."""
    topic = load_abi("erc20").event("Approval").topic
    last: dict[tuple[Address, Address], Grant] = {}
    for log in logs:
        asset = assets.find_address(log.address)
        if asset is None or len(log.topics) != 3 or log.topics[0] != topic or len(log.data) != 32:
            continue
        owner, spender = (address_from_bytes(word[12:]) for word in log.topics[1:])
        if owner == wallet:
            amount = int.from_bytes(log.data, "big")
            last[log.address, spender] = Grant(asset=asset, spender=spender, amount=amount)
    return [grant for grant in last.values() if grant.amount]


@cache
def _token_selectors() -> frozenset[bytes]:
    return frozenset(keccak(text=signature)[:SELECTOR_BYTES] for signature in TOKEN_FUNCTIONS)
