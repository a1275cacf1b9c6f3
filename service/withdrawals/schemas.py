"""Bodies and answers of the withdrawal routes."""

from typing import Literal

from pydantic import Field

from service.markets.schemas import Amount, AmountText, Document
from service.orders.schemas import CLIENT_ID


class WithdrawalIn(Document):
    """The destination receives `amount`; gas is paid on top in the native asset."""

    asset: str = Field(max_length=96, examples=["USDC"])
    amount: AmountText
    address: str = Field(max_length=64, description="In the key's allowlist for this chain.")
    client_withdrawal_id: str = Field(pattern=CLIENT_ID, examples=["payout-2026-11-22-1"])
    """Unique for ever. The same id with the same withdrawal answers with that withdrawal, and never pays twice."""


class WithdrawalOut(Document):
    id: int
    client_withdrawal_id: str
    chain: str
    asset: str | None
    asset_id: str
    amount: str | None
    address: str
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
    reason: str | None
    tx_hash: str | None
    gas: Amount
    created_ms: int
    updated_ms: int


class Withdrawals(Document):
    withdrawals: list[WithdrawalOut]
