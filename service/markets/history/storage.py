"""What history knows of a chain beside its trades: the blocks that are written, the pools it follows, what is missing.

    market_blocks, market_heads   up to which block all trades are written
    market_pools, market_pairs    whose
    market_gaps                   except in these blocks

Guarantees: a gap is narrowed only from the end that was read, or `StaleState`. Not guaranteed: isolation, which is the
unit of work's.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from chains.tx.store import StaleState
from chains.types import Address, BlockHash, BlockRef, ChainId, address_bytes
from contracts.deployments import Venue
from contracts.pools import PoolKey
from service.db import models as m
from service.db.headstore import SqlBlocks
from service.markets.history.model import FollowedPool, Gap, HistoryHead, Pair

_HEADS: Final = m.market_heads
_PAIRS: Final = m.market_pairs
_POOLS: Final = m.market_pools
_GAPS: Final = m.market_gaps


class HistoryBlocks(SqlBlocks):
    """`BlockStore[Connection]` of the blocks that are written. No block is final: history follows every reorg."""

    def __init__(self) -> None:
        super().__init__(m.market_blocks)

    def finalized(self, uow: Connection, chain_id: ChainId) -> BlockRef | None:
        return None

    def set_finalized(self, uow: Connection, chain_id: ChainId, block: BlockRef | None) -> None:
        """Raises: ValueError: there is one, against what the follower was told."""
        if block is not None:
            raise ValueError("history keeps no final block")


# -- up to where -----------------------------------------------------------------------------------------------


def head_of(c: Connection, chain_id: ChainId) -> HistoryHead | None:
    """The newest block that is written; None before the first."""
    row = c.execute(select(_HEADS).where(_HEADS.c.chain_id == chain_id)).one_or_none()
    if row is None:
        return None
    return HistoryHead(
        chain_id=chain_id, number=row.block_number, hash=BlockHash(row.block_hash), time_ms=row.block_time_ms
    )


def set_head(c: Connection, head: HistoryHead) -> None:
    values = {"block_number": head.number, "block_hash": head.hash, "block_time_ms": head.time_ms}
    if c.execute(update(_HEADS).where(_HEADS.c.chain_id == head.chain_id).values(values)).rowcount == 0:
        c.execute(insert(_HEADS).values(chain_id=head.chain_id, **values))


def forget_head(c: Connection, chain_id: ChainId) -> None:
    """Nothing counts as written any more."""
    c.execute(delete(_HEADS).where(_HEADS.c.chain_id == chain_id))
    HistoryBlocks().drop_blocks(c, chain_id)


# -- whose -----------------------------------------------------------------------------------------------------


def pair_of(c: Connection, chain_id: ChainId, tokens: tuple[Address, Address]) -> Pair | None:
    """The pair of two tokens in either order, if a pool of it is followed."""
    token0, token1 = sorted(tokens, key=address_bytes)
    row = c.execute(
        select(_PAIRS).where(_PAIRS.c.chain_id == chain_id, _PAIRS.c.token0 == token0, _PAIRS.c.token1 == token1)
    ).one_or_none()
    return None if row is None else Pair(id=row.id, token0=row.token0, token1=row.token1)


def pools_of(c: Connection, chain_id: ChainId) -> list[FollowedPool]:
    """The pools that are followed, oldest first."""
    rows = c.execute(select(_POOLS).where(_POOLS.c.chain_id == chain_id).order_by(_POOLS.c.id))
    return [
        FollowedPool(id=row.id, pair_id=row.pair_id, address=row.address, venue=Venue(row.venue), fee_pips=row.fee_pips)
        for row in rows
    ]


def follow(c: Connection, chain_id: ChainId, key: PoolKey, address: Address) -> FollowedPool:
    """Follow a pool from now on."""
    pair = pair_of(c, chain_id, (key.token0, key.token1))
    if pair is None:
        values = {"chain_id": chain_id, "token0": key.token0, "token1": key.token1}
        pair_id = c.execute(insert(_PAIRS).values(values).returning(_PAIRS.c.id)).scalar_one()
    else:
        pair_id = pair.id
    pool = {"address": address, "venue": str(key.venue), "fee_pips": key.fee_pips}
    pool_id = c.execute(
        insert(_POOLS).values(pair_id=pair_id, chain_id=chain_id, **pool).returning(_POOLS.c.id)
    ).scalar_one()
    return FollowedPool(id=pool_id, pair_id=pair_id, address=address, venue=key.venue, fee_pips=key.fee_pips)


# -- what is missing -------------------------------------------------------------------------------------------


def gaps_of(c: Connection, chain_id: ChainId) -> list[Gap]:
    """What is missing, the newest blocks first."""
    mine = select(_POOLS.c.id).where(_POOLS.c.chain_id == chain_id)
    rows = c.execute(select(_GAPS).where(_GAPS.c.pool_id.in_(mine)).order_by(_GAPS.c.last_block.desc(), _GAPS.c.id))
    return [
        Gap(
            id=row.id,
            pool_id=row.pool_id,
            first=row.first_block,
            last=row.last_block,
            complete_from_ms=row.complete_from_ms,
        )
        for row in rows
    ]


def add_gaps(c: Connection, pool_ids: Collection[int], *, first: int, last: int, complete_from_ms: int) -> None:
    """These blocks of these pools are not written."""
    if first > last or not pool_ids:
        return
    values = {"first_block": first, "last_block": last, "complete_from_ms": complete_from_ms}
    c.execute(insert(_GAPS), [{"pool_id": pool_id, **values} for pool_id in pool_ids])


def narrow(c: Connection, gap: Gap, *, first_written: int, complete_from_ms: int) -> None:
    """The gap's blocks from `first_written` on are written now.

    Raises: StaleState: the gap is not as it was read; another process works on it, or history began anew.
    """
    same = (_GAPS.c.id == gap.id) & (_GAPS.c.first_block == gap.first) & (_GAPS.c.last_block == gap.last)
    if first_written <= gap.first:
        changed = c.execute(delete(_GAPS).where(same)).rowcount
    else:
        values = {"last_block": first_written - 1, "complete_from_ms": complete_from_ms}
        changed = c.execute(update(_GAPS).where(same).values(values)).rowcount
    if changed != 1:
        raise StaleState("a gap of the history is not as it was read")


def cut_gaps(c: Connection, chain_id: ChainId, block_number: int, *, complete_from_ms: int) -> None:
    """No gap has this block or a later one any more: they left the chain, and what comes in their place is written."""
    mine = _GAPS.c.pool_id.in_(select(_POOLS.c.id).where(_POOLS.c.chain_id == chain_id))
    c.execute(delete(_GAPS).where(mine, _GAPS.c.first_block >= block_number))
    values = {"last_block": block_number - 1, "complete_from_ms": complete_from_ms}
    c.execute(update(_GAPS).where(mine, _GAPS.c.last_block >= block_number).values(values))


def complete_from_ms(c: Connection, pair_id: int) -> int | None:
    """Since when all trades of the pair are written, up to the head; None: since the chain's first block."""
    mine = select(_POOLS.c.id).where(_POOLS.c.pair_id == pair_id)
    found = c.execute(select(func.max(_GAPS.c.complete_from_ms)).where(_GAPS.c.pool_id.in_(mine))).scalar_one()
    return None if found is None else int(found)


def missing_blocks(gaps: Sequence[Gap], *, lowest: int) -> int:
    """How many blocks from `lowest` on are still to be read for some pool."""
    newest = max((gap.last for gap in gaps), default=lowest - 1)
    oldest = min((max(gap.first, lowest) for gap in gaps if gap.last >= lowest), default=newest + 1)
    return max(0, newest - oldest + 1)
