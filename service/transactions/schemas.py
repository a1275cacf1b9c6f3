"""Bodies and answers of the transaction routes. Amounts are decimal text."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.markets.schemas import AddressText, Amount, AmountText, Block, ChainKey, Document, HashText, Millis
from service.orders.schemas import CLIENT_ID

MAX_ARGS = 64
MAX_ASSETS = 16

ClientId = Annotated[str, Field(pattern=CLIENT_ID, examples=["wrap-2026-11-22-1"])]
"""Unique for ever among the account's transactions of this kind: the same id with the same request answers with that
transaction, and never sends it twice."""


class WrapIn(Document):
    """Native coins into wrapped ones, or back: one for one, gas on top."""

    amount: AmountText
    client_transaction_id: ClientId


class RevokeIn(Document):
    asset: str = Field(max_length=96, examples=["USDC"])
    spender: AddressText = Field(max_length=64)
    client_transaction_id: ClientId


class AssetAmountIn(Document):
    asset: str = Field(max_length=96, examples=["USDC"])
    amount: AmountText


class CallIn(Document):
    """A call of a contract that the key lists."""

    contract: AddressText = Field(max_length=64)
    function: str | dict[str, Any] = Field(
        max_length=2_000,
        examples=["deposit(uint256)"],
        description="Signature, or one entry of a JSON ABI.",
    )
    args: list[Any] = Field(
        default_factory=list,
        max_length=MAX_ARGS,
        examples=[["25000000"]],
        description="Integers as text, bytes as 0x and hex, tuples as lists or objects.",
    )
    value: AmountText | None = Field(default=None, examples=[None], description="Native coins sent with the call.")
    approvals: list[AssetAmountIn] = Field(
        default_factory=list,
        max_length=MAX_ASSETS,
        description="What the contract is approved for before the call, exactly; part of `max_out`.",
    )
    max_out: list[AssetAmountIn] = Field(
        default_factory=list,
        max_length=MAX_ASSETS,
        description="The most of each listed token that may leave the wallet. Of what is not named, nothing may.",
    )


class PlacedCallIn(CallIn):
    client_transaction_id: ClientId


class AssetAmount(Document):
    """`asset` and `amount` are null when the asset is not listed any more."""

    asset: str | None = Field(examples=["WETH"])
    asset_id: str = Field(examples=["eip155:1/erc20:0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"])
    amount: str | None = Field(examples=["-1.5"])


class AllowanceRef(Document):
    asset: str | None = Field(examples=["USDC"])
    asset_id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    spender: AddressText


class CallOut(Document):
    contract: AddressText
    function: str = Field(examples=["deposit(uint256)"])
    selector: str = Field(examples=["0xb6b55f25"])
    data: str = Field(examples=["0xb6b55f25"])
    value: Amount
    approvals: list[AssetAmount]
    max_out: list[AssetAmount]


class TransactionOut(Document):
    id: int = Field(examples=[7])
    client_transaction_id: str = Field(examples=["wrap-2026-11-22-1"])
    kind: Literal["wrap", "unwrap", "revoke", "contract"]
    chain: ChainKey
    amount: AssetAmount | None
    """What a wrap or unwrap gives."""
    allowance: AllowanceRef | None
    """What a revocation sets to zero."""
    call: CallOut | None
    state: Literal["processing", "sent", "confirmed", "final", "rejected", "cancelled", "failed", "unknown"]
    reason: str | None = Field(examples=[None])
    tx_hash: HashText | None
    moved: list[AssetAmount] | None
    """What the receipt's logs show, signed, gas left out; null until it is confirmed."""
    gas: Amount
    created_ms: Millis
    updated_ms: Millis


class Transactions(Document):
    transactions: list[TransactionOut]


class Refused(Document):
    code: str = Field(examples=["out_too_large"])
    detail: str = Field(examples=["25 USDC would leave, and 20 may"])
    hint: str = Field(examples=["Declare more in `max_out` if that is what you want."])


class CallTried(Document):
    """What a simulation in the block after `block` showed."""

    chain: ChainKey
    changes: list[AssetAmount]
    """Signed changes of listed assets, gas left out."""
    granted: list[AllowanceRef]
    """Allowances that would stand afterwards, beyond what was declared."""
    gas_limit: str = Field(examples=["143000"])
    would_be_accepted: bool
    refused: Refused | None
    block: Block


class AllowanceOut(Document):
    asset: str = Field(examples=["USDC"])
    asset_id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    spender: AddressText
    spender_name: str | None = Field(examples=["swap_router_02"])
    status: Literal["ok", "unknown"]
    amount: str | None = Field(examples=["250"])
    """Null with status `unknown`: it could not be read, which is not zero."""
    unlimited: bool | None
    needed: bool
    """An open order or call counts on it; it is not revoked now."""


class SpenderOut(Document):
    address: AddressText
    name: str | None = Field(examples=["swap_router_02"])


class AllowancesOut(Document):
    """Allowances that are not zero. Of spenders that are not in `spenders` nothing is known: name them."""

    chain: ChainKey
    wallet: AddressText
    allowances: list[AllowanceOut]
    spenders: list[SpenderOut]
    block: Block
