"""Cancelling orders, and putting one in the place of another, as a trade key of their wallet asks for it.

    cancel         one order, by its id or its client id
    cancel_all     the wallet's open orders of a chain, or of one market; those that are being executed are told apart
    replace        stop_on_failure   both or neither, in one unit of work: never both live, never none
                   allow_failure     each for itself; the answer says what became of both

Guarantees: each accepted request uses its nonce, and leaves an audit entry, in the unit of work that changes something;
pauses do not stand in the way of a cancel. A replacement is judged first, and its funds are counted with those that the
cancelled order gives back. Repeated with the same client id, a replacement answers with what it made, and with what it
had cancelled itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson
from sqlalchemy import Connection, select

from chains.errors import ChainError
from chains.tx.model import Lane
from chains.types import ChainId
from contracts.errors import ContractError
from service.audit.acts import MAX_ITEMS, ORDER_CANCELLED, ORDER_REPLACED
from service.audit.model import Subject
from service.auth.authority import UNREADABLE, Tampered
from service.auth.callers import Caller
from service.auth.caveats import Target, caveats_of, decide, require
from service.auth.restrictions import MarketId
from service.build import ChainRuntime, Services
from service.db.models import audit_entries
from service.errors import ApiError
from service.ids import new_id
from service.markets.state.model import StaleMarket
from service.orders import placement, storage
from service.orders.altered import UNREAD, close_altered
from service.orders.closing import cancel as close
from service.orders.deciding import Decision
from service.orders.model import OPEN_STATES, Order, OrderState
from service.orders.reasons import ASKED, REPLACED
from service.orders.terms import Asked
from service.plans.accepting import accept_once
from service.plans.funds import BalanceUnknown
from service.plans.recording import record_placed

ENTRY_NEAR_MS: Final = 60_000
"""An entry and what it is of are written in one step; their times are read one after the other."""
MOST_CANCELLED: Final = 1_000
"""Orders of one cancel-all: more than an account may have open by default."""

Named = Callable[[Connection], Order | None]
"""Finds the wallet's order that a request names."""


class Mode(StrEnum):
    STOP_ON_FAILURE = "stop_on_failure"
    ALLOW_FAILURE = "allow_failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelledAll:
    cancelled: Sequence[Order]
    executing: Sequence[Order]
    """Open orders that the chain decides about."""
    unusable: Sequence[str]
    """Ids of those whose rows make no sense: what rested of them is ended too, and nothing of them is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """What became of both halves; an error is there where one failed."""

    cancelled: Order | None
    cancel_error: ApiError | None
    placed: Order | None
    place_error: ApiError | None
    created: bool


def by_id(caller: Caller, order_id: int) -> Named:
    return lambda c: storage.order_by_id(c, order_id, wallet_id=caller.wallet.id)


def by_client_id(caller: Caller, client_id: str) -> Named:
    def find(c: Connection) -> Order | None:
        order = storage.order_by_client_id(c, client_id, account_id=caller.account_id)
        return order if order is not None and order.wallet_id == caller.wallet.id else None

    return find


async def cancel(services: Services, caller: Caller, *, named: Named) -> Order:
    """The order, CANCELED. Raises: ApiError: order_not_found, order_not_open, order_being_executed."""

    def work(c: Connection) -> Order:
        caller.claim_nonce(c)
        order = _found(c, caller, named)
        closed = close(c, order, reason=ASKED, now_ms=services.clock.now_ms())
        if order.state is not OrderState.CANCELED:
            _record(c, services, caller, [closed], why=ASKED)
        return closed

    closed = await services.db.run(work)
    _wake(services, closed.chain_id)
    return closed


async def cancel_all(services: Services, caller: Caller, *, chain_id: ChainId, market: str | None) -> CancelledAll:
    """All that the key may trade; what is being executed stays."""

    def work(c: Connection) -> CancelledAll:
        caller.claim_nonce(c)
        cancelled: list[Order] = []
        executing: list[Order] = []
        found = storage.open_of_wallet(c, caller.wallet.id, chain_id=chain_id, market=market)
        unusable, now_ms = list(found.unusable), services.clock.now_ms()
        for order in found.intact[:MOST_CANCELLED]:
            if decide(caveats_of(caller.key), _target(order)) is not None:
                continue
            try:
                # What was written of one, up to where it made no sense, is taken back.
                with c.begin_nested():
                    cancelled.append(close(c, order, reason=ASKED, now_ms=now_ms))
            except ApiError:
                executing.append(order)
            except (Tampered, *UNREADABLE):
                unusable.append(str(order.id))
        for named in unusable:
            close_altered(c, int(named), why=UNREAD, master=services.master, now_ms=now_ms)
        if cancelled:
            _record(c, services, caller, cancelled, why=ASKED)
        return CancelledAll(cancelled=cancelled, executing=executing, unusable=unusable)

    done = await services.db.run(work)
    _wake(services, chain_id)
    return done


async def replace(
    services: Services, runtime: ChainRuntime, caller: Caller, *, named: Named, mode: Mode, asked: Asked
) -> Replaced:
    """Cancel the named order, and place the other one.

    Raises:
        ApiError: with stop_on_failure, one half is refused, and nothing has changed; with allow_failure, both are.
    """
    digest = placement.digest_of(runtime, caller, asked)
    client_id = asked.client_id or f"cambist-{new_id(services.clock)}"
    allowed = mode is Mode.ALLOW_FAILURE
    halves: list[tuple[Order | None, ApiError | None]] = []

    def accept(c: Connection, lane: Lane, decision: Decision) -> Order:
        halves[:] = [_cancelled(c, services, caller, named=named, allowed=allowed)]
        order = placement.write(
            services, runtime, caller, c=c, lane=lane, decision=decision, client_id=client_id, digest=digest
        )
        cancelled = halves[0][0]
        record_placed(
            c,
            caller,
            act=ORDER_REPLACED,
            subject=Subject(kind="order", id=str(order.id)),
            details={"cancelled": 0 if cancelled is None else cancelled.id, "placed": order.id, "mode": mode.value},
            master=services.master,
            now_ms=services.clock.now_ms(),
        )
        return order

    try:
        placed = await accept_once(
            services,
            runtime,
            caller,
            known=lambda c: placement.known(c, caller, asked, digest=digest),
            prepare=lambda: placement.prepare(services, runtime, caller, asked=asked),
            accept=accept,
        )
    except (ApiError, ChainError, ContractError, BalanceUnknown, StaleMarket) as exc:
        if not allowed or (isinstance(exc, ApiError) and exc.code == "replayed"):
            raise
        refused = exc if isinstance(exc, ApiError) else ApiError("try_again", "the new order cannot be judged now")
        try:
            cancelled = await cancel(services, caller, named=named)
        except ApiError as failed:
            raise (refused if failed.code != "replayed" else failed) from exc
        return Replaced(cancelled=cancelled, cancel_error=None, placed=None, place_error=refused, created=True)
    if not placed.created:
        halves[:] = [await services.db.read(lambda c: _cancelled_before(c, caller, named=named, placed=placed.value))]
    cancelled_order, error = halves[0]
    return Replaced(
        cancelled=cancelled_order, cancel_error=error, placed=placed.value, place_error=None, created=placed.created
    )


def _cancelled(
    c: Connection, services: Services, caller: Caller, *, named: Named, allowed: bool
) -> tuple[Order | None, ApiError | None]:
    try:
        order = _found(c, caller, named)
        closed = close(c, order, reason=REPLACED, now_ms=services.clock.now_ms())
        if order.state is OrderState.CANCELED:
            # Cancelled by an earlier request: there is nothing that the new one comes in the place of.
            raise ApiError("order_not_open", f"order {order.id} is {order.state}")
    except ApiError as error:
        if not allowed:
            raise
        return None, error
    _record(c, services, caller, [closed], why=REPLACED)
    return closed, None


def _cancelled_before(
    c: Connection, caller: Caller, *, named: Named, placed: Order
) -> tuple[Order | None, ApiError | None]:
    """What the request that made `placed` did about the named order, by the entry that it left."""
    order = named(c)
    if order is None:
        return None, ApiError("order_not_found", "the wallet has no such order")
    t = audit_entries
    near = t.c.time_ms.between(placed.created_ms - ENTRY_NEAR_MS, placed.created_ms + ENTRY_NEAR_MS)
    of_placed = (t.c.chain == caller.account_id) & (t.c.act == ORDER_REPLACED) & (t.c.subject == str(placed.id))
    details = c.execute(select(t.c.details).where(near, of_placed).limit(1)).scalar_one_or_none()
    if details is not None and orjson.loads(details).get("cancelled") == order.id:
        return order, None
    if order.state in OPEN_STATES:
        return None, ApiError("order_being_executed", f"order {order.id} was being executed on the chain")
    return None, ApiError("order_not_open", f"order {order.id} had ended before")


def _found(c: Connection, caller: Caller, named: Named) -> Order:
    order = named(c)
    if order is None:
        raise ApiError("order_not_found", "the wallet has no such order")
    require(caveats_of(caller.key), _target(order))
    return order


def _target(order: Order) -> Target:
    return Target(
        wallet_id=order.wallet_id,
        chain_id=order.chain_id,
        assets=frozenset({order.base_asset, order.quote_asset}),
        market=MarketId(base=order.base_asset, quote=order.quote_asset),
        destination=None,
    )


def _record(c: Connection, services: Services, caller: Caller, orders: Sequence[Order], *, why: str) -> None:
    """Each by its id: the keeper asks the log before it acts on an order (`altered`)."""
    for start in range(0, len(orders), MAX_ITEMS):
        some = orders[start : start + MAX_ITEMS]
        record_placed(
            c,
            caller,
            act=ORDER_CANCELLED,
            subject=Subject(kind="order", id=str(some[0].id)),
            details={
                "orders": [order.id for order in some],
                "client_ids": [order.client_id for order in some],
                "why": why,
            },
            master=services.master,
            now_ms=services.clock.now_ms(),
        )


def _wake(services: Services, chain_id: ChainId) -> None:
    """A plan behind the rejected one may go."""
    for runtime in services.chains.values():
        if runtime.config.chain_id == chain_id:
            runtime.engine.wake()
