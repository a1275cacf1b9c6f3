"""A wallet's balances of many assets at one block, by one node call where every token behaves.

Guarantees: all amounts are of the same block; an asset whose call failed is None, never zero, and fails alone.
Not guaranteed: that the block is still canonical when the answer arrives.
"""

from collections.abc import Mapping, Sequence

from chains.types import Address, BlockRef
from contracts.assets import Asset, AssetId
from contracts.balances.ladder import BalanceReader, Way
from contracts.balances.packed import NATIVE
from contracts.deployments import MULTICALL3
from service.journal.needs import ChainParts


async def holdings(
    chain: ChainParts, wallet: Address, *, block: BlockRef, assets: Sequence[Asset] | None = None
) -> Mapping[AssetId, int | None]:
    """What the wallet has at the block of the assets, by default of all listed ones, in base units.

    Raises:
        chains.errors.RpcError: the node gave no usable answer.
        contracts.errors.ContractError: there is no Multicall3 at that block.
    """
    wanted = list(chain.assets) if assets is None else assets
    multicall = chain.deployments.address(chain.config.chain_id, MULTICALL3)
    # For a handful of pairs no way is faster, and this one needs nothing to be found out first.
    reader = BalanceReader(chain.client, multicall=multicall, ways=[Way.MULTICALL3])
    pairs = [(NATIVE if asset.is_native else asset.token_address, wallet) for asset in wanted]
    found = await reader.read(pairs, block=block)
    return {asset.id: balance for asset, balance in zip(wanted, found, strict=True)}
