"""A wallet's balances now: what is on the chain, what accepted plans hold of it, and what is free.

Guarantees: all amounts of an answer are of one block, the chain's latest, which is part of the answer; an asset
that could not be read is None, never zero; what is available is never negative, and errs on the low side: holds are
read before the chain, so that a plan which settles in between counts once too often rather than not at all. A plan
that was mined by that block has taken its amounts already, and holds nothing of what is left.
Not guaranteed: that what is available now still is later; `reservations.hold` checks again when a plan is accepted.
"""

from dataclasses import dataclass

from chains.types import Header
from contracts.assets import Asset
from service.journal.holdings import holdings
from service.journal.needs import BooksServices, WalletRow
from service.journal.reservations import holds, still_held


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What a wallet has of one asset, in base units. `total` is None when it could not be read."""

    asset: Asset
    total: int | None
    reserved: int

    @property
    def available(self) -> int | None:
        return None if self.total is None else max(0, self.total - self.reserved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """All listed assets of a wallet on one chain at `block`, in the order of the list."""

    block: Header
    rows: tuple[Balance, ...]


async def read_balances(services: BooksServices, wallet: WalletRow, *, chain: str) -> Balances:
    """Balances of all listed assets at the latest block of the chain (its key), in one node call for that block.

    Raises:
        chains.errors.RpcError: the node gave no usable answer.
        contracts.errors.ContractError: the chain has no working Multicall3.
    """
    parts = services.chains[chain]
    found = await services.db.read(lambda c: holds(c, wallet.id, parts.config.chain_id))
    head = await parts.client.head()
    reserved = still_held(found, at=head.number)
    totals = await holdings(parts, wallet.address, block=head.ref)
    rows = (Balance(asset=a, total=totals[a.id], reserved=reserved.get(a.id, 0)) for a in parts.assets)
    return Balances(block=head, rows=tuple(rows))
