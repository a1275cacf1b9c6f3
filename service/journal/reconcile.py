"""Holding the books against the chain: opening + journal == balance, at the block up to which everything is booked.

Guarantees: cursor, openings and journal are of one snapshot of the database, and the chain's balances are of exactly
the cursor's block, read by one node call; a difference is reported as `unexplained` with its amount, and what could
not be read as `unknown`, never as agreement.
Not guaranteed: why something is unexplained. A transfer from outside, a transaction signed elsewhere with the same
key and a token that changes balances by itself (rebasing) look alike here.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from sqlalchemy import Connection

from chains.errors import ExecutionReverted, RpcError, RpcRefused
from chains.types import BlockRef
from contracts.assets import Asset, AssetId
from contracts.errors import ContractError
from service.db.txstore import SqlTxStore
from service.journal import books
from service.journal.holdings import holdings
from service.journal.needs import BooksServices, ChainParts, WalletRow
from service.journal.opening import Opening, openings

W = TypeVar("W", bound=WalletRow)


class Verdict(StrEnum):
    OK = "ok"
    UNEXPLAINED = "unexplained"
    UNKNOWN = "unknown"


class Unknown(StrEnum):
    """Why something could not be compared."""

    NOT_OPENED = "not_opened"
    """The wallet's books are not open on this chain (or for this asset) yet."""
    NODE_UNREACHABLE = "node_unreachable"
    STATE_UNAVAILABLE = "state_unavailable"
    """The node does not serve the state at the cursor's block: pruned, or it does not know the block."""
    CALL_FAILED = "call_failed"
    """The token's own balance call failed, or Multicall3 did not exist yet at that block."""
    NOT_LISTED = "not_listed"
    """The books know the asset, but it is no longer listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One asset, in base units. `unexplained` is chain less expected: what came (or went, below 0) unbooked."""

    asset_id: AssetId
    asset: Asset | None
    opening: int | None
    journal: int
    expected: int | None
    chain: int | None
    unexplained: int | None
    verdict: Verdict
    why: Unknown | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """One chain. With `why` the whole chain is unknown, and rows show only what the books say."""

    key: str
    cursor: BlockRef | None
    rows: tuple[Row, ...]
    why: Unknown | None = None

    @property
    def verdict(self) -> Verdict:
        verdicts = {row.verdict for row in self.rows}
        if Verdict.UNEXPLAINED in verdicts:
            return Verdict.UNEXPLAINED
        return Verdict.UNKNOWN if self.why is not None or Verdict.UNKNOWN in verdicts else Verdict.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Generic[W]):
    """A wallet on all configured chains."""

    wallet: W
    chains: tuple[ChainReport, ...]

    @property
    def ok(self) -> bool:
        """Everything was compared, and everything agrees to the last base unit."""
        return all(chain.verdict is Verdict.OK for chain in self.chains)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Books:
    cursor: BlockRef | None
    openings: Mapping[AssetId, Opening]
    journal: Mapping[AssetId, int]


async def reconcile(services: BooksServices, wallet: W) -> Report[W]:
    """Compare the wallet's books with every configured chain."""
    reports = await asyncio.gather(*(reconcile_chain(services, wallet, chain=key) for key in services.chains))
    return Report(wallet=wallet, chains=tuple(reports))


async def reconcile_chain(services: BooksServices, wallet: WalletRow, *, chain: str) -> ChainReport:
    """Compare the wallet's books with one chain (its key); a node that fails is part of the answer."""
    parts = services.chains[chain]
    stored = await services.db.read(lambda c: _read_books(c, wallet, parts))
    if stored.cursor is None or not stored.openings:
        return _report(parts, stored, balances={}, why=Unknown.NOT_OPENED)
    try:
        balances = await holdings(parts, wallet.address, block=stored.cursor)
    except (RpcRefused, ExecutionReverted):
        # Nodes word "no state at that block" in many ways; any refusal of a read at a known block comes to that.
        return _report(parts, stored, balances={}, why=Unknown.STATE_UNAVAILABLE)
    except ContractError:
        return _report(parts, stored, balances={}, why=Unknown.CALL_FAILED)
    except RpcError:
        return _report(parts, stored, balances={}, why=Unknown.NODE_UNREACHABLE)
    return _report(parts, stored, balances=balances, why=None)


def _read_books(c: Connection, wallet: WalletRow, parts: ChainParts) -> _Books:
    chain_id = parts.config.chain_id
    cursor = SqlTxStore().cursor(c, chain_id)
    opened = openings(c, wallet.id, chain_id=chain_id)
    return _Books(
        cursor=cursor,
        openings=opened,
        # What was booked of later blocks is not in the cursor's balances yet, and what was booked of an asset before
        # it was opened (one whose call failed at first) is in its opening already.
        journal=books.totals(
            c,
            wallet.id,
            chain_id=chain_id,
            after={asset: opening.block.number for asset, opening in opened.items()},
            up_to=None if cursor is None else cursor.number,
        ),
    )


def _report(
    parts: ChainParts, stored: _Books, *, balances: Mapping[AssetId, int | None], why: Unknown | None
) -> ChainReport:
    listed = {asset.id: asset for asset in parts.assets}
    unlisted = sorted((stored.openings.keys() | stored.journal.keys()) - listed.keys())
    rows = [
        _row(asset_id, listed.get(asset_id), stored=stored, balance=balances.get(asset_id), why=why)
        for asset_id in (*listed, *unlisted)
    ]
    return ChainReport(key=parts.config.key, cursor=stored.cursor, rows=tuple(rows), why=why)


def _row(asset_id: AssetId, asset: Asset | None, *, stored: _Books, balance: int | None, why: Unknown | None) -> Row:
    opening = stored.openings.get(asset_id)
    journal = stored.journal.get(asset_id, 0)
    expected = None if opening is None else opening.raw + journal
    if asset is None:
        why = Unknown.NOT_LISTED
    elif opening is None or stored.cursor is None or opening.block.number > stored.cursor.number:
        why = Unknown.NOT_OPENED
    elif why is None and balance is None:
        why = Unknown.CALL_FAILED
    unexplained = None if why is not None or expected is None or balance is None else balance - expected
    verdict = Verdict.UNKNOWN if unexplained is None else Verdict.UNEXPLAINED if unexplained else Verdict.OK
    return Row(
        asset_id=asset_id,
        asset=asset,
        opening=None if opening is None else opening.raw,
        journal=journal,
        expected=expected,
        chain=balance,
        unexplained=unexplained,
        verdict=verdict,
        why=why,
    )
