"""The queries of orders and their tries, each inside the caller's unit of work.

    start_try    rests          -> has a plan        the keeper, or placement of what trades at once
    rest_again   has this plan  -> rests             the try came to nothing, and the order may rest
    put_off      rests          -> rests, later      not even tried: a simulation said no, say
    trigger      rests          -> rests, triggered  its stop price was reached

Guarantees: every change is guarded (it changes the order exactly when it is as the caller believed, or raises), so
that of a cancel, a trigger, an expiry and a lane that meet one wins; tries are only appended. The four above make the
order's MAC anew (`sealing`), and only of an order that has it; what ends an order takes it away.
Not guaranteed: that an order belongs to who asks; callers pass the account and wallet. What is held for it moves by
`service.journal.reservations`, in the same unit of work.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Table, func, insert, select, type_coerce, update
from sqlalchemy.types import NullType

from chains.tx.model import Outcome, PlanId
from chains.tx.store import StaleState
from chains.types import ChainId
from contracts.assets import AssetId
from contracts.deployments import Venue
from service.auth.authority import UNREADABLE, Sifted, Tampered, sift
from service.auth.secrets import MasterKey
from service.db.models import intents, order_plans, orders, txs
from service.markets.trades import Side
from service.orders import sealing
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


def insert_order(c: Connection, draft: OrderDraft, *, master: MasterKey, now_ms: int) -> Order:
    """Store a new order, which rests until it is tried or closed.

    Raises: IntegrityError: the account used the client id already.
    """
    values = {
        # Not asdict: it would take the prices apart.
        **{field.name: getattr(draft, field.name) for field in dataclass_fields(draft)},
        "tries": 0,
        "state": OrderState.NEW,
        "filled_base": 0,
        "filled_quote": 0,
        "gas_wei": 0,
        "created_ms": now_ms,
        "updated_ms": now_ms,
    }
    order = order_of_row(c.execute(insert(orders).values(values).returning(*orders.c)).mappings().one())
    mac = sealing.order_mac(master, order)
    c.execute(update(orders).where(orders.c.id == order.id).values(mac=mac))
    return replace(order, mac=mac)


def order_by_id(c: Connection, order_id: int, *, wallet_id: int) -> Order | None:
    """The wallet's order by its id."""
    return _first(c, orders.c.id == order_id, orders.c.wallet_id == wallet_id)


def order_by_client_id(c: Connection, client_id: str, *, account_id: int) -> Order | None:
    """The account's order by the client's own id, which is unique for ever."""
    return _first(c, orders.c.account_id == account_id, orders.c.client_id == client_id)


def order_by_plan(c: Connection, plan_id: PlanId) -> Order | None:
    """The order of which the plan is a try: the one it has now, or one that it had before.

    Raises: Tampered: its row makes no sense.
    """
    return _first(
        c, orders.c.id == select(order_plans.c.order_id).where(order_plans.c.plan_id == plan_id).scalar_subquery()
    )


def is_try(c: Connection, plan_id: PlanId) -> bool:
    """Whether the plan is an order's."""
    return c.execute(select(order_plans.c.plan_id).where(order_plans.c.plan_id == plan_id)).first() is not None


def try_by_plan(c: Connection, plan_id: PlanId) -> OrderTry | None:
    """The limits that a plan of an order carries. Raises: Tampered: its row makes no sense."""
    with _sense(order_plans):
        row = c.execute(select(order_plans).where(order_plans.c.plan_id == plan_id)).mappings().one_or_none()
        return None if row is None else _try(row)


def tries_of(c: Connection, order_id: int) -> Sequence[OrderTry]:
    """All plans that an order ever had, oldest first."""
    t = order_plans
    query = select(t).where(t.c.order_id == order_id).order_by(t.c.created_ms, t.c.number, t.c.plan_id)
    return [_try(row) for row in c.execute(query).mappings()]


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
    last = select(t.c.plan_id).where(t.c.order_id == order_id).order_by(t.c.created_ms.desc(), t.c.number.desc())
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
    # As they are stored: what makes no sense is found where the order itself is read, and keeps no other.
    changing = (orders.c.updated_ms, orders.c.tries, orders.c.retry_after_ms, orders.c.triggered_ms)
    stored = [type_coerce(column, NullType()) for column in changing]
    query = select(orders.c.id, *stored).where(orders.c.chain_id == chain_id, _RESTS).order_by(orders.c.id)
    return {row[0]: RestingStamp(*row[1:]) for row in c.execute(query)}


def resting_of(c: Connection, ids: Sequence[int]) -> tuple[Sequence[Order], Sequence[int]]:
    """Those of the orders that rest, and the ids of those whose rows make no sense."""
    found: list[Order] = []
    unread: list[int] = []
    for start in range(0, len(ids), RESTING_PAGE):
        page = ids[start : start + RESTING_PAGE]
        try:
            found += _resting_among(c, page)
        except Tampered:
            # One row must not keep the others.
            for order_id in page:
                try:
                    found += _resting_among(c, [order_id])
                except Tampered:
                    unread.append(order_id)
    return found, unread


def _resting_among(c: Connection, ids: Sequence[int]) -> list[Order]:
    query = select(orders).where(orders.c.id.in_(ids), _RESTS)
    with _sense(orders):
        return [order_of_row(row) for row in c.execute(query).mappings()]


def resting_now(c: Connection, order_id: int) -> Order | None:
    """The order, if it rests at this moment. Raises: Tampered: its row makes no sense."""
    return _first(c, orders.c.id == order_id, _RESTS)


def open_of_wallet(
    c: Connection, wallet_id: int, *, chain_id: ChainId | None = None, market: str | None = None
) -> Sifted[Order]:
    """The wallet's open orders, oldest first, and the ids of those whose rows make no sense."""
    query = select(orders).where(orders.c.wallet_id == wallet_id, _IS_OPEN).order_by(orders.c.id)
    if chain_id is not None:
        query = query.where(orders.c.chain_id == chain_id)
    if market is not None:
        query = query.where(orders.c.market == market)
    return _sifted(c, query)


def resting_of_key(c: Connection, key_id: str) -> Sequence[int]:
    """Resting orders that a key has placed, oldest first: ids only, which no row keeps from being read."""
    query = select(orders.c.id).where(orders.c.key_id == key_id, _RESTS).order_by(orders.c.id)
    return c.execute(query).scalars().all()


def count_open(c: Connection, account_id: int, *, chain_id: ChainId | None = None, market: str | None = None) -> int:
    """How many orders of the account are open, on one market or on all."""
    query = select(func.count()).select_from(orders).where(orders.c.account_id == account_id, _IS_OPEN)
    if chain_id is not None:
        query = query.where(orders.c.chain_id == chain_id)
    if market is not None:
        query = query.where(orders.c.market == market)
    return int(c.execute(query).scalar_one())


def start_try(
    c: Connection, order: Order, tried: OrderTry, *, quote: Mapping[str, Any], master: MasterKey, now_ms: int
) -> Order:
    """Give a resting order its plan (stored before, in the same unit of work); `quote` is what the try is priced on.

    Raises:
        StaleState: it does not rest any more.
        Tampered: it is not as it was accepted.
    """
    changed = _change_sealed(
        c,
        order,
        _RESTS,
        master=master,
        now_ms=now_ms,
        plan_id=tried.plan_id,
        quote=quote,
        tries=order.tries + 1,
        retry_after_ms=None,
        reason=None,
    )
    values = {field.name: getattr(tried, field.name) for field in dataclass_fields(tried)}
    c.execute(insert(order_plans).values(values | {"mac": sealing.try_mac(master, tried)}))
    return changed


def rest_again(
    c: Connection,
    order: Order,
    *,
    plan_id: PlanId,
    retry_after_ms: int,
    reason: str | None,
    master: MasterKey,
    now_ms: int,
) -> Order:
    """The order rests, after a try that came to nothing; `reason` says why, until the next one.

    Raises:
        StaleState: it is closed, or another plan carries it out.
        Tampered: it is not as it was accepted.
    """
    is_tried = (orders.c.state == OrderState.NEW) & (orders.c.plan_id == plan_id)
    return _change_sealed(
        c,
        order,
        is_tried,
        master=master,
        now_ms=now_ms,
        plan_id=None,
        retry_after_ms=retry_after_ms,
        reason=reason,
    )


def put_off(c: Connection, order: Order, *, retry_after_ms: int, reason: str, master: MasterKey, now_ms: int) -> Order:
    """Not before then is a resting order tried again.

    Raises:
        StaleState: it does not rest any more.
        Tampered: it is not as it was accepted.
    """
    return _change_sealed(c, order, _RESTS, master=master, now_ms=now_ms, retry_after_ms=retry_after_ms, reason=reason)


def trigger(c: Connection, order: Order, *, master: MasterKey, now_ms: int) -> Order:
    """Its stop price was reached: from now on it is a resting limit order, whatever the price does.

    Raises:
        StaleState: it does not rest any more, or was triggered before.
        Tampered: it is not as it was accepted.
    """
    waits = _RESTS & orders.c.triggered_ms.is_(None) & orders.c.stop_price.is_not(None)
    return _change_sealed(c, order, waits, master=master, now_ms=now_ms, triggered_ms=now_ms)


def close_resting(c: Connection, order: Order, *, state: OrderState, reason: str, now_ms: int) -> Order:
    """End an order that rests. Raises: StaleState: it does not rest any more."""
    return _change(c, order, _RESTS, now_ms=now_ms, state=state, reason=reason, mac=None)


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
) -> Sifted[Order]:
    """The wallet's orders, newest first, below `before_id`, and the ids of those whose rows make no sense."""
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
    return _sifted(c, query)


def sells_already(c: Connection, wallet_id: int, *, asset_id: AssetId, besides: int | None = None) -> bool:
    """Whether an open order of the wallet, `besides` one, sells the asset, so that its allowance is spoken for.

    One that rests has no call yet; when it has, it looks here in its turn.
    """
    query = select(orders.c.side, orders.c.base_asset, orders.c.quote_asset).where(
        orders.c.wallet_id == wallet_id, _IS_OPEN, orders.c.plan_id.is_not(None), orders.c.id != (besides or 0)
    )
    return any((base if side == Side.SELL else quote) == asset_id for side, base, quote in c.execute(query))


def move(c: Connection, order: Order, *, expected: Collection[OrderState], now_ms: int, **values: Any) -> Order:
    """Change an order that is in one of the expected states; the answer is the order afterwards. A state is its last.

    Raises:
        StaleState: it is in another state.
    """
    ended = {"mac": None} if "state" in values else {}
    return _change(c, order, orders.c.state.in_(sorted(expected)), now_ms=now_ms, **values, **ended)


def _sifted(c: Connection, query: Select[Any]) -> Sifted[Order]:
    def make(row: RowMapping) -> Order:
        with _sense(orders):
            return order_of_row(row)

    return sift(c, query, table=orders, id_=orders.c.id, make=make)


def _change(c: Connection, order: Order, expected: ColumnElement[bool], *, now_ms: int, **values: Any) -> Order:
    statement = update(orders).where(orders.c.id == order.id, expected).values(updated_ms=now_ms, **values)
    with _sense(orders):
        row = c.execute(statement.returning(*orders.c)).mappings().one_or_none()
        if row is not None:
            return order_of_row(row)
    raise StaleState(f"order {order.id} is not as it was when it was looked at")


def _change_sealed(
    c: Connection, order: Order, expected: ColumnElement[bool], *, master: MasterKey, now_ms: int, **values: Any
) -> Order:
    """A change of what the MAC covers, which is made anew for the order as the caller has it, changed so.

    Raises: Tampered: the order does not have its MAC. StaleState: it has another one by now.
    """
    if not sealing.is_intact(master, order):
        raise Tampered(orders)
    mac = sealing.order_mac(master, replace(order, **values))
    return _change(c, order, expected & (orders.c.mac == order.mac), now_ms=now_ms, **values, mac=mac)


def _first(c: Connection, *where: Any) -> Order | None:
    with _sense(orders):
        row = c.execute(select(orders).where(*where)).mappings().one_or_none()
        return None if row is None else order_of_row(row)


@contextlib.contextmanager
def _sense(table: Table) -> Iterator[None]:
    """Raises: Tampered: what was read is nothing that the service writes."""
    try:
        yield
    except UNREADABLE as exc:
        raise Tampered(table) from exc


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
            "mac": None if values["mac"] is None else bytes(values["mac"]),
        }
    )


def _try(row: Mapping[Any, Any]) -> OrderTry:
    return OrderTry(**(dict(row) | {"mac": None if row["mac"] is None else bytes(row["mac"])}))
