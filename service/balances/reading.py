"""A wallet's balances now: what is on the chain, what accepted plans hold of it, and what is free.

Guarantees: all amounts of an answer are of one block, which is part of the answer: the chain's head as this process
read it at most `MAX_HEAD_AGE_S` ago, so that one node call is enough where something here follows the chain; an asset
that could not be read is None, never zero; what is available is never negative, and errs on the low side: holds are
read before the chain, and never a block below one in which the wallet is known to have acted, so that a plan which
settles in between counts once too often rather than not at all. A plan that was mined by that block has taken its
amounts already, and holds nothing of what is left.
Not guaranteed: that what is available now still is later; `reservations.hold` checks again when a plan is accepted.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import Connection

from chains.errors import RpcRefused
from chains.recent import RecentHead
from chains.types import Header
from contracts.assets import Asset
from service.db.engine import Database
from service.journal.holdings import holdings
from service.journal.needs import ChainParts, WalletRow
from service.journal.reservations import Hold, holds, newest_mined, still_held

log = logging.getLogger(__name__)

MAX_HEAD_AGE_S: Final = 3.0
"""An engine asks for the head at least every 2 s (`chains.tx.engine`), so that usually nobody has to ask here."""


class ReadChain(ChainParts, Protocol):
    """A chain whose newest head this process remembers."""

    @property
    def recent_head(self) -> RecentHead: ...


class BalanceServices(Protocol):
    """What reading balances needs of the service. `chains` is keyed by the chain's key (`ethereum`)."""

    @property
    def db(self) -> Database: ...

    @property
    def chains(self) -> Mapping[str, ReadChain]: ...


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


async def read_balances(services: BalanceServices, wallet: WalletRow, *, chain: str) -> Balances:
    """Balances of all listed assets on a chain (its key) at a block that was its head a moment ago.

    Raises:
        chains.errors.RpcError: the node gave no usable answer.
        contracts.errors.ContractError: the chain has no working Multicall3.
    """
    parts = services.chains[chain]

    def known(c: Connection) -> tuple[Sequence[Hold], int]:
        chain_id = parts.config.chain_id
        return holds(c, wallet.id, chain_id), newest_mined(c, wallet.address, chain_id) or 0

    found, mined = await services.db.read(known)
    recent = parts.recent_head.within(MAX_HEAD_AGE_S)
    if recent is not None and recent.number >= mined:
        try:
            return await _read_at(parts, wallet, recent, found)
        except RpcRefused as exc:
            # Nodes refuse a block that a reorg took away.
            log.info("%s: balances are read at a newer head: %s", chain, exc)
    return await _read_at(parts, wallet, await parts.client.head(), found)


async def _read_at(parts: ReadChain, wallet: WalletRow, head: Header, found: Sequence[Hold]) -> Balances:
    reserved = still_held(found, at=head.number)
    totals = await holdings(parts, wallet.address, block=head.ref)
    rows = (Balance(asset=a, total=totals[a.id], reserved=reserved.get(a.id, 0)) for a in parts.assets)
    return Balances(block=head, rows=tuple(rows))
