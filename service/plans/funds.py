"""What a wallet has on the chain at one block, before anything is taken from it, and what a plan takes."""

from collections.abc import Sequence

from chains.types import Address, BlockRef
from contracts.assets import Asset, AssetId
from service.journal.holdings import holdings
from service.journal.needs import ChainParts


class BalanceUnknown(Exception):
    """A balance could not be read: unknown is not zero, and nothing is accepted on it."""

    def __init__(self, asset_id: AssetId) -> None:
        super().__init__(f"the balance of {asset_id} could not be read")
        self.asset_id = asset_id


async def balances_at(
    chain: ChainParts, wallet: Address, assets: Sequence[Asset], *, block: BlockRef
) -> dict[AssetId, int]:
    """Balances of the assets, in one node call. Raises: BalanceUnknown."""
    wanted = list({asset.id: asset for asset in assets}.values())
    amounts: dict[AssetId, int] = {}
    for asset_id, raw in (await holdings(chain, wallet, block=block, assets=wanted)).items():
        if raw is None:
            raise BalanceUnknown(asset_id)
        amounts[asset_id] = raw
    return amounts


def needs(*amounts: tuple[AssetId, int]) -> dict[AssetId, int]:
    """Amounts by asset, added up: the native asset may be both what is sent and what pays the gas."""
    total: dict[AssetId, int] = {}
    for asset_id, raw in amounts:
        total[asset_id] = total.get(asset_id, 0) + raw
    return total
