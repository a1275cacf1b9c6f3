"""Bodies and answers of the withdrawal routes."""

from typing import Literal

from pydantic import Field

from service.markets.schemas import AddressText, Amount, AmountText, ChainKey, Document, HashText, Millis
from service.orders.schemas import CLIENT_ID

AmountKind = Literal["net", "gross", "all"]


class WithdrawalAsked(Document):
    """What a withdrawal would be."""

    asset: str = Field(max_length=96, examples=["USDC"])
    amount: AmountText | None = Field(default=None, description="Left out exactly where `amount_is` is `all`.")
    amount_is: AmountKind = Field(
        default="net",
        description="`net`: it arrives, gas is paid on top. `gross` (native asset only): at most it leaves, and it less"
        " the most that gas may cost arrives. `all`: all that is free, of the native asset as `gross`.",
    )
    address: AddressText = Field(max_length=64, description="In the key's allowlist for this chain.")


class WithdrawalIn(WithdrawalAsked):
    """The destination receives `amount`, or what `amount_is` says."""

    client_withdrawal_id: str = Field(pattern=CLIENT_ID, examples=["payout-2026-11-22-1"])
    """Unique for ever. The same id with the same withdrawal answers with that withdrawal, and never pays twice."""


class Warned(Document):
    code: Literal["contract_recipient", "first_time", "not_covered", "fees_above_amount"]
    text: str = Field(examples=["nothing was withdrawn to this address before"])


class EstimateOut(Document):
    """A withdrawal as it would be at this block. Nothing is reserved."""

    chain: ChainKey
    asset: str = Field(examples=["ETH"])
    amount: str = Field(examples=["0.249"], description="What arrives.")
    amount_is: AmountKind
    leaves_at_most: str = Field(
        examples=["0.25"], description="Of the asset; of a native one that is `net`, the fee comes on top."
    )
    address: AddressText
    gas_limit: int = Field(examples=[21_000])
    expected_fee: Amount
    max_fee: Amount
    covered: bool = Field(description="Whether what is free now covers amount and fee.")
    usd: str | None = Field(examples=["612.5"], description="Its worth, where a limit in USD asks for it.")
    needs_approval: Literal["over_usd", "over_amount", "worth_unknown"] | None
    warnings: list[Warned]
    block_number: int = Field(examples=[24_000_000])


class WithdrawalOut(Document):
    id: int = Field(examples=[7])
    client_withdrawal_id: str = Field(examples=["payout-2026-11-22-1"])
    chain: ChainKey
    asset: str | None = Field(examples=["USDC"])
    asset_id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    amount: str | None = Field(examples=["250"])
    amount_is: AmountKind
    leaves_at_most: str | None = Field(examples=["250"])
    address: AddressText
    state: Literal[
        "awaiting_approval",
        "processing",
        "sent",
        "confirmed",
        "final",
        "rejected",
        "cancelled",
        "failed",
        "unknown",
    ]
    reason: str | None = Field(examples=[None])
    tx_hash: HashText | None
    max_fee: Amount | None
    gas: Amount
    confirmations: int | None = Field(default=None, examples=[12], description="Of the block that mined it.")
    created_ms: Millis
    updated_ms: Millis


class Withdrawals(Document):
    withdrawals: list[WithdrawalOut]
