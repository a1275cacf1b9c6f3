"""Refusals that orders and withdrawals share."""

from chains.units import format_units
from contracts.assets import AssetId
from service.errors import ApiError
from service.journal.needs import ChainParts


def not_enough(chain: ChainParts, asset_id: AssetId, *, wanted: int, free: int) -> ApiError:
    """Not enough of the asset is free; of the native one that includes the gas."""
    asset = chain.assets.by_id(asset_id)
    code = "insufficient_gas" if asset.is_native else "insufficient_balance"
    purpose = ", gas included," if asset.is_native else ""
    return ApiError(
        code,
        f"{format_units(wanted, asset.decimals)} {asset.symbol} are needed{purpose}"
        f" and {format_units(free, asset.decimals)} are free",
    )


def client_id_conflict(kind: str, client_id: str) -> ApiError:
    """The client id was used before, with other parameters. Client ids are unique for ever."""
    return ApiError(
        "conflict_client_id", f"{client_id!r} is the client id of another {kind}; take a new one for a new {kind}"
    )
