"""Routes of orders. Placing needs a trade key, looking a read key; a key sees the orders of its own wallet."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response, status
from sqlalchemy import Connection

from chains.units import format_units
from contracts.assets import Market
from service.auth.authority import UNREADABLE, Sifted
from service.auth.callers import ReadCaller, TradeCaller
from service.build import Services
from service.errors import ApiError
from service.markets.lookup import ChainName, Here, chain_named, config_named, market_named, parse_trade
from service.markets.quotes import quote_document
from service.markets.schemas import Amount, QuoteOut
from service.orders import cancelling, placement, storage
from service.orders import fills as fill_rows
from service.orders.model import OPEN_STATES, FillRow, Order, OrderState, OrderType, TimeInForce
from service.orders.schemas import (
    CLIENT_ID,
    CancelledOrders,
    FillOut,
    Fills,
    OrderFillOut,
    OrderIn,
    OrderOut,
    OrderPage,
    Orders,
    OrderTested,
    Refusal,
    ReplacedOut,
    ReplaceIn,
    StepOut,
)
from service.orders.terms import Asked, check_combination, parse_price
from service.orders.view import fill_price, order_document
from service.plans.answers import made_before
from service.plans.progress import steps

router = APIRouter(prefix="/v1", tags=["orders"])

MAX_LISTED = 100
MAX_ID = 2**53 - 1


@router.post("/{chain}/orders", status_code=status.HTTP_202_ACCEPTED, responses=made_before(OrderOut))
async def place_order(
    chain: ChainName, body: OrderIn, caller: TradeCaller, services: Here, response: Response
) -> OrderOut:
    """Accept a market order: 202 once it is durable and funded, 200 with the same order for a known client id."""
    runtime = chain_named(services, chain)
    asked = asked_of(body, market_named(runtime, body.market))
    placed = await placement.place(services, runtime, caller, asked=asked)
    if not placed.created:
        response.status_code = status.HTTP_200_OK
    return OrderOut.model_validate(order_document(placed.value))


@router.post("/{chain}/orders/test")
async def test_order(chain: ChainName, body: OrderIn, caller: TradeCaller, services: Here) -> OrderTested:
    """Everything that placing does, and a simulation of all its transactions; nothing is stored or sent."""
    runtime = chain_named(services, chain)
    asked = asked_of(body, market_named(runtime, body.market))
    decision = await placement.try_out(services, runtime, caller, asked=asked)
    quote = None
    if decision.priced is not None:
        quote = QuoteOut.model_validate(quote_document(runtime, decision.priced, firm=None, clock=services.clock))
    does: Literal["trade", "rest", "expire"] = "trade" if decision.now else "rest" if decision.rests else "expire"
    return OrderTested(outcome=does, reason=decision.expired, quote=quote)


@router.post("/{chain}/orders/replace", status_code=status.HTTP_202_ACCEPTED, responses=made_before(ReplacedOut))
async def replace_order(
    chain: ChainName, body: ReplaceIn, caller: TradeCaller, services: Here, response: Response
) -> ReplacedOut:
    """Cancel an open order and place another one in its stead. `stop_on_failure`: both or neither, in one step."""
    runtime = chain_named(services, chain)
    if (body.cancel_order_id is None) == (body.cancel_client_order_id is None):
        raise ApiError("invalid_parameters", "give exactly one of cancel_order_id and cancel_client_order_id")
    if body.cancel_order_id is not None:
        named = cancelling.by_id(caller, body.cancel_order_id)
    else:
        named = cancelling.by_client_id(caller, body.cancel_client_order_id or "")
    old = await services.db.read(named)
    asked = asked_of(body.order, market_named(runtime, body.order.market), replaces=None if old is None else old.id)
    done = await cancelling.replace(
        services, runtime, caller, named=named, mode=cancelling.Mode(body.mode), asked=asked
    )
    if not done.created or done.placed is None:
        response.status_code = status.HTTP_200_OK
    return ReplacedOut(
        cancelled=_shown(done.cancelled),
        cancel_error=_refusal(done.cancel_error),
        placed=_shown(done.placed),
        place_error=_refusal(done.place_error),
    )


@router.delete("/{chain}/orders")
async def cancel_orders(
    chain: ChainName,
    caller: TradeCaller,
    services: Here,
    market: Annotated[str | None, Query(max_length=48, examples=["ETHUSDC"])] = None,
) -> CancelledOrders:
    """Cancel the wallet's open orders on a chain, or on one market of it. What is being executed is told apart."""
    chain_id = config_named(services, chain).chain_id
    done = await cancelling.cancel_all(services, caller, chain_id=chain_id, market=market)
    executing, unusable = _shown_of(done.executing)
    return CancelledOrders(
        cancelled=[OrderOut.model_validate(order_document(order)) for order in done.cancelled],
        being_executed=executing,
        unusable=[*done.unusable, *unusable],
    )


@router.delete("/orders/{order_id}")
async def cancel_order(
    order_id: Annotated[int, Path(ge=1, le=MAX_ID, examples=[42])], caller: TradeCaller, services: Here
) -> OrderOut:
    """Cancel an open order. Refused with `order_being_executed` once the chain decides about it."""
    closed = await cancelling.cancel(services, caller, named=cancelling.by_id(caller, order_id))
    return OrderOut.model_validate(order_document(closed))


@router.delete("/orders/by-client-id/{client_order_id}")
async def cancel_order_by_client_id(
    client_order_id: Annotated[str, Path(pattern=CLIENT_ID, examples=["my-order-1"])],
    caller: TradeCaller,
    services: Here,
) -> OrderOut:
    """Cancel an open order by the client's own id."""
    closed = await cancelling.cancel(services, caller, named=cancelling.by_client_id(caller, client_order_id))
    return OrderOut.model_validate(order_document(closed))


@router.get("/fills")
async def list_fills(
    caller: ReadCaller,
    services: Here,
    chain: Annotated[str | None, Query(max_length=32, examples=["ethereum"])] = None,
    market: Annotated[str | None, Query(max_length=48, examples=["ETHUSDC"])] = None,
    order_id: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[42])] = None,
    since_ms: Annotated[int | None, Query(ge=0, le=MAX_ID, examples=[1_767_225_600_000])] = None,
    until_ms: Annotated[int | None, Query(ge=0, le=MAX_ID, examples=[1_767_312_000_000])] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[120])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, examples=[50])] = 50,
) -> Fills:
    """The wallet's fills and their reversals, newest first; `before` an id continues a list."""
    chain_id = None if chain is None else config_named(services, chain).chain_id

    def find(c: Connection) -> list[tuple[FillRow, Order]]:
        return fill_rows.fills_of_wallet(
            c,
            caller.wallet.id,
            chain_id=chain_id,
            market=market,
            order_id=order_id,
            since_ms=since_ms,
            until_ms=until_ms,
            before_id=before,
            limit=limit,
        )

    found = await services.db.read(find)
    return Fills(
        fills=[
            OrderFillOut(
                id=fill.id,
                order_id=order.id,
                client_order_id=order.client_id,
                chain=order.quote["chain"],
                market=order.market,
                side=order.side.value,
                price=fill_price(fill, order),
                created_ms=fill.created_ms,
                **_fill(fill, order).model_dump(),
            )
            for fill, order in found
        ]
    )


@router.get("/orders")
async def list_orders(
    caller: ReadCaller,
    services: Here,
    chain: Annotated[str | None, Query(max_length=32, examples=["ethereum"])] = None,
    market: Annotated[str | None, Query(max_length=48, examples=["ETHUSDC"])] = None,
    state: OrderState | None = None,
    open: Annotated[bool | None, Query(examples=[True])] = None,
    client_order_id: Annotated[str | None, Query(pattern=CLIENT_ID, examples=["my-order-1"])] = None,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID, examples=[120])] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED, examples=[50])] = 50,
) -> Orders:
    """The wallet's orders, newest first; `before` an id continues a list. With `client_order_id` one or none, with
    `open` those that are open, or closed."""
    chain_id = None if chain is None else config_named(services, chain).chain_id

    def find(c: Connection) -> Sifted[Order]:
        return storage.list_orders(
            c,
            caller.wallet.id,
            chain_id=chain_id,
            market=market,
            states=_states(state, open),
            client_id=client_order_id,
            before_id=before,
            limit=limit,
        )

    found = await services.db.read(find)
    services.refusals.note_unusable(found, account_id=caller.account_id)
    shown, unusable = _shown_of(found.intact)
    return Orders(orders=shown, unusable=[*found.unusable, *unusable])


@router.get("/orders/{order_id}")
async def get_order(
    order_id: Annotated[int, Path(ge=1, le=MAX_ID, examples=[42])], caller: ReadCaller, services: Here
) -> OrderPage:
    """One order, with its transactions and fills."""
    return await read_order_page(services, order_id, wallet_id=caller.wallet.id)


async def read_order_page(services: Services, order_id: int, *, wallet_id: int) -> OrderPage:
    """The same for whoever answers it. Raises: ApiError: order_not_found."""

    def find(c: Connection) -> OrderPage | None:
        order = storage.order_by_id(c, order_id, wallet_id=wallet_id)
        return None if order is None else _page(c, order)

    page = await services.db.read(find)
    if page is None:
        raise ApiError("order_not_found", f"the wallet has no order {order_id}")
    return page


def asked_of(body: OrderIn, market: Market, *, replaces: int | None = None) -> Asked:
    """The request, parsed. Raises: ApiError: invalid_parameters, invalid_amount, invalid_price, amount_too_small."""
    type_ = OrderType(body.type)
    time_in_force = check_combination(
        type=type_,
        time_in_force=None if body.time_in_force is None else TimeInForce(body.time_in_force),
        has_price=body.price is not None,
        has_stop_price=body.stop_price is not None,
        has_base_amount=body.base_amount is not None,
        has_quote_amount=body.quote_amount is not None,
        has_expiry=body.expires_ms is not None,
        has_count_gas=body.count_gas is not None,
    )
    return Asked(
        trade=parse_trade(
            market,
            side=body.side,
            base_amount=body.base_amount,
            quote_amount=body.quote_amount,
            venue=body.venue,
        ),
        slippage_bps=body.slippage_bps,
        max_price_impact_bps=body.max_price_impact_bps,
        client_id=body.client_order_id,
        type=type_,
        time_in_force=time_in_force,
        price=None if body.price is None else parse_price(body.price, market, field="price"),
        stop_price=None if body.stop_price is None else parse_price(body.stop_price, market, field="stop_price"),
        expires_ms=body.expires_ms,
        count_gas=body.count_gas,
        replaces=replaces,
    )


def _page(c: Connection, order: Order) -> OrderPage:
    fills = [_fill(fill, order) for fill in fill_rows.list_fills(c, order.id)]
    transactions = [
        StepOut(
            of_try=number,
            position=step.position,
            state=step.state,
            outcome=step.outcome.value,
            nonce=step.nonce,
            tx_hash=step.tx_hash,
            block_number=step.block_number,
        )
        for number, tried in enumerate(storage.tries_of(c, order.id), start=1)
        for step in steps(c, tried.plan_id)
    ]
    return OrderPage.model_validate(order_document(order) | {"transactions": transactions, "fills": fills})


def _fill(fill: FillRow, order: Order) -> FillOut:
    base, quote, native = order.quote["base"], order.quote["quote"], order.quote["native"]
    return FillOut(
        tx_hash=fill.tx_hash,
        block_number=fill.block.number,
        block_hash=fill.block.hash,
        base=format_units(fill.base, base["decimals"]),
        quote=format_units(fill.quote, quote["decimals"]),
        gas=Amount(asset=native["symbol"], amount=format_units(fill.gas_wei, native["decimals"])),
        reversal=fill.reverses is not None,
    )


def _states(state: OrderState | None, is_open: bool | None) -> frozenset[OrderState] | None:
    """Those that are asked for; None: all."""
    if is_open is None:
        return None if state is None else frozenset({state})
    wanted = OPEN_STATES if is_open else frozenset(OrderState) - OPEN_STATES
    return wanted if state is None else wanted & {state}


def _shown_of(found: Sequence[Order]) -> tuple[list[OrderOut], list[str]]:
    """What a list shows, and the ids of those that cannot be shown: something else has written their rows."""
    shown: list[OrderOut] = []
    unusable: list[str] = []
    for order in found:
        try:
            shown.append(OrderOut.model_validate(order_document(order)))
        except UNREADABLE:
            unusable.append(str(order.id))
    return shown, unusable


def _shown(order: Order | None) -> OrderOut | None:
    return None if order is None else OrderOut.model_validate(order_document(order))


def _refusal(error: ApiError | None) -> Refusal | None:
    return None if error is None else Refusal(code=error.code, detail=error.message, hint=error.hint)
