"""Bodies and answers of the withdrawal routes."""

from typing import Literal

from pydantic import Field

from service.markets.schemas import AddressText, Amount, AmountText, ChainKey, Document, HashText, Millis
from service.orders.schemas import CLIENT_ID


class WithdrawalIn(Document):
    """The destination receives `amount`; gas is paid on top in the native asset."""

    asset: str = Field(max_length=96, examples=["USDC"])
    amount: AmountText
    address: AddressText = Field(max_length=64, description="In the key's allowlist for this chain.")
    client_withdrawal_id: str = Field(pattern=CLIENT_ID, examples=["payout-2026-11-22-1"])
    """Unique for ever. The same id with the same withdrawal answers with that withdrawal, and never pays twice."""


class WithdrawalOut(Document):
    id: int = Field(examples=[7])
    client_withdrawal_id: str = Field(examples=["payout-2026-11-22-1"])
    chain: ChainKey
    asset: str | None = Field(examples=["USDC"])
    asset_id: str = Field(examples=["eip155:1/erc20:0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"])
    amount: str | None = Field(examples=["250"])
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
    gas: Amount
    created_ms: Millis
    updated_ms: Millis


class Withdrawals(Document):
    withdrawals: list[WithdrawalOut]
