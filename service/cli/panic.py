"""`cambist panic`: stop everything, a chain, a wallet or a key, and let it go on."""

from typing import Annotated, Any

import typer

from service.cli.door import act
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_json, print_table, stderr

app = typer.Typer(
    no_args_is_help=True,
    help="Pause everything, a chain, a wallet or a key: nothing is accepted or signed, and what is open is closed.",
)

ChainOption = Annotated[str | None, typer.Option(help="Only this chain.")]
WalletOption = Annotated[str | None, typer.Option(help="Only this wallet: label or address.")]
KeyOption = Annotated[str | None, typer.Option(help="Only this API key: key or label.")]


@app.command(
    epilog="Examples:\n\n  cambist panic on --reason 'strange withdrawals'\n\n  cambist panic on --wallet main\n\n"
    "  cambist panic on --chain polygon"
)
def on(
    reason: Annotated[str, typer.Option(help="Why, for whoever looks later.")] = "panic",
    chain: ChainOption = None,
    wallet: WalletOption = None,
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Pause now. Transactions that are not mined yet are closed by self-sends; one that was sent may still win."""
    params = {"reason": reason, **_target(chain, wallet=wallet, key=key)}
    answer = act(settings_of_host(), "panic.on", params, doing="pausing")
    if json:
        print_json(answer)
        return
    stderr().print(f"[bold]paused[/] {_named(answer)}; {answer['closing']} open transactions are being closed")


@app.command(epilog="Example:\n\n  cambist panic off --wallet main")
def off(
    chain: ChainOption = None, wallet: WalletOption = None, key: KeyOption = None, json: JsonOption = False
) -> None:
    """End the pause of exactly that scope. What was closed stays closed."""
    answer = act(settings_of_host(), "panic.off", _target(chain, wallet=wallet, key=key), doing="ending the pause")
    if json:
        print_json(answer)
        return
    stderr().print(f"not paused any more: {_named(answer)}")


@app.command(epilog="Example:\n\n  cambist panic status --json")
def status(json: JsonOption = False) -> None:
    """What is paused."""
    answer = act(settings_of_host(), "panic.status", {}, doing="reading the pauses")
    if json:
        print_json(answer)
        return
    if not answer["pauses"]:
        stderr().print("nothing is paused")
        return
    print_table(
        ["paused", "since", "reason"],
        [[_named(one), moment(one["since_ms"]), one["reason"]] for one in answer["pauses"]],
    )


def _target(chain: str | None, *, wallet: str | None, key: str | None) -> dict[str, Any]:
    given = {"chain": chain, "wallet": wallet, "key": key}
    return {name: value for name, value in given.items() if value is not None}


def _named(one: dict[str, Any]) -> str:
    return "everything" if one["scope"] == "all" else f"{one['scope']} {one['subject']}"
