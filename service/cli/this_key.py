"""`cambist this-key`: what the key of a profile may do, and what its restrictions would say, as the service tells it.

Nothing is done or counted. Not guaranteed: that what is allowed is accepted; balances, markets and pauses are not
looked at, and what something is worth is what the command says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.key_options import key_fields
from service.cli.options import JsonOption
from service.cli.output import moment, print_fields, print_json, print_table, shortened, stdout
from service.cli.profile import load_profile
from service.cli.trading import ChainArgument, ProfileOption

app = typer.Typer(no_args_is_help=True, help="The key you use: what it may do, and why something would be refused.")
check = typer.Typer(
    no_args_is_help=True,
    help="Ask what the key's restrictions would say; nothing is done or counted. Status 1: they would refuse.",
)
app.add_typer(check, name="check")

UsdOption = Annotated[str, typer.Option(help="What it would be worth, in dollars.")]
GasOption = Annotated[str | None, typer.Option(help="What would be set aside for gas, in the native asset, as 0.01.")]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Address the request would come from; by default this machine's.")
]


@app.command(epilog="Examples:\n\n  cambist this-key show\n\n  cambist this-key show --profile bot.toml --json")
def show(profile: ProfileOption = None, json: JsonOption = False) -> None:
    """What the key may do, and what is used of its limits today."""
    with Api(load_profile(profile)) as api:
        answer = api.get("/v1/key")
    if json:
        print_json(answer)
        return
    key = answer["key"]
    print_fields(key_fields(key), title=f"API key {key['label']}")
    if not answer["today"]:
        return
    rows = [
        [
            one["limit"] + ("" if one["of"] is None else f" {one['of']}"),
            shortened(one["allowed"]),
            shortened(one["used"]),
            shortened(one["left"]),
        ]
        for one in answer["today"]
    ]
    title = f"\ntoday, until {moment(answer['resets_ms'])} UTC"
    print_table(["limit", "allowed", "used", "left"], rows, title=title, right="allowed, used, left")


@check.command(epilog="Example:\n\n  cambist this-key check read --from 203.0.113.7")
def read(client_ip: FromOption = None, profile: ProfileOption = None, json: JsonOption = False) -> None:
    """Reading balances, orders and withdrawals."""
    _ask({"kind": "read", "client_ip": client_ip}, profile, as_json=json)


@check.command(
    epilog="Examples:\n\n  cambist this-key check order ethereum ETHUSDC --usd 600\n\n"
    "  cambist this-key check order ethereum ETHUSDC --usd 600 --sells ETH=0.2 --gas 0.01"
)
def order(
    chain: ChainArgument,
    market: Annotated[str, typer.Argument(help="Market, as ETHUSDC.")],
    usd: UsdOption,
    sells: Annotated[
        str | None,
        typer.Option(help="What it would sell at most, as ETH=0.2; needed by a key with a limit on that."),
    ] = None,
    gas: GasOption = None,
    client_ip: FromOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """An order on a market."""
    asset, amount = (None, None) if sells is None else _sold(sells)
    asked = {"kind": "order", "chain": chain, "market": market, "usd": usd, "asset": asset, "amount": amount}
    _ask({**asked, "gas": gas, "client_ip": client_ip}, profile, as_json=json)


@check.command(
    epilog="Example:\n\n  cambist this-key check withdrawal ethereum USDC 250"
    " 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --usd 250"
)
def withdrawal(
    chain: ChainArgument,
    asset: Annotated[str, typer.Argument(help="Symbol, as USDC.")],
    amount: Annotated[str, typer.Argument(help="Amount, as 25.5.")],
    destination: Annotated[str, typer.Argument(help="Where it would go.")],
    usd: UsdOption,
    gas: GasOption = None,
    client_ip: FromOption = None,
    profile: ProfileOption = None,
    json: JsonOption = False,
) -> None:
    """A withdrawal to an address."""
    asked = {"kind": "withdrawal", "chain": chain, "asset": asset, "amount": amount, "destination": destination}
    _ask({**asked, "usd": usd, "gas": gas, "client_ip": client_ip}, profile, as_json=json)


def _ask(asked: Mapping[str, str | None], profile: Path | None, *, as_json: bool) -> None:
    with Api(load_profile(profile)) as api:
        answer = api.post("/v1/key/check", {name: value for name, value in asked.items() if value is not None})
    if as_json:
        print_json(answer)
    elif answer["allowed"]:
        stdout().print("the key's restrictions allow it")
    else:
        rows = [[one["code"], escape(one["reason"])] for one in answer["denials"]]
        print_table(["would be refused", "because"], rows)
    if not answer["allowed"]:
        raise typer.Exit(int(ExitStatus.REFUSED))


def _sold(text: str) -> tuple[str, str]:
    asset, separator, amount = text.partition("=")
    if not separator:
        raise CommandFailed("bad_amount", f"{text!r} is not ASSET=amount", hint="ETH=0.2", status=ExitStatus.USAGE)
    return asset, amount
