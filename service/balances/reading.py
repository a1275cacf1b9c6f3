"""A wallet's balances now: what is on the chain, what accepted plans hold of it, and what is free.

Guarantees: all amounts of an answer are of one block, the chain's latest, which is part of the answer; an asset
that could not be read is None, never zero; free is never negative, and errs on the low side: holds are read before
the chain, so that a plan which settles in between counts once too often rather than not at all.
Not guaranteed: that what is free now is still free later; `reservations.hold` checks again when a plan is accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chains.types import Header
from contracts.assets import Asset, AssetId
from service.journal.holdings import holdings
from service.journal.needs import BooksServices, WalletRow
from service.journal.reservations import held


class BalanceUnknown(Exception):
    """The asset's own balance call failed: nothing can be said of it now."""

    def __init__(self, asset: Asset) -> None:
        super().__init__(f"the balance of {asset.symbol} cannot be read now")
        self.asset = asset


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """What a wallet has of one asset at a block, in base units."""

    asset: Asset
    total: int
    reserved: int
    block: Header

    @property
    def free(self) -> int:
        return max(0, self.total - self.reserved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """All listed assets of a wallet on one chain at `block`; None for one that could not be read."""

    block: Header
    totals: Mapping[AssetId, int | None]
    reserved: Mapping[AssetId, int]
    assets: tuple[Asset, ...]


async def read_balances(
    services: BooksServices, wallet: WalletRow, *, chain: str, assets: Sequence[Asset] | None = None
) -> Balances:
    """Balances of the assets (all listed ones by default) at the latest block of the chain (its key).

    Raises:
        chains.errors.RpcError: the node gave no usable answer.
        contracts.errors.ContractError: the chain has no working Multicall3.
    """
    parts = services.chains[chain]
    reserved = await services.db.read(lambda c: held(c, wallet.id, parts.config.chain_id))
    head = await parts.client.head()
    wanted = tuple(parts.assets) if assets is None else tuple(assets)
    totals = await holdings(parts, wallet.address, block=head.ref, assets=wanted)
    return Balances(block=head, totals=totals, reserved=reserved, assets=wanted)


async def available(services: BooksServices, wallet: WalletRow, *, chain: str, asset: Asset) -> Available:
    """What is free of one asset. Raises: BalanceUnknown, and what `read_balances` raises."""
    return (await available_of(services, wallet, chain=chain, assets=[asset]))[asset.id]


async def available_of(
    services: BooksServices, wallet: WalletRow, *, chain: str, assets: Sequence[Asset]
) -> Mapping[AssetId, Available]:
    """What is free of several assets at one block. Raises: as `available`."""
    balances = await read_balances(services, wallet, chain=chain, assets=assets)
    found: dict[AssetId, Available] = {}
    for asset in balances.assets:
        total = balances.totals[asset.id]
        if total is None:
            raise BalanceUnknown(asset)
        reserved = balances.reserved.get(asset.id, 0)
        found[asset.id] = Available(asset=asset, total=total, reserved=reserved, block=balances.block)
    return found
