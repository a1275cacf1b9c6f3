"""Refusals that orders and withdrawals share."""

from sqlalchemy import Connection

from chains.tx.model import Lane
from chains.units import format_units
from contracts.assets import AssetId
from service.db.headstore import SqlHeadStore
from service.db.txstore import SqlTxStore
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


def refuse_if_held(c: Connection, lane: Lane) -> None:
    """A frozen chain or held lane would leave the plan waiting with its funds reserved.

    Raises: ApiError: chain_frozen, wallet_held.
    """
    if SqlHeadStore().frozen(c, lane.chain_id) is not None:
        raise ApiError("chain_frozen", "this chain needs a person's eye first")
    state = SqlTxStore().lane(c, lane)
    if state is not None and state.hold_reason is not None:
        # The reason may quote a node; it is the operator's to read.
        raise ApiError("wallet_held", "a transaction of this wallet on this chain needs a person's eye first")
