"""The command tree."""

from typing import Annotated, Final

import typer

from service.cli import (
    addresses,
    approvals,
    assets,
    audit,
    host,
    keys,
    looking,
    market,
    members,
    my_audit,
    my_keys,
    orders,
    panic,
    people,
    this_key,
    trading,
    transactions,
    txs,
    users,
    wallets,
    withdrawals,
)

EPILOG = """
Exit statuses: 0 done, 1 refused or failed, 2 wrong usage, 3 unreachable, 4 not finished in time, 5 outcome unknown.
"""

HOST: Final = "The operator, on the host"
PERSON: Final = "A person, signed in"
KEY: Final = "A bot or a person with an API key"
"""Who a command is for: its group in the help."""

app = typer.Typer(
    name="cambist",
    help="Your own on-chain wallets in the shape of an account at an exchange.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


app.command(
    "init", rich_help_panel=HOST, epilog=_examples("cambist init", "cambist init --account desk --owner maria")
)(host.init)
app.command(
    "serve", rich_help_panel=HOST, epilog=_examples("cambist serve", "cambist serve --password-file keystore.password")
)(host.serve)
app.command("status", rich_help_panel=HOST, epilog=_examples("cambist status --json"))(host.status)
app.add_typer(wallets.app, name="wallet", rich_help_panel=HOST)
app.add_typer(keys.app, name="key", rich_help_panel=HOST)
app.command("register", rich_help_panel=PERSON, epilog=_examples("cambist register ada --invitation-file invitation"))(
    people.register
)
app.command(
    "sign-in",
    rich_help_panel=PERSON,
    epilog=_examples("cambist sign-in ada", "cambist sign-in ada --url https://cambist.example"),
)(people.sign_in)
app.command("sign-out", rich_help_panel=PERSON, epilog=_examples("cambist sign-out"))(people.sign_out)
app.command("whoami", rich_help_panel=PERSON, epilog=_examples("cambist whoami --json"))(people.whoami)
app.command("password", rich_help_panel=PERSON, epilog=_examples("cambist password"))(people.password)
app.add_typer(people.sessions_app, name="sessions", rich_help_panel=PERSON)
app.add_typer(people.totp_app, name="totp", rich_help_panel=PERSON)
app.add_typer(my_keys.app, name="my-key", rich_help_panel=PERSON)
app.add_typer(members.app, name="member", rich_help_panel=PERSON)
app.add_typer(addresses.app, name="address", rich_help_panel=HOST)
app.add_typer(addresses.mine, name="my-address", rich_help_panel=PERSON)
app.command(
    "my-audit",
    rich_help_panel=PERSON,
    epilog=_examples("cambist my-audit --act request. --limit 20", "cambist my-audit --outcome ip_not_allowed"),
)(my_audit.my_audit)
app.add_typer(users.app, name="user", rich_help_panel=HOST)
app.add_typer(txs.app, name="tx", rich_help_panel=HOST)
app.command("ping", rich_help_panel=KEY, epilog=_examples("cambist ping"))(looking.ping)
app.command("chains", rich_help_panel=KEY, epilog=_examples("cambist chains"))(looking.chains)
app.add_typer(market.app, name="market", rich_help_panel=KEY)
app.add_typer(this_key.app, name="this-key", rich_help_panel=KEY)
app.add_typer(assets.app, name="asset", rich_help_panel=HOST)
app.add_typer(panic.app, name="panic", rich_help_panel=HOST)
app.add_typer(audit.app, name="audit", rich_help_panel=HOST)
app.add_typer(host.config_app, name="config", rich_help_panel=HOST)
app.command(
    "balances",
    rich_help_panel=KEY,
    epilog=_examples("cambist balances ethereum", "cambist balances polygon --profile bot.toml --json"),
)(trading.balances)
app.command(
    "deposit-address", rich_help_panel=KEY, epilog=_examples("cambist deposit-address ethereum --profile bot.toml")
)(looking.deposit_address)
app.command(
    "reconciliation", rich_help_panel=KEY, epilog=_examples("cambist reconciliation ethereum --profile bot.toml")
)(looking.reconciliation)
app.command("quote", rich_help_panel=KEY, epilog=_examples("cambist quote ethereum ETHUSDC sell --base 0.5"))(
    trading.quote
)
app.add_typer(orders.app, name="order", rich_help_panel=KEY)
app.command(
    "withdraw",
    rich_help_panel=KEY,
    epilog=_examples(
        "cambist withdraw ethereum USDC 25.5 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --wait",
        "cambist withdraw ethereum ETH all 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --estimate",
    ),
)(withdrawals.withdraw)
app.add_typer(withdrawals.app, name="withdrawal", rich_help_panel=KEY)
app.add_typer(approvals.app, name="approval", rich_help_panel=PERSON)
app.command("wrap", rich_help_panel=KEY, epilog=_examples("cambist wrap ethereum 1.5 --wait"))(transactions.wrap)
app.command("unwrap", rich_help_panel=KEY, epilog=_examples("cambist unwrap polygon 100 --wait"))(transactions.unwrap)
app.add_typer(transactions.allowances, name="allowance", rich_help_panel=KEY)
app.add_typer(transactions.app, name="transaction", rich_help_panel=KEY)
app.add_typer(looking.contract, name="contract", rich_help_panel=KEY)


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
