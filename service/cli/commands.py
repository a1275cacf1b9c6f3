"""The command tree."""

from typing import Annotated

import typer

from service.cli import host, keys, trading, wallets

EPILOG = """
Exit statuses: 0 done, 1 refused or failed, 2 wrong usage, 3 unreachable, 4 not finished in time, 5 outcome unknown.
"""

app = typer.Typer(
    name="cambist",
    help="Your own on-chain wallets in the shape of an account at an exchange.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(host.init)
app.command("serve")(host.serve)
app.command("status")(host.status)
app.add_typer(wallets.app, name="wallet")
app.add_typer(keys.app, name="key")
app.add_typer(host.config_app, name="config")
app.command("balances")(trading.balances)
app.command("quote")(trading.quote)
app.command("order")(trading.order)
app.command("withdraw")(trading.withdraw)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Your own on-chain wallets in the shape of an account at an exchange."""
    if version:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            typer.echo(f"cambist {installed('cambist')}")
        except PackageNotFoundError:
            typer.echo("cambist (checkout)")
        raise typer.Exit
