"""Opening balances: what a wallet had on a chain when its books were opened, and at which block.

Guarantees: one opening an asset of a wallet, never edited; the block is stored with its hash.
Not guaranteed: an opening for each listed asset. One that was listed later has its own, at a later block.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from chains.types import BlockHash, BlockRef, ChainId
from contracts.assets import AssetId
from service.db.models import opening_balances


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What the wallet had of one asset after `block`, in base units."""

    raw: int
    block: BlockRef


def open_balances(
    c: Connection, wallet_id: int, *, chain_id: ChainId, amounts: Mapping[AssetId, int], block: BlockRef
) -> None:
    """Store what the wallet has at `block`. An asset that is opened already violates the primary key."""
    rows = [
        {
            "wallet_id": wallet_id,
            "chain_id": chain_id,
            "asset": asset,
            "raw": raw,
            "block_number": block.number,
            "block_hash": block.hash,
        }
        for asset, raw in amounts.items()
    ]
    if rows:
        c.execute(insert(opening_balances), rows)


def openings(c: Connection, wallet_id: int, *, chain_id: ChainId) -> Mapping[AssetId, Opening]:
    """The wallet's opening balances on a chain, by asset; empty when its books are not open there."""
    rows = c.execute(
        select(opening_balances)
        .where(opening_balances.c.wallet_id == wallet_id, opening_balances.c.chain_id == chain_id)
        .order_by(opening_balances.c.asset)
    )
    return {
        AssetId(row.asset): Opening(
            raw=row.raw, block=BlockRef(number=row.block_number, hash=BlockHash(row.block_hash))
        )
        for row in rows
    }
