"""`cambist asset`: the listed assets, and the operator's own additions to them."""

import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from service.cli.door import act
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import print_fields, print_json, print_table, stderr, stdout
from service.settings import Settings

app = typer.Typer(no_args_is_help=True, help="See what is listed, and list tokens of your own.")

ChainArgument = Annotated[str, typer.Argument(help="A chain's key, such as ethereum.")]
AddressArgument = Annotated[
    str, typer.Argument(help="The token's address. Take it from its issuer, not from a search.")
]
HolderOption = Annotated[
    str | None, typer.Option(help="An account that has some of it, where no pool has: its transfers are tried from it.")
]
_STYLES = {"refused": "bold red", "warning": "yellow", "note": "dim"}


@app.command("list", epilog="Examples:\n\n  cambist asset list ethereum\n\n  cambist asset list polygon --json")
def list_(chain: ChainArgument, json: JsonOption = False) -> None:
    """The chain's assets with their markets, and which of them were added here."""
    answer = act(settings_of_host(), "asset.list", {"chain": chain}, doing="reading the list")
    if json:
        print_json(answer)
        return
    print_table(
        ["symbol", "decimals", "address", "listed", "feed", "status", "markets"],
        [
            [
                one["symbol"],
                str(one["decimals"]),
                one["address"] or "native",
                "added here" if one["added"] else "packaged",
                one["feed"] or "none",
                one["status"],
                ", ".join(_market(symbol, one["unguarded"]) for symbol in one["markets"]),
            ]
            for one in answer["assets"]
        ],
        right="decimals",
    )


@app.command(
    epilog="Examples:\n\n  cambist asset check ethereum 0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984\n\n"
    "  cambist asset check polygon 0xc2132D05D31c914a87C6611C10748AEb04B58e8F --label USDT --json"
)
def check(
    chain: ChainArgument,
    address: AddressArgument,
    label: Annotated[str | None, typer.Option(help="The symbol that it would be listed under.")] = None,
    holder: HolderOption = None,
    json: JsonOption = False,
) -> None:
    """Look at a token and try it out in a simulation. Nothing is written, sent or signed. Status 1: it is refused."""
    params = {"chain": chain, "address": address, "label": label, "holder": holder}
    report = act(settings_of_host(), "asset.check", params, doing="looking at the token")
    if json:
        print_json(report)
    else:
        _show(report)
    if report["verdict"] == "refused":
        raise typer.Exit(int(ExitStatus.REFUSED))


@app.command(
    epilog="Examples:\n\n"
    "  cambist asset add ethereum 0x1f9840a85d5aF5bf1D1762F925BDADdC4201F984 UNI --quote USDC --quote ETH\n\n"
    "  cambist asset add ethereum 0x1f98...F984 UNI --quote USDC --feed 0x553303d4...2c6c4F5e --heartbeat-s 3600\n\n"
    "  cambist asset add polygon 0x2C89...7A3e XYZ --quote USDC --unguarded --accept proxy,can_pause"
)
def add(
    chain: ChainArgument,
    address: AddressArgument,
    label: Annotated[str, typer.Argument(help="The symbol to list it under: capitals and digits, at most 16.")],
    quote: Annotated[list[str], typer.Option(help="A listed asset to trade it for; may be given several times.")],
    feed: Annotated[
        str | None, typer.Option(help="Its USD price feed: a Chainlink proxy's address, or the name of a listed feed.")
    ] = None,
    heartbeat_s: Annotated[int | None, typer.Option(help="The feed's heartbeat in seconds, as Chainlink says.")] = None,
    unguarded: Annotated[
        bool, typer.Option("--unguarded", help="Trade its markets without a second opinion where there is none.")
    ] = False,
    accept: Annotated[str, typer.Option(help="Codes of warnings that you have seen and accept, with commas.")] = "",
    holder: HolderOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Warnings still need --accept.")] = False,
    json: JsonOption = False,
) -> None:
    """Check a token and list it. It is in use after the next start."""
    settings = settings_of_host()
    accepted = [code.strip() for code in accept.split(",") if code.strip()]
    if not yes and not json:
        accepted += _asked(settings, chain, address, label=label, holder=holder, accepted=accepted)
    params = {
        "chain": chain,
        "address": address,
        "label": label,
        "quotes": quote,
        "accepted": accepted,
        "unguarded": unguarded,
        "feed": feed,
        "heartbeat_s": heartbeat_s,
        "holder": holder,
    }
    answer = act(settings, "asset.add", params, doing="checking and listing the token")
    if json:
        print_json(answer)
        return
    shown = {"address": answer["address"], "markets": ", ".join(answer["markets"]), "written to": answer["file"]}
    print_fields(shown, title=f"Listed on {chain} as {answer['symbol']}")
    stderr().print(f"\n{answer['opinions']}\n{answer['next']}", markup=False)


@app.command(epilog="Examples:\n\n  cambist asset remove ethereum UNI\n\n  cambist asset remove polygon XYZ --json")
def remove(
    chain: ChainArgument,
    symbol: Annotated[str, typer.Argument(help="The label that it was added under.")],
    despite_balances: Annotated[
        bool,
        typer.Option(
            "--despite-balances",
            help="Although wallets have some: it stays there, and neither balances nor books show it any more.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Take an asset that was added out of the list, with its markets. It is gone after the next start."""
    params = {"chain": chain, "symbol": symbol, "despite_balances": despite_balances}
    answer = act(settings_of_host(), "asset.remove", params, doing="removing the asset")
    if json:
        print_json(answer)
        return
    print_fields({"left behind": answer["left_behind"] or "nothing"}, title=f"{symbol} is no longer listed on {chain}")
    stderr().print(f"\n{answer['next']}", markup=False)


def _asked(
    settings: Settings, chain: str, address: str, *, label: str, holder: str | None, accepted: list[str]
) -> list[str]:
    """Show the findings and ask; the answer is the codes of the warnings that were accepted so."""
    params = {"chain": chain, "address": address, "label": label, "holder": holder}
    report = act(settings, "asset.check", params, doing="looking at the token")
    _show(report)
    if report["verdict"] == "refused":
        raise typer.Exit(int(ExitStatus.REFUSED))
    warnings = [one["code"] for one in report["findings"] if one["level"] == "warning"]
    if not set(warnings) - set(accepted):
        return []
    if not sys.stdin.isatty():
        raise CommandFailed(
            "warnings",
            "there are warnings, and nobody to ask",
            hint=f"If that is as you want it: --accept {','.join(dict.fromkeys(warnings))}",
        )
    typer.confirm(f"List it as {label} in spite of that?", abort=True, err=True)
    return warnings


def _show(report: dict[str, Any]) -> None:
    proxy = report["proxy"]
    print_fields(
        {
            "address": report["address"],
            # Its own words, which are no markup.
            "symbol": escape(report["symbol"] or "unknown"),
            "name": escape(report["name"] or "unknown"),
            "decimals": "unknown" if report["decimals"] is None else str(report["decimals"]),
            "issued": report["total_supply"] or "unknown",
            "code": f"{report['code_bytes']} bytes" + (f", {proxy['kind']} proxy" if proxy else ""),
            "flags": ", ".join(report["flags"]) or "none",
            "block": str(report["block"]["number"]),
        },
        title=f"Token on {report['chain']}: {report['verdict']}",
    )
    if report["pools"]:
        print_table(
            ["venue", "fee", "pool", "tokens", "quote", "amount"],
            [
                [one["venue"], f"{one['fee_pips']} pips", one["pool"], one["tokens"], one["quote"], one["quote_amount"]]
                for one in report["pools"]
            ],
            title="\nPools",
            right="fee, tokens, amount",
        )
    console = stdout()
    console.print()
    for one in report["findings"]:
        console.print(f"[{_STYLES[one['level']]}]{one['level']}[/] {one['code']}: {escape(one['text'])}")
    if not report["findings"]:
        console.print("Nothing was found against it.")


def _market(symbol: str, unguarded: list[str]) -> str:
    return f"{symbol} (unguarded)" if symbol in unguarded else symbol
