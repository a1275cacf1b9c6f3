"""What a wallet has on the chain at one block, before anything is taken from it, and what a plan takes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from chains.client import EvmClient
from chains.config import ChainConfig
from chains.rpc.quorum import QuorumNotReached
from chains.types import Address, BlockRef
from contracts.assets import Asset, AssetId, AssetList
from contracts.deployments import Deployments
from service.journal.holdings import holdings
from service.journal.needs import ChainParts

RETRIES_S: Final = (0.2, 0.4, 0.8)
"""Pauses: an endpoint hears of a block a moment after another one."""
PATIENCE_S: Final = 2.5
"""After which nothing is tried again: a client waits."""


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


class WitnessedChain(ChainParts, Protocol):
    """A chain with a second way to read it, on which several endpoints must say the same."""

    @property
    def witnessed(self) -> EvmClient: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Witnessed:
    config: ChainConfig
    client: EvmClient
    assets: AssetList
    deployments: Deployments


async def witnessed_balances(
    chain: WitnessedChain, wallet: Address, assets: Sequence[Asset], *, block: BlockRef
) -> dict[AssetId, int]:
    """As `balances_at`, by the word of two endpoints where there are two: for money that leaves for good.

    Raises: BalanceUnknown; QuorumNotReached: they differ, or only one answers.
    """
    parts = _Witnessed(config=chain.config, client=chain.witnessed, assets=chain.assets, deployments=chain.deployments)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + PATIENCE_S
    for pause_s in RETRIES_S:
        try:
            return await balances_at(parts, wallet, assets, block=block)
        except QuorumNotReached:
            if loop.time() + pause_s > give_up_at:
                raise
            await asyncio.sleep(pause_s)
    return await balances_at(parts, wallet, assets, block=block)


def needs(*amounts: tuple[AssetId, int]) -> dict[AssetId, int]:
    """Amounts by asset, added up: the native asset may be both what is sent and what pays the gas."""
    total: dict[AssetId, int] = {}
    for asset_id, raw in amounts:
        total[asset_id] = total.get(asset_id, 0) + raw
    return total
