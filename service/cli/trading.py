"""`cambist balances|quote`: through the HTTP API with a key, like any client; and what all trading shares."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption
from service.cli.output import print_fields, print_json, print_table, shortened
from service.cli.profile import load_profile

ChainArgument = Annotated[str, typer.Argument(help="Chain: ethereum, polygon, or one you configured.")]
ProfileOption = Annotated[
    Path | None,
    typer.Option(help="Profile file (mode 600) with url, key and secret; else CAMBIST_KEY and CAMBIST_SECRET_FILE."),
]
SlippageOption = Annotated[int | None, typer.Option(min=0, help="Worst deviation from the quote, in basis points.")]


class Side(StrEnum):
    """Of the market's base asset."""

    BUY = "buy"
    SELL = "sell"


SideArgument = Annotated[Side, typer.Argument(help="Whether the base asset is bought or sold.")]
BaseOption = Annotated[str | None, typer.Option("--base", help="Amount of the base asset, as 0.5.")]
QuoteOption = Annotated[str | None, typer.Option("--quote", help="Amount of the quote asset, instead of --base.")]


def balances(chain: ChainArgument, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """What the key's wallet has on a chain, at one block."""
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/{chain}/balances")
    if json:
        print_json(answer)
        return
    rows = [
        [row["asset"], _amount(row["total"]), _amount(row["available"]), _amount(row["reserved"])]
        for row in answer["balances"]
    ]
    columns = ["asset", "total", "available", "reserved"]
    print_table(columns, rows, title=block_title(answer), right="total, available, reserved")


def quote(
    chain: ChainArgument,
    market: Annotated[str, typer.Argument(help="Market, as ETHUSDC.")],
    side: SideArgument,
    base: BaseOption = None,
    quote_amount: QuoteOption = None,
    slippage_bps: SlippageOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """What a market order would do now: amounts, price, impact, route, gas."""
    params = trade_params(market, side, base=base, quote=quote_amount, slippage_bps=slippage_bps)
    with Api(load_profile(profile)) as api:
        answer = api.get(f"/v1/{chain}/quote", {name: str(value) for name, value in params.items()})
    if json:
        print_json(answer)
        return
    gas = answer["gas"]
    print_fields(
        {
            "you give": money(answer["sell"]),
            "you get": money(answer["buy"]),
            "at worst": f"{money(answer['max_sell'])} for {money(answer['min_buy'])}",
            "price": f"{shortened(answer['price'])} (mid {shortened(answer['mid_price'])},"
            f" impact {answer['price_impact_bps']} bps)",
            "route": _route(answer["route"]),
            "gas": money(gas["native"]) + (f" ≈ {money(gas['quote'])}" if gas["quote"] else ""),
        },
        title=block_title(answer),
    )


def trade_params(
    market: str, side: Side, *, base: str | None, quote: str | None, slippage_bps: int | None
) -> dict[str, Any]:
    """The fields of a request that say what is to be traded. Raises: CommandFailed: not exactly one amount."""
    if (base is None) == (quote is None):
        raise CommandFailed(
            "one_amount_needed", "give either --base or --quote", hint="--base 0.5", status=ExitStatus.USAGE
        )
    params: dict[str, Any] = {"market": market, "side": str(side)}
    params |= {"base_amount": base} if base is not None else {"quote_amount": quote}
    return params if slippage_bps is None else params | {"slippage_bps": slippage_bps}


def _amount(text: str | None) -> str:
    return "unknown" if text is None else shortened(text)


def money(amount: dict[str, str]) -> str:
    """An amount with its asset, for reading."""
    return f"{shortened(amount['amount'])} {amount['asset']}"


def _route(route: dict[str, Any]) -> str:
    """Each leg with its part of the trade, in percent."""
    legs = []
    for leg in route["legs"]:
        path = " → ".join([leg["hops"][0]["token_in"], *(hop["token_out"] for hop in leg["hops"])])
        venues = ", ".join(dict.fromkeys(hop["venue"] for hop in leg["hops"]))
        share = "" if len(route["legs"]) == 1 else f"{(leg['share_bps'] + 50) // 100} % "
        legs.append(f"{share}{path} ({venues})")
    return "; ".join(legs)


def block_title(answer: dict[str, Any]) -> str:
    """Chain, block and age of an answer."""
    block = answer["block"]
    return f"{answer['chain']}, block {block['number']}, {block['age_ms'] / 1000:.0f} s old"
