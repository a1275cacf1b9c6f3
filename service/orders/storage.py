"""The queries of orders and fills, each inside the caller's unit of work.

Guarantees: `move` is guarded (it changes the order exactly when it is in one of the expected states, or raises);
fills are only appended. Not guaranteed: that an order belongs to who asks; callers pass the account and wallet.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from chains.tx.model import PlanId
from chains.tx.store import StaleState
from chains.types import BlockHash, BlockRef, ChainId, TxHash
from contracts.assets import AssetId
from service.db.models import fills, orders
from service.markets.trades import Side
from service.orders.model import OPEN_STATES, FillRow, Order, OrderDraft, OrderState, OrderType


def insert_order(c: Connection, draft: OrderDraft, *, now_ms: int) -> Order:
    """Store a new order. Raises: IntegrityError: the account used the client id already."""
    values = {
        **asdict(draft),
        "state": OrderState.NEW,
        "filled_base": 0,
        "filled_quote": 0,
        "gas_wei": 0,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    row = c.execute(insert(orders).values(values).returning(*orders.c)).mappings().one()
    return _order(row)


def order_by_id(c: Connection, order_id: int, *, wallet_id: int) -> Order | None:
    """The wallet's order by its id."""
    return _first(c, orders.c.id == order_id, orders.c.wallet_id == wallet_id)


def order_by_client_id(c: Connection, client_id: str, *, account_id: int) -> Order | None:
    """The account's order by the client's own id, which is unique for ever."""
    return _first(c, orders.c.account_id == account_id, orders.c.client_id == client_id)


def order_by_plan(c: Connection, plan_id: PlanId) -> Order | None:
    """The order that a plan carries out."""
    return _first(c, orders.c.plan_id == plan_id)


def list_orders(
    c: Connection,
    wallet_id: int,
    *,
    chain_id: ChainId | None,
    market: str | None,
    state: OrderState | None,
    client_id: str | None,
    before_id: int | None,
    limit: int,
) -> Sequence[Order]:
    """The wallet's orders, newest first, below `before_id`."""
    query = select(orders).where(orders.c.wallet_id == wallet_id).order_by(orders.c.id.desc()).limit(limit)
    if chain_id is not None:
        query = query.where(orders.c.chain_id == chain_id)
    if market is not None:
        query = query.where(orders.c.market == market)
    if state is not None:
        query = query.where(orders.c.state == state)
    if client_id is not None:
        query = query.where(orders.c.client_id == client_id)
    if before_id is not None:
        query = query.where(orders.c.id < before_id)
    return [_order(row) for row in c.execute(query).mappings()]


def sells_already(c: Connection, wallet_id: int, *, asset_id: AssetId) -> bool:
    """Whether an open order of the wallet sells the asset, so that its allowance is spoken for."""
    query = select(orders.c.side, orders.c.base_asset, orders.c.quote_asset).where(
        orders.c.wallet_id == wallet_id, orders.c.state.in_(sorted(OPEN_STATES))
    )
    return any((base if side == Side.SELL else quote) == asset_id for side, base, quote in c.execute(query))


def move(c: Connection, order: Order, *, expected: Collection[OrderState], now_ms: int, **values: Any) -> Order:
    """Change an order that is in one of the expected states; the answer is the order afterwards.

    Raises:
        StaleState: it is in another state.
    """
    row = (
        c.execute(
            update(orders)
            .where(orders.c.id == order.id, orders.c.state.in_(sorted(expected)))
            .values(updated_ms=now_ms, **values)
            .returning(*orders.c)
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        raise StaleState(f"order {order.id} is not {' or '.join(sorted(expected))}")
    return _order(row)


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
    return [
        FillRow(
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
        for row in c.execute(query).mappings()
    ]


def standing_fills(c: Connection, order_id: int) -> Sequence[FillRow]:
    """Fills of an order that no reversal undoes."""
    rows = list_fills(c, order_id)
    undone = {row.reverses for row in rows}
    return [row for row in rows if row.reverses is None and row.id not in undone]


def _first(c: Connection, *where: Any) -> Order | None:
    row = c.execute(select(orders).where(*where)).mappings().one_or_none()
    return None if row is None else _order(row)


def _order(row: Mapping[Any, Any]) -> Order:
    values = dict(row)
    return Order(
        **{
            **values,
            "side": Side(values["side"]),
            "type": OrderType(values["type"]),
            "state": OrderState(values["state"]),
        }
    )
