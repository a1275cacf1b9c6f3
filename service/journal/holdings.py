"""A wallet's balances of many assets at one block, by one node call.

Guarantees: all amounts are of the same block; an asset whose call failed is None, never zero.
Not guaranteed: that the block is still canonical when the answer arrives.
"""

from collections.abc import Mapping, Sequence

from chains.types import Address, BlockRef
from contracts.assets import Asset, AssetId
from contracts.deployments import MULTICALL3
from contracts.multicall import Ok, balances_of
from service.journal.needs import ChainParts


async def holdings(
    chain: ChainParts, wallet: Address, *, block: BlockRef, assets: Sequence[Asset] | None = None
) -> Mapping[AssetId, int | None]:
    """What the wallet has at the block of the assets, by default of all listed ones, in base units.

    Raises:
        chains.errors.RpcError: the node gave no usable answer.
        contracts.errors.ContractError: there is no Multicall3 at that block.
    """
    found = await balances_of(
        chain.client,
        multicall=chain.deployments.address(chain.config.chain_id, MULTICALL3),
        wallets=[wallet],
        assets=list(chain.assets) if assets is None else assets,
        block=block,
    )
    return {asset_id: answer.value if isinstance(answer, Ok) else None for asset_id, answer in found[wallet].items()}
