"""`cambist order place|cancel|cancel-all|replace|list|show|fills`: orders through the HTTP API with a key."""

import uuid
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import quote as quoted

import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption
from service.cli.output import print_fields, print_json, print_table, shortened, warn_unusable
from service.cli.profile import load_profile
from service.cli.trading import (
    BaseOption,
    ChainArgument,
    ProfileOption,
    QuoteOption,
    Side,
    SideArgument,
    SlippageOption,
    money,
    trade_params,
)
from service.cli.waiting import ORDER_ENDED, TimeoutOption, WaitOption, judge, wait_for

app: Final = typer.Typer(help="Orders of a key's wallet, of all types.", no_args_is_help=True)


class Kind(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    LIMIT_MAKER = "limit_maker"
    STOP_LOSS_LIMIT = "stop_loss_limit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"


class Force(StrEnum):
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class Mode(StrEnum):
    STOP_ON_FAILURE = "stop_on_failure"
    ALLOW_FAILURE = "allow_failure"


MarketArgument = Annotated[str, typer.Argument(help="Market, as ETHUSDC.")]
OrderArgument = Annotated[str, typer.Argument(help="The order's number, or your own id of it.")]
KindOption = Annotated[Kind, typer.Option("--type", help="What kind of order.")]
ForceOption = Annotated[
    Force | None, typer.Option("--time-in-force", help="Of a limit order: gtc by default, ioc or fok.")
]
PriceOption = Annotated[str | None, typer.Option(help="Limit price, quote for one of base.")]
StopOption = Annotated[str | None, typer.Option("--stop-price", help="Price at which a stop order becomes one.")]
ExpiresOption = Annotated[int | None, typer.Option("--expires-ms", help="When it stops resting, in ms since 1970.")]
GasOption = Annotated[
    bool | None, typer.Option("--count-gas/--no-count-gas", help="Whether gas counts as part of the price.")
]
ImpactOption = Annotated[
    int | None, typer.Option("--max-price-impact-bps", min=0, help="Most that it may move the price, in basis points.")
]
VenueOption = Annotated[
    str | None, typer.Option(help="Only through this venue's pools, as uniswap_v3; else the best way over all.")
]
ClientIdOption = Annotated[
    str | None, typer.Option(help="Your own id; the same id never trades twice. A fresh one by default.")
]


@app.command(
    "place",
    epilog="Examples:\n\n  cambist order place ethereum ETHUSDC sell --base 0.5 --wait\n\n"
    "  cambist order place ethereum ETHUSDC buy --base 0.5 --type limit --price 2900\n\n"
    "  cambist order place polygon POLUSDC buy --quote 100 --test",
)
def place(
    chain: ChainArgument,
    market: MarketArgument,
    side: SideArgument,
    base: BaseOption = None,
    quote: QuoteOption = None,
    kind: KindOption = Kind.MARKET,
    force: ForceOption = None,
    price: PriceOption = None,
    stop_price: StopOption = None,
    expires_ms: ExpiresOption = None,
    count_gas: GasOption = None,
    slippage_bps: SlippageOption = None,
    max_impact_bps: ImpactOption = None,
    venue: VenueOption = None,
    client_id: ClientIdOption = None,
    test: Annotated[bool, typer.Option("--test", help="Check everything, send nothing.")] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 180,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Place an order: a market order, or one with a limit price that may rest."""
    body = _body(
        market,
        side,
        base=base,
        quote=quote,
        kind=kind,
        force=force,
        price=price,
        stop_price=stop_price,
        expires_ms=expires_ms,
        count_gas=count_gas,
        slippage_bps=slippage_bps,
        max_impact_bps=max_impact_bps,
        venue=venue,
        client_id=client_id,
    )
    with Api(load_profile(profile)) as api:
        if test:
            answer = api.post(f"/v1/{chain}/orders/test", body)
        else:
            answer = api.post(f"/v1/{chain}/orders", body)
            if wait:
                answer = wait_for(
                    lambda: api.get(f"/v1/orders/{answer['id']}"), answer, ended=ORDER_ENDED, timeout_s=timeout
                )
    if json:
        print_json(answer)
    elif test:
        print_fields({"result": f"would {answer['outcome']}" + (f" ({answer['reason']})" if answer["reason"] else "")})
    else:
        _show(answer)
    judge(answer, wait=wait and not test)


@app.command("cancel", epilog="Example:\n\n  cambist order cancel 42")
def cancel(order: OrderArgument, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """Cancel an open order. One that is being executed on the chain is not cancelled any more."""
    path = f"/v1/orders/{order}" if order.isdigit() else f"/v1/orders/by-client-id/{quoted(order, safe='')}"
    with Api(load_profile(profile)) as api:
        answer = api.delete(path)
    if json:
        print_json(answer)
    else:
        _show(answer)


@app.command("cancel-all", epilog="Example:\n\n  cambist order cancel-all ethereum --market ETHUSDC")
def cancel_all(
    chain: ChainArgument,
    market: Annotated[str | None, typer.Option(help="Of this market only.")] = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel all open orders of the key's wallet on a chain."""
    with Api(load_profile(profile)) as api:
        answer = api.delete(f"/v1/{chain}/orders" + (f"?market={quoted(market, safe='')}" if market else ""))
    if json:
        print_json(answer)
        return
    print_fields({"cancelled": str(len(answer["cancelled"])), "being executed": str(len(answer["being_executed"]))})
    warn_unusable(answer)


@app.command(
    "replace",
    epilog="Example:\n\n  cambist order replace 42 ethereum ETHUSDC sell --base 0.5 --type limit --price 3100",
)
def replace(
    order: OrderArgument,
    chain: ChainArgument,
    market: MarketArgument,
    side: SideArgument,
    base: BaseOption = None,
    quote: QuoteOption = None,
    kind: KindOption = Kind.LIMIT,
    force: ForceOption = None,
    price: PriceOption = None,
    stop_price: StopOption = None,
    expires_ms: ExpiresOption = None,
    count_gas: GasOption = None,
    slippage_bps: SlippageOption = None,
    max_impact_bps: ImpactOption = None,
    venue: VenueOption = None,
    client_id: ClientIdOption = None,
    mode: Annotated[Mode, typer.Option(help="Both or neither, or each for itself.")] = Mode.STOP_ON_FAILURE,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel an open order and place another one in its stead, in one step."""
    body = _body(
        market,
        side,
        base=base,
        quote=quote,
        kind=kind,
        force=force,
        price=price,
        stop_price=stop_price,
        expires_ms=expires_ms,
        count_gas=count_gas,
        slippage_bps=slippage_bps,
        max_impact_bps=max_impact_bps,
        venue=venue,
        client_id=client_id,
    )
    named = {"cancel_order_id": int(order)} if order.isdigit() else {"cancel_client_order_id": order}
    with Api(load_profile(profile)) as api:
        answer = api.post(f"/v1/{chain}/orders/replace", {**named, "mode": str(mode), "order": body})
    if json:
        print_json(answer)
        return
    for half in ("cancelled", "placed"):
        if answer[half] is not None:
            _show(answer[half])
    for half, words in (("cancel_error", "not cancelled"), ("place_error", "not placed")):
        if answer[half] is not None:
            print_fields({words: f"{answer[half]['code']}: {answer[half]['detail']}"})
    if answer["placed"] is None:
        raise typer.Exit(int(ExitStatus.REFUSED))


@app.command("list", epilog="Example:\n\n  cambist order list --open --market ETHUSDC")
def list_orders(
    chain: Annotated[str | None, typer.Option(help="Of this chain only.")] = None,
    market: Annotated[str | None, typer.Option(help="Of this market only.")] = None,
    only_open: Annotated[bool, typer.Option("--open", help="Open orders only.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 50,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """The orders of the key's wallet, newest first."""
    query = {"chain": chain, "market": market, "open": "true" if only_open else None, "limit": str(limit)}
    with Api(load_profile(profile)) as api:
        answer = api.get("/v1/orders", {name: value for name, value in query.items() if value is not None})
    if json:
        print_json(answer)
        return
    rows = [
        [
            str(order["id"]),
            order["chain"],
            order["market"],
            order["side"],
            order["type"],
            _size(order),
            _optional(order["price"]),
            "rests" if order["resting"] else order["state"],
            f"{shortened(order['filled_base'])} at {_optional(order['average_price'])}",
        ]
        for order in answer["orders"]
    ]
    print_table(
        ["order", "chain", "market", "side", "type", "size", "price", "state", "filled"], rows, right="size, price"
    )
    warn_unusable(answer)


@app.command("show", epilog="Example:\n\n  cambist order show 42")
def show(order: OrderArgument, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """One order, with its transactions and fills."""
    with Api(load_profile(profile)) as api:
        number = order
        if not order.isdigit():
            found = api.get("/v1/orders", {"client_order_id": order})["orders"]
            if not found:
                raise CommandFailed("order_not_found", f"the wallet has no order {order!r}", hint="cambist order list")
            number = str(found[0]["id"])
        answer = api.get(f"/v1/orders/{number}")
    if json:
        print_json(answer)
        return
    _show(answer)
    rows = [
        [f"{step['of_try']}.{step['position']}", step["state"], step["outcome"], step["tx_hash"] or "-"]
        for step in answer["transactions"]
    ]
    if rows:
        print_table(["step", "state", "outcome", "transaction"], rows, title="Transactions")


@app.command("fills", epilog="Example:\n\n  cambist order fills --market ETHUSDC")
def fills(
    chain: Annotated[str | None, typer.Option(help="Of this chain only.")] = None,
    market: Annotated[str | None, typer.Option(help="Of this market only.")] = None,
    order: Annotated[int | None, typer.Option(min=1, help="Of this order only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 50,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """What the orders of the key's wallet have traded, newest first."""
    query = {"chain": chain, "market": market, "order_id": None if order is None else str(order), "limit": str(limit)}
    with Api(load_profile(profile)) as api:
        answer = api.get("/v1/fills", {name: value for name, value in query.items() if value is not None})
    if json:
        print_json(answer)
        return
    rows = [
        [
            str(fill["order_id"]),
            fill["market"],
            fill["side"] + (" (undone)" if fill["reversal"] else ""),
            shortened(fill["base"]),
            shortened(fill["quote"]),
            _optional(fill["price"]),
            money(fill["gas"]),
        ]
        for fill in answer["fills"]
    ]
    print_table(["order", "market", "side", "base", "quote", "price", "gas"], rows, right="base, quote, price")


def _body(
    market: str,
    side: Side,
    *,
    base: str | None,
    quote: str | None,
    kind: Kind,
    force: Force | None,
    price: str | None,
    stop_price: str | None,
    expires_ms: int | None,
    count_gas: bool | None,
    slippage_bps: int | None,
    max_impact_bps: int | None,
    venue: str | None,
    client_id: str | None,
) -> dict[str, Any]:
    """The request of an order; what was not given is left out, and a limit order rests unless it says otherwise."""
    if kind is Kind.LIMIT and force is None:
        force = Force.GTC
    given = {
        "time_in_force": None if force is None else str(force),
        "price": price,
        "stop_price": stop_price,
        "expires_ms": expires_ms,
        "count_gas": count_gas,
        "max_price_impact_bps": max_impact_bps,
        "venue": venue,
    }
    return (
        trade_params(market, side, base=base, quote=quote, slippage_bps=slippage_bps)
        | {"type": str(kind), "client_order_id": client_id or f"cli-{uuid.uuid4().hex}"}
        | {name: value for name, value in given.items() if value is not None}
    )


def _show(answer: dict[str, Any]) -> None:
    limit = answer["limit"]
    state = "NEW, rests" if answer["resting"] else answer["state"]
    fields = {
        "type": answer["type"] + (f" {answer['time_in_force']}" if answer["time_in_force"] else ""),
        "state": state + (f" ({answer['reason']})" if answer["reason"] else ""),
    }
    if answer["price"] is not None:
        stop = "" if answer["stop_price"] is None else f", once {shortened(answer['stop_price'])} is reached"
        fields["limit price"] = shortened(answer["price"]) + stop
    fields["at worst"] = (
        f"{shortened(limit['max_sold'])} {limit['sold_asset']}"
        f" for {shortened(limit['min_bought'])} {limit['bought_asset']}"
    )
    if answer["average_price"] is not None:
        fields["filled"] = f"{shortened(answer['filled_base'])} for {shortened(answer['filled_quote'])}"
        fields["price"] = shortened(answer["average_price"])
        fields["gas"] = money(answer["gas"])
    fields["client id"] = answer["client_order_id"]
    print_fields(fields, title=f"Order {answer['id']}: {answer['side']} {answer['market']} on {answer['chain']}")


def _size(order: dict[str, Any]) -> str:
    return (
        shortened(order["base_amount"]) if order["base_amount"] is not None else f"{shortened(order['quote_amount'])} q"
    )


def _optional(text: str | None) -> str:
    return "-" if text is None else shortened(text)
