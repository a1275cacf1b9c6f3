"""ERC-20 tokens: typed reads, transfer and approve calldata, and what tokens answer to them.

Guarantees: a token that returns nothing (USDT) is accepted, one that returns `false` is refused; approvals are for
exact amounts, with a reset to zero first where the token insists. Not guaranteed: that a token moves what was asked
(fee-on-transfer tokens are not listed); balances come from the chain afterwards.
"""

from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from chains.types import ZERO_ADDRESS, Address, CallRequest
from chains.units import MAX_UINT256
from contracts.abi import Function, encode_call, load_abi
from contracts.assets import APPROVE_RESET, Asset
from contracts.call import Call, call_one
from contracts.errors import AbiError, TokenRefused, UndecodableReturn

_WORD: Final = 32
_TRUE: Final = (1).to_bytes(_WORD, "big")
_MAX_SYMBOL_BYTES: Final = 1_024
"""A hostile token may answer with megabytes."""


def balance_of(token: Address, owner: Address) -> Call[int]:
    return call_one(token, _function("balanceOf"), owner)


def allowance(token: Address, owner: Address, *, spender: Address) -> Call[int]:
    return call_one(token, _function("allowance"), owner, spender)


def total_supply(token: Address) -> Call[int]:
    return call_one(token, _function("totalSupply"))


def decimals(token: Address) -> Call[int]:
    return call_one(token, _function("decimals"))


def symbol(token: Address) -> Call[str]:
    """`string`, or the `bytes32` of early tokens."""
    return Call(to=token, data=encode_call(_function("symbol")), decode=_decode_text)


def name(token: Address) -> Call[str]:
    """`string`, or the `bytes32` of early tokens."""
    return Call(to=token, data=encode_call(_function("name")), decode=_decode_text)


def transfer_call(asset: Asset, recipient: Address, *, amount: int) -> CallRequest:
    """Move `amount` base units from the sender: a plain value transfer for the native asset.

    Raises:
        AbiError: the amount is not in uint256, or the recipient is the zero address.
    """
    if recipient == ZERO_ADDRESS or not 0 <= amount <= MAX_UINT256:
        raise AbiError("a transfer needs a recipient and an amount within uint256")
    if asset.is_native:
        return CallRequest(to=recipient, value_wei=amount)
    return CallRequest(to=asset.token_address, data=encode_call(_function("transfer"), recipient, amount))


def approve_call(token: Address, spender: Address, *, amount: int) -> CallRequest:
    """Set the allowance to exactly `amount`. Raises: AbiError: not in uint256."""
    return CallRequest(to=token, data=encode_call(_function("approve"), spender, amount))


def approvals(asset: Asset, spender: Address, *, current: int, needed: int) -> tuple[CallRequest, ...]:
    """The calls that make the allowance exactly `needed`, given that it is `current`: none, one or two.

    An allowance that is larger than needed is lowered: exact amounts only.
    """
    if asset.is_native or current == needed:
        return ()
    approve = approve_call(asset.token_address, spender, amount=needed)
    if current and needed and APPROVE_RESET in asset.flags:
        return (approve_call(asset.token_address, spender, amount=0), approve)
    return (approve,)


def check_success(output: bytes) -> None:
    """What a transfer or approve returned: nothing and `true` are fine.

    Raises:
        TokenRefused: anything else (OpenZeppelin SafeERC20 draws the same line).
    """
    if output and output[:_WORD] != _TRUE:
        raise TokenRefused("the token answered something else than true")


def _function(name: str) -> Function:
    return load_abi("erc20").function(name)


def _decode_text(data: bytes) -> str:
    if len(data) > _MAX_SYMBOL_BYTES:
        raise UndecodableReturn("the text is too long", data=data[:_MAX_SYMBOL_BYTES])
    try:
        text: str = data.rstrip(b"\0").decode() if len(data) == _WORD else decode(["string"], data)[0]
    except (DecodingError, ValueError) as exc:
        raise UndecodableReturn("the answer is neither string nor bytes32 text", data=data) from exc
    if not text or not text.isprintable():
        raise UndecodableReturn("the text is empty or has control characters", data=data)
    return text
