"""The queries of orders and their tries, each inside the caller's unit of work.

    start_try    rests          -> has a plan        the keeper, or placement of what trades at once
    rest_again   has this plan  -> rests             the try came to nothing, and the order may rest
    put_off      rests          -> rests, later      not even tried: a simulation said no, say
    trigger      rests          -> rests, triggered  its stop price was reached

Guarantees: every change is guarded (it changes the order exactly when it is as the caller believed, or raises), so
that of a cancel, a trigger, an expiry and a lane that meet one wins; tries are only appended.
Not guaranteed: that an order belongs to who asks; callers pass the account and wallet. What is held for it moves by
`service.journal.reservations`, in the same unit of work.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from chains.tx.model import Outcome, PlanId
from chains.tx.store import StaleState
from chains.types import ChainId
from contracts.assets import AssetId
from contracts.deployments import Venue
from service.db.models import intents, order_plans, orders, txs
from service.markets.trades import Side
from service.orders.model import (
    OPEN_STATES,
    Order,
    OrderDraft,
    OrderState,
    OrderTry,
    OrderType,
    TimeInForce,
)

RESTING_PAGE: Final = 500
"""Resting orders a look: a page of rows, not a memory full."""

_IS_OPEN: Final = orders.c.state.in_(sorted(OPEN_STATES))
_RESTS: Final = (orders.c.state == OrderState.NEW) & orders.c.plan_id.is_(None)


def insert_order(c: Connection, draft: OrderDraft, *, now_ms: int) -> Order:
    """Store a new order; one that comes with its plan is tried with the limits of its draft.

    Raises: IntegrityError: the account used the client id already.
    """
    values = {
        # Not asdict: it would take the prices apart.
        **{field.name: getattr(draft, field.name) for field in dataclass_fields(draft)},
        "tries": 0 if draft.plan_id is None else 1,
        "state": OrderState.NEW,
        "filled_base": 0,
        "filled_quote": 0,
        "gas_wei": 0,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    order = order_of_row(c.execute(insert(orders).values(values).returning(*orders.c)).mappings().one())
    if order.plan_id is not None:
        deadline_s = int(draft.quote["deadline_s"])
        _insert_try(
            c,
            OrderTry(
                plan_id=order.plan_id,
                order_id=order.id,
                max_sold=order.max_sold,
                min_bought=order.min_bought,
                deadline_s=deadline_s,
                created_ms=now_ms,
            ),
        )
    return order


def order_by_id(c: Connection, order_id: int, *, wallet_id: int) -> Order | None:
    """The wallet's order by its id."""
    return _first(c, orders.c.id == order_id, orders.c.wallet_id == wallet_id)


def order_by_client_id(c: Connection, client_id: str, *, account_id: int) -> Order | None:
    """The account's order by the client's own id, which is unique for ever."""
    return _first(c, orders.c.account_id == account_id, orders.c.client_id == client_id)


def order_by_plan(c: Connection, plan_id: PlanId) -> Order | None:
    """The order of which the plan is a try: the one it has now, or one that it had before."""
    return _first(
        c, orders.c.id == select(order_plans.c.order_id).where(order_plans.c.plan_id == plan_id).scalar_subquery()
    )


def try_by_plan(c: Connection, plan_id: PlanId) -> OrderTry | None:
    """The limits that a plan of an order carries."""
    row = c.execute(select(order_plans).where(order_plans.c.plan_id == plan_id)).mappings().one_or_none()
    return None if row is None else OrderTry(**row)


def tries_of(c: Connection, order_id: int) -> Sequence[OrderTry]:
    """All plans that an order ever had, oldest first."""
    query = select(order_plans).where(order_plans.c.order_id == order_id).order_by(order_plans.c.created_ms)
    return [OrderTry(**row) for row in c.execute(query.order_by(order_plans.c.plan_id)).mappings()]


def count_reverts(c: Connection, order_id: int) -> int:
    """How many of an order's transactions are mined as reverted now: each has paid gas."""
    of_order = order_plans.join(intents, intents.c.plan_id == order_plans.c.plan_id)
    query = (
        select(func.count())
        .select_from(of_order.join(txs, txs.c.intent_id == intents.c.id))
        .where(order_plans.c.order_id == order_id, txs.c.outcome == Outcome.REVERTED)
    )
    return int(c.execute(query).scalar_one())


def last_try_took_nonce(c: Connection, order_id: int) -> bool:
    """Whether a transaction of the order's last try got as far as a nonce, and so may have paid gas."""
    t = order_plans
    last = select(t.c.plan_id).where(t.c.order_id == order_id).order_by(t.c.created_ms.desc(), t.c.plan_id.desc())
    query = (
        select(txs.c.id)
        .select_from(intents.join(txs, txs.c.intent_id == intents.c.id))
        .where(intents.c.plan_id == last.limit(1).scalar_subquery())
    )
    return c.execute(query.limit(1)).first() is not None


def resting(c: Connection, chain_id: ChainId, *, after_id: int = 0, limit: int = RESTING_PAGE) -> Sequence[Order]:
    """Resting orders of a chain, oldest first, after `after_id`: a page. The next one begins after its last id.

    All of them, also those that back off, wait for their stop, or have expired: the caller judges by the order's
    `retry_after_ms`, `triggered_ms` and `expires_ms`.
    """
    query = select(orders).where(orders.c.chain_id == chain_id, _RESTS, orders.c.id > after_id)
    return [order_of_row(row) for row in c.execute(query.order_by(orders.c.id).limit(limit)).mappings()]


class RestingStamp(NamedTuple):
    """What changes of a resting order whenever something of it does that its keeper looks at."""

    updated_ms: int
    tries: int
    retry_after_ms: int | None
    triggered_ms: int | None


def resting_stamps(c: Connection, chain_id: ChainId) -> Mapping[int, RestingStamp]:
    """All resting orders of a chain by id, oldest first: a few columns of each, where `resting` reads whole rows."""
    columns = (orders.c.id, orders.c.updated_ms, orders.c.tries, orders.c.retry_after_ms, orders.c.triggered_ms)
    query = select(*columns).where(orders.c.chain_id == chain_id, _RESTS).order_by(orders.c.id)
    return {row[0]: RestingStamp(*row[1:]) for row in c.execute(query)}


def resting_of(c: Connection, ids: Sequence[int]) -> Sequence[Order]:
    """Those of the orders that rest."""
    found: list[Order] = []
    for start in range(0, len(ids), RESTING_PAGE):
        query = select(orders).where(orders.c.id.in_(ids[start : start + RESTING_PAGE]), _RESTS)
        found += [order_of_row(row) for row in c.execute(query).mappings()]
    return found


def resting_now(c: Connection, order_id: int) -> Order | None:
    """The order, if it rests at this moment."""
    return _first(c, orders.c.id == order_id, _RESTS)


def open_of_wallet(
    c: Connection, wallet_id: int, *, chain_id: ChainId | None = None, market: str | None = None
) -> Sequence[Order]:
    """The wallet's open orders, oldest first."""
    return _open(c, orders.c.wallet_id == wallet_id, chain_id=chain_id, market=market)


def open_of_key(c: Connection, key_id: str) -> Sequence[Order]:
    """Open orders that a key has placed, oldest first."""
    return _open(c, orders.c.key_id == key_id, chain_id=None, market=None)


def count_open(c: Connection, account_id: int, *, chain_id: ChainId | None = None, market: str | None = None) -> int:
    """How many orders of the account are open, on one market or on all."""
    query = select(func.count()).select_from(orders).where(orders.c.account_id == account_id, _IS_OPEN)
    if chain_id is not None:
        query = query.where(orders.c.chain_id == chain_id)
    if market is not None:
        query = query.where(orders.c.market == market)
    return int(c.execute(query).scalar_one())


def start_try(c: Connection, order: Order, tried: OrderTry, *, quote: Mapping[str, Any], now_ms: int) -> Order:
    """Give a resting order its plan (stored before, in the same unit of work); `quote` is what the try is priced on.

    Raises:
        StaleState: it does not rest any more.
    """
    changed = _change(
        c,
        order,
        _RESTS,
        now_ms=now_ms,
        plan_id=tried.plan_id,
        quote=quote,
        tries=orders.c.tries + 1,
        retry_after_ms=None,
        reason=None,
    )
    _insert_try(c, tried)
    return changed


def rest_again(
    c: Connection, order: Order, *, plan_id: PlanId, retry_after_ms: int, reason: str | None, now_ms: int
) -> Order:
    """The order rests, after a try that came to nothing; `reason` says why, until the next one.

    Raises:
        StaleState: it is closed, or another plan carries it out.
    """
    is_tried = (orders.c.state == OrderState.NEW) & (orders.c.plan_id == plan_id)
    return _change(c, order, is_tried, now_ms=now_ms, plan_id=None, retry_after_ms=retry_after_ms, reason=reason)


def put_off(c: Connection, order: Order, *, retry_after_ms: int, reason: str, now_ms: int) -> Order:
    """Not before then is a resting order tried again. Raises: StaleState: it does not rest any more."""
    return _change(c, order, _RESTS, now_ms=now_ms, retry_after_ms=retry_after_ms, reason=reason)


def trigger(c: Connection, order: Order, *, now_ms: int) -> Order:
    """Its stop price was reached: from now on it is a resting limit order, whatever the price does.

    Raises:
        StaleState: it does not rest any more, or was triggered before.
    """
    waits = _RESTS & orders.c.triggered_ms.is_(None) & orders.c.stop_price.is_not(None)
    return _change(c, order, waits, now_ms=now_ms, triggered_ms=now_ms)


def close_resting(c: Connection, order: Order, *, state: OrderState, reason: str, now_ms: int) -> Order:
    """End an order that rests. Raises: StaleState: it does not rest any more."""
    return _change(c, order, _RESTS, now_ms=now_ms, state=state, reason=reason)


def list_orders(
    c: Connection,
    wallet_id: int,
    *,
    chain_id: ChainId | None,
    market: str | None,
    states: Collection[OrderState] | None,
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
    if states is not None:
        query = query.where(orders.c.state.in_(sorted(states)))
    if client_id is not None:
        query = query.where(orders.c.client_id == client_id)
    if before_id is not None:
        query = query.where(orders.c.id < before_id)
    return [order_of_row(row) for row in c.execute(query).mappings()]


def sells_already(c: Connection, wallet_id: int, *, asset_id: AssetId, besides: int | None = None) -> bool:
    """Whether an open order of the wallet, `besides` one, sells the asset, so that its allowance is spoken for.

    One that rests has no call yet; when it has, it looks here in its turn.
    """
    query = select(orders.c.side, orders.c.base_asset, orders.c.quote_asset).where(
        orders.c.wallet_id == wallet_id, _IS_OPEN, orders.c.plan_id.is_not(None), orders.c.id != (besides or 0)
    )
    return any((base if side == Side.SELL else quote) == asset_id for side, base, quote in c.execute(query))


def move(c: Connection, order: Order, *, expected: Collection[OrderState], now_ms: int, **values: Any) -> Order:
    """Change an order that is in one of the expected states; the answer is the order afterwards.

    Raises:
        StaleState: it is in another state.
    """
    return _change(c, order, orders.c.state.in_(sorted(expected)), now_ms=now_ms, **values)


def _open(
    c: Connection, whose: ColumnElement[bool], *, chain_id: ChainId | None, market: str | None
) -> Sequence[Order]:
    query = select(orders).where(whose, _IS_OPEN).order_by(orders.c.id)
    if chain_id is not None:
        query = query.where(orders.c.chain_id == chain_id)
    if market is not None:
        query = query.where(orders.c.market == market)
    return [order_of_row(row) for row in c.execute(query).mappings()]


def _change(c: Connection, order: Order, expected: ColumnElement[bool], *, now_ms: int, **values: Any) -> Order:
    statement = update(orders).where(orders.c.id == order.id, expected).values(updated_ms=now_ms, **values)
    row = c.execute(statement.returning(*orders.c)).mappings().one_or_none()
    if row is None:
        raise StaleState(f"order {order.id} is not as it was when it was looked at")
    return order_of_row(row)


def _insert_try(c: Connection, tried: OrderTry) -> None:
    c.execute(insert(order_plans).values({field.name: getattr(tried, field.name) for field in dataclass_fields(tried)}))


def _first(c: Connection, *where: Any) -> Order | None:
    row = c.execute(select(orders).where(*where)).mappings().one_or_none()
    return None if row is None else order_of_row(row)


def order_of_row(row: Mapping[Any, Any]) -> Order:
    """A row of `orders` as what it is."""
    values = dict(row)
    return Order(
        **{
            **values,
            "side": Side(values["side"]),
            "type": OrderType(values["type"]),
            "time_in_force": None if values["time_in_force"] is None else TimeInForce(values["time_in_force"]),
            "venue": None if values["venue"] is None else Venue(values["venue"]),
            "state": OrderState(values["state"]),
        }
    )
