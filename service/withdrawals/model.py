"""A withdrawal as it is stored, and its states.

    awaiting_approval -> processing -> sent -> confirmed -> final
            |                |          |----> failed (mined, reverted)
            |                |          |----> cancelled (closed by a self-send)
            |                |          |----> unknown (a foreign transaction took the nonce: a person must look)
            |----------------|---> rejected (nothing was sent)
            |----------------|---> cancelled (by its client, before anything was sent)

A reorg takes `confirmed`, `failed` and a `cancelled` that was closed by a self-send back to `sent`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chains.tx.model import PlanId
from chains.types import Address, ChainId, TxHash
from contracts.assets import AssetId
from service.auth.caveats import Target

NATIVE_NAMESPACE: Final = "/slip44:"
"""Of the ids of native assets (CAIP-19)."""


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


class AmountIs(StrEnum):
    """What the amount is that the client names."""

    NET = "net"
    """What arrives. Gas is paid on top."""
    GROSS = "gross"
    """What leaves at most, of the native asset: the most that its transaction may pay for gas is taken off it first."""
    ALL = "all"
    """All that is free. Of the native asset as GROSS."""


def takes_fee_off(asset: AssetId, amount_is: AmountIs) -> bool:
    """Whether the fee is within the amount that was asked for: gas is paid in the native asset, so of no other one."""
    return amount_is is not AmountIs.NET and NATIVE_NAMESPACE in asset


def leaves_at_most(asset: AssetId, amount: int, *, amount_is: AmountIs, max_fee_wei: int | None) -> int:
    """What leaves the wallet of the asset at most for `amount` to arrive, but for fees on top of it."""
    return amount + (max_fee_wei or 0) if takes_fee_off(asset, amount_is) else amount


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
    amount_is: AmountIs = AmountIs.NET
    gas_limit: int | None = None
    max_fee_wei: int | None = None


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
    amount_is: AmountIs
    gas_limit: int | None
    """What its transaction may use; None of one accepted before this was fixed at acceptance."""
    max_fee_wei: int | None
    """Set aside for gas. Of GROSS, and of ALL of the native asset, no attempt may cost more, however often it is made
    dearer."""
    plan_id: PlanId
    state: WithdrawalState
    reason: str | None
    tx_hash: TxHash | None
    gas_wei: int
    created_ms: int
    updated_ms: int


def target_of(withdrawal: Withdrawal) -> Target:
    """What a withdrawal that was accepted is about, for the caveats of a key that decides about it or cancels it."""
    return Target(
        wallet_id=withdrawal.wallet_id,
        chain_id=withdrawal.chain_id,
        assets=frozenset({withdrawal.asset}),
        market=None,
        destination=None,
    )
