"""The route of the deposit address. Nothing is made for it: the wallet's own address receives."""

from fastapi import APIRouter

from service.auth.callers import ReadCaller
from service.deposits.schemas import NOTE, DepositAddressAnswer
from service.markets.listing import asset_document
from service.markets.lookup import ChainName, Here, chain_named

router = APIRouter(prefix="/v1", tags=["deposits"])


@router.get("/{chain}/deposit-address")
async def get_deposit_address(chain: ChainName, caller: ReadCaller, services: Here) -> DepositAddressAnswer:
    """Where to send to, and what. The same address on every chain."""
    runtime = chain_named(services, chain)
    return DepositAddressAnswer(
        chain=runtime.config.key,
        chain_id=runtime.config.chain_id,
        address=caller.wallet.address,
        assets=[asset_document(asset) for asset in runtime.assets],
        note=NOTE,
    )
