"""A withdrawal as clients see it: the same document in answers and in outbox events."""

from collections.abc import Mapping
from typing import Any, Final

from chains.config import ChainConfig
from chains.types import ChainId
from chains.units import format_units
from contracts.assets import Asset, AssetList
from contracts.errors import UnlistedAsset
from service.withdrawals.model import Withdrawal, leaves_at_most

NATIVE_DECIMALS: Final = 18
"""Of every EVM chain's native asset."""


def withdrawal_document(withdrawal: Withdrawal, *, chain: ChainConfig | None, asset: Asset | None) -> dict[str, Any]:
    """The public fields, amounts as decimal text.

    `chain` and `asset` are None when no longer configured or listed: then by id, and without an amount.
    """
    native = "native" if chain is None else chain.native_symbol
    most = leaves_at_most(
        withdrawal.asset, withdrawal.amount, amount_is=withdrawal.amount_is, max_fee_wei=withdrawal.max_fee_wei
    )
    fee_wei = withdrawal.max_fee_wei
    return {
        "id": withdrawal.id,
        "client_withdrawal_id": withdrawal.client_id,
        "chain": f"eip155:{withdrawal.chain_id}" if chain is None else chain.key,
        "asset": None if asset is None else asset.symbol,
        "asset_id": withdrawal.asset,
        "amount": None if asset is None else format_units(withdrawal.amount, asset.decimals),
        "amount_is": withdrawal.amount_is.value,
        "leaves_at_most": None if asset is None else format_units(most, asset.decimals),
        "address": withdrawal.destination,
        "state": withdrawal.state.value,
        "reason": withdrawal.reason,
        "tx_hash": withdrawal.tx_hash,
        "max_fee": None if fee_wei is None else {"asset": native, "amount": format_units(fee_wei, NATIVE_DECIMALS)},
        "gas": {"asset": native, "amount": format_units(withdrawal.gas_wei, NATIVE_DECIMALS)},
        "created_ms": withdrawal.created_ms,
        "updated_ms": withdrawal.updated_ms,
    }


def listed_asset(assets: Mapping[ChainId, AssetList], chain_id: ChainId, asset_id: str) -> Asset | None:
    """The asset as it is listed now; None: it is not any more."""
    listed = assets.get(chain_id)
    try:
        return None if listed is None else listed.by_id(asset_id)
    except UnlistedAsset:
        return None
