"""A withdrawal as clients see it: the same document in answers and in outbox events."""

from typing import Any

from chains.config import ChainConfig
from chains.units import format_units
from contracts.assets import Asset
from service.withdrawals.model import Withdrawal

NATIVE_DECIMALS = 18


def withdrawal_document(withdrawal: Withdrawal, *, chain: ChainConfig, asset: Asset | None) -> dict[str, Any]:
    """The public fields, amounts as decimal text. `asset` is None when it is no longer listed: no amount then."""
    return {
        "id": withdrawal.id,
        "client_withdrawal_id": withdrawal.client_id,
        "chain": chain.key,
        "asset": None if asset is None else asset.symbol,
        "asset_id": withdrawal.asset,
        "amount": None if asset is None else format_units(withdrawal.amount, asset.decimals),
        "address": withdrawal.destination,
        "state": withdrawal.state.value,
        "reason": withdrawal.reason,
        "tx_hash": withdrawal.tx_hash,
        "gas": {"asset": chain.native_symbol, "amount": format_units(withdrawal.gas_wei, NATIVE_DECIMALS)},
        "created_ms": withdrawal.created_ms,
        "updated_ms": withdrawal.updated_ms,
    }
