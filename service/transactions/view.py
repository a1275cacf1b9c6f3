"""A transaction as clients see it: the same document in answers and in outbox events."""

from collections.abc import Mapping
from typing import Any, Final

from chains.config import ChainConfig
from chains.units import format_units
from contracts.abi import SELECTOR_BYTES
from contracts.assets import Asset, AssetId, AssetList
from contracts.errors import UnlistedAsset
from service.transactions.model import Terms, Transaction, TransactionKind

NATIVE_DECIMALS: Final = 18
"""Of every EVM chain's native asset."""


def transaction_document(
    transaction: Transaction, *, chain: ChainConfig | None, assets: AssetList | None
) -> dict[str, Any]:
    """The public fields, amounts as decimal text.

    `chain` and `assets` are None when no longer configured: then by id, and without amounts.
    """
    terms = transaction.terms
    native = "native" if chain is None else chain.native_symbol
    called = terms.kind is TransactionKind.CONTRACT
    return {
        "id": transaction.id,
        "client_transaction_id": terms.client_id,
        "kind": terms.kind.value,
        "chain": f"eip155:{terms.chain_id}" if chain is None else chain.key,
        "amount": None if terms.asset is None or terms.amount is None else amount_of(terms.asset, terms.amount, assets),
        "allowance": None if terms.spender is None or terms.asset is None else _allowance(terms.asset, terms, assets),
        "call": _call(terms, native=native, assets=assets) if called else None,
        "state": transaction.state.value,
        "reason": transaction.reason,
        "tx_hash": transaction.tx_hash,
        "moved": None if transaction.moved is None else amounts_of(transaction.moved, assets),
        "gas": {"asset": native, "amount": format_units(transaction.gas_wei, NATIVE_DECIMALS)},
        "created_ms": transaction.created_ms,
        "updated_ms": transaction.updated_ms,
    }


def amounts_of(amounts: Mapping[AssetId, int], assets: AssetList | None) -> list[dict[str, Any]]:
    """Amounts by asset, in the order of the ids."""
    return [amount_of(asset_id, raw, assets) for asset_id, raw in sorted(amounts.items())]


def amount_of(asset_id: AssetId, raw: int, assets: AssetList | None) -> dict[str, Any]:
    """One amount, signed where it is a change."""
    asset = listed(asset_id, assets)
    return {
        "asset": None if asset is None else asset.symbol,
        "asset_id": asset_id,
        "amount": None if asset is None else format_units(raw, asset.decimals),
    }


def listed(asset_id: AssetId, assets: AssetList | None) -> Asset | None:
    """The asset, if it is still listed."""
    try:
        return None if assets is None else assets.by_id(asset_id)
    except UnlistedAsset:
        return None


def _allowance(asset_id: AssetId, terms: Terms, assets: AssetList | None) -> dict[str, Any]:
    asset = listed(asset_id, assets)
    return {"asset": None if asset is None else asset.symbol, "asset_id": asset_id, "spender": terms.spender}


def _call(terms: Terms, *, native: str, assets: AssetList | None) -> dict[str, Any]:
    return {
        "contract": terms.contract,
        "function": terms.function,
        "selector": "0x" + terms.data[:SELECTOR_BYTES].hex(),
        "data": "0x" + terms.data.hex(),
        "value": {"asset": native, "amount": format_units(terms.value_wei, NATIVE_DECIMALS)},
        "approvals": amounts_of(terms.approvals, assets),
        "max_out": amounts_of(terms.max_out, assets),
    }
