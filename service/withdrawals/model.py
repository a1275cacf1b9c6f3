"""A withdrawal as it is stored, and its states.

    awaiting_approval -> processing -> sent -> confirmed -> final
                              |          |----> failed (mined, reverted)     |----> cancelled (closed by a self-send)
                              |---> rejected (nothing was sent)              |----> unknown (a foreign transaction took
                                                                                    the nonce: a person must look)

A reorg takes `confirmed`, `failed` and `cancelled` back to `sent`.
"""

from dataclasses import dataclass
from enum import StrEnum

from chains.tx.model import PlanId
from chains.types import Address, ChainId, TxHash
from contracts.assets import AssetId


class WithdrawalState(StrEnum):
    AWAITING_APPROVAL = "awaiting_approval"
    PROCESSING = "processing"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FINAL = "final"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawalDraft:
    """A withdrawal about to be stored. `amount` is in base units and is what the destination receives."""

    account_id: int
    wallet_id: int
    key_id: str
    client_id: str
    params_hash: str
    chain_id: ChainId
    asset: AssetId
    amount: int
    destination: Address
    plan_id: PlanId


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A stored withdrawal. `tx_hash` is the attempt sent last until one is mined, and may change till then."""

    id: int
    account_id: int
    wallet_id: int
    key_id: str
    client_id: str
    params_hash: str
    chain_id: ChainId
    asset: AssetId
    amount: int
    destination: Address
    plan_id: PlanId
    state: WithdrawalState
    reason: str | None
    tx_hash: TxHash | None
    gas_wei: int
    created_ms: int
    updated_ms: int
