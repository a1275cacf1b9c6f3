"""The queries of fills: what confirmed swaps moved, and what undoes them.

Guarantees: fills are only appended; a reversal names the fill that it undoes. Not guaranteed: that a fill belongs to
who asks; callers pass the wallet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from chains.types import BlockHash, BlockRef, ChainId, TxHash
from service.db.models import fills, orders
from service.orders.model import FillRow, Order
from service.orders.storage import order_of_row


def insert_fill(
    c: Connection,
    order: Order,
    *,
    tx_hash: TxHash,
    block: BlockRef,
    base: int,
    quote: int,
    gas_wei: int,
    reverses: int | None,
    now_ms: int,
) -> None:
    """Append a fill, or the reversal of one."""
    c.execute(
        insert(fills).values(
            order_id=order.id,
            account_id=order.account_id,
            tx_hash=tx_hash,
            block_number=block.number,
            block_hash=block.hash,
            base=base,
            quote=quote,
            gas_wei=gas_wei,
            reverses=reverses,
            created_ms=now_ms,
        )
    )


def list_fills(c: Connection, order_id: int) -> Sequence[FillRow]:
    """Fills and reversals of an order in the order they were written."""
    query = select(fills).where(fills.c.order_id == order_id).order_by(fills.c.id)
    return [_fill(row) for row in c.execute(query).mappings()]


def fills_of_wallet(
    c: Connection,
    wallet_id: int,
    *,
    chain_id: ChainId | None,
    market: str | None,
    order_id: int | None,
    since_ms: int | None,
    until_ms: int | None,
    before_id: int | None,
    limit: int,
) -> list[tuple[FillRow, Order]]:
    """Fills and reversals with their orders, newest first, below `before_id`, from `since_ms` to before `until_ms`."""
    query = select(fills).join(orders, orders.c.id == fills.c.order_id).where(orders.c.wallet_id == wallet_id)
    for condition, value in (
        (orders.c.chain_id == chain_id, chain_id),
        (orders.c.market == market, market),
        (fills.c.order_id == order_id, order_id),
    ):
        if value is not None:
            query = query.where(condition)
    if since_ms is not None:
        query = query.where(fills.c.created_ms >= since_ms)
    if until_ms is not None:
        query = query.where(fills.c.created_ms < until_ms)
    if before_id is not None:
        query = query.where(fills.c.id < before_id)
    rows = [_fill(row) for row in c.execute(query.order_by(fills.c.id.desc()).limit(limit)).mappings()]
    named = select(orders).where(orders.c.id.in_({row.order_id for row in rows}))
    found = {order.id: order for order in (order_of_row(row) for row in c.execute(named).mappings())}
    return [(row, found[row.order_id]) for row in rows]


def standing_fills(c: Connection, order_id: int) -> Sequence[FillRow]:
    """Fills of an order that no reversal undoes."""
    rows = list_fills(c, order_id)
    undone = {row.reverses for row in rows}
    return [row for row in rows if row.reverses is None and row.id not in undone]


def _fill(row: Mapping[Any, Any]) -> FillRow:
    return FillRow(
        id=row["id"],
        order_id=row["order_id"],
        tx_hash=TxHash(row["tx_hash"]),
        block=BlockRef(number=row["block_number"], hash=BlockHash(row["block_hash"])),
        base=row["base"],
        quote=row["quote"],
        gas_wei=row["gas_wei"],
        reverses=row["reverses"],
        created_ms=row["created_ms"],
    )
