"""Routes of withdrawals. Asking for one needs a withdraw key, looking a read key, for the key's own wallet."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, status

from chains.types import ChainId
from contracts.assets import Asset
from contracts.errors import UnlistedAsset
from service.auth.callers import ReadCaller, WithdrawCaller
from service.build import Services
from service.errors import ApiError
from service.markets.lookup import ChainName, Here, asset_named, chain_named, config_named, parse_amount
from service.orders.schemas import CLIENT_ID
from service.withdrawals import placement, storage
from service.withdrawals.model import Withdrawal, WithdrawalState
from service.withdrawals.schemas import WithdrawalIn, WithdrawalOut, Withdrawals
from service.withdrawals.view import withdrawal_document

router = APIRouter(prefix="/v1", tags=["withdrawals"])

MAX_LISTED = 100
MAX_ID = 2**53 - 1


@router.post("/{chain}/withdrawals", status_code=status.HTTP_202_ACCEPTED)
async def place_withdrawal(
    chain: ChainName, body: WithdrawalIn, caller: WithdrawCaller, services: Here, response: Response
) -> WithdrawalOut:
    """Accept a withdrawal: 202 once it is durable and funded, 200 with the same one for a known client id."""
    runtime = chain_named(services, chain)
    asset = asset_named(runtime, body.asset)
    asked = placement.Asked(
        asset=asset,
        amount=parse_amount(body.amount, asset, field="amount"),
        destination=placement.parse_destination(runtime, caller.wallet.address, body.address),
        client_id=body.client_withdrawal_id,
    )
    placed = await placement.place(services, runtime, caller, asked=asked)
    if not placed.created:
        response.status_code = status.HTTP_200_OK
    return _shown(services, placed.value)


@router.get("/withdrawals")
async def list_withdrawals(
    caller: ReadCaller,
    services: Here,
    chain: Annotated[str | None, Query(max_length=32, examples=["ethereum"])] = None,
    state: WithdrawalState | None = None,
    client_withdrawal_id: Annotated[str | None, Query(pattern=CLIENT_ID, examples=["payout-2026-11-22-1"])] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[120])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, examples=[50])] = 50,
) -> Withdrawals:
    """The wallet's withdrawals, newest first; `before` an id continues a list."""
    chain_id = None if chain is None else config_named(services, chain).chain_id
    found = await services.db.read(
        lambda c: storage.list_withdrawals(
            c,
            caller.wallet.id,
            chain_id=chain_id,
            client_id=client_withdrawal_id,
            state=state,
            before_id=before,
            limit=limit,
        )
    )
    return Withdrawals(withdrawals=[_shown(services, withdrawal) for withdrawal in found])


@router.get("/withdrawals/{withdrawal_id}")
async def get_withdrawal(
    withdrawal_id: Annotated[int, Path(ge=1, le=MAX_ID, examples=[7])], caller: ReadCaller, services: Here
) -> WithdrawalOut:
    """One withdrawal."""
    found = await services.db.read(lambda c: storage.withdrawal_by_id(c, withdrawal_id, wallet_id=caller.wallet.id))
    if found is None:
        raise ApiError("withdrawal_not_found", f"the wallet has no withdrawal {withdrawal_id}")
    return _shown(services, found)


def _shown(services: Services, withdrawal: Withdrawal) -> WithdrawalOut:
    known = (config for config in services.configs.values() if config.chain_id == withdrawal.chain_id)
    asset = _listed(services, withdrawal.chain_id, withdrawal.asset)
    return WithdrawalOut.model_validate(withdrawal_document(withdrawal, chain=next(known, None), asset=asset))


def _listed(services: Services, chain_id: ChainId, asset_id: str) -> Asset | None:
    listed = services.assets.get(chain_id)
    try:
        return None if listed is None else listed.by_id(asset_id)
    except UnlistedAsset:
        return None
