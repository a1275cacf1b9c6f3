"""`cambist key`: API keys, made and revoked by the owner on this host."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.door import act
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.key_options import (
    Algorithm,
    AssetOption,
    CallOption,
    ChainOption,
    DailyGasOption,
    DailyOrdersOption,
    DailySoldOption,
    DailyUsdOption,
    DailyWithdrawalsOption,
    DailyWithdrawalUsdOption,
    DailyWithdrawnOption,
    MarketOption,
    OrderUsdOption,
    Permission,
    hours,
    limits_shown,
    public_key,
)
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable, write_private

app = typer.Typer(
    no_args_is_help=True, help="API keys, by the operator of this host. Your own, when signed in: `cambist my-key`."
)


@app.command(
    epilog="Examples:\n\n"
    "  cambist key create reader --wallet main --permission read\n\n"
    "  cambist key create bot --wallet main --permission read --permission trade --ip 203.0.113.7/32 --expires 90d\n\n"
    "  cambist key create careful --wallet main --permission trade --market ethereum:ETHUSDC --max-order-usd 500"
    " --daily-usd 5000 --daily-orders 100\n\n"
    "  cambist key create payer --wallet main --permission withdraw --ip 203.0.113.7/32 --expires 90d"
    " --destination ethereum:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed --secret-file payer.secret"
)
def create(
    label: Annotated[str, typer.Argument(help="A name for the key, unique in the account.")],
    wallet: Annotated[str, typer.Option(help="Label or address of the one wallet it is for.")],
    permission: Annotated[list[Permission], typer.Option(help="read, trade or withdraw; repeat for more.")],
    ip: Annotated[
        list[str] | None,
        typer.Option(help="Network it may come from, as 203.0.113.7/32; repeat. Needed for withdraw, /24 at widest."),
    ] = None,
    destination: Annotated[
        list[str] | None,
        typer.Option(help="chain:address it may withdraw to; repeat. Needed for withdraw."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="Lifetime, as 12h or 90d. Needed for withdraw; else without one it does not expire."),
    ] = None,
    algorithm: Annotated[Algorithm, typer.Option(help="How its requests are signed.")] = Algorithm.HMAC,
    public_key_file: Annotated[
        Path | None, typer.Option(help="For ed25519: file with your public key, 32 bytes as hex or PEM.")
    ] = None,
    chain: ChainOption = None,
    asset: AssetOption = None,
    market: MarketOption = None,
    max_order_usd: OrderUsdOption = None,
    daily_usd: DailyUsdOption = None,
    daily_orders: DailyOrdersOption = None,
    daily_gas: DailyGasOption = None,
    daily_sold: DailySoldOption = None,
    daily_withdrawals: DailyWithdrawalsOption = None,
    daily_withdrawal_usd: DailyWithdrawalUsdOption = None,
    daily_withdrawn: DailyWithdrawnOption = None,
    call: CallOption = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="Write the secret to this new file (mode 600) instead of showing it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Create an API key. Its secret is shown once and cannot be had again.

    A key with trade has the daily limits of the settings where none is given; `none` lifts one.
    """
    params: dict[str, Any] = {
        "label": label,
        "wallet": wallet,
        "permissions": [str(item) for item in permission],
        "ip_allowlist": ip or [],
        "destinations": [_destination(text) for text in destination or []],
        "lifetime_hours": hours(expires),
        "algorithm": str(algorithm),
        "public_key": public_key(algorithm, public_key_file),
        "limits": {
            "chains": chain,
            "assets": asset,
            "markets": market,
            "max_order_usd": max_order_usd,
            "daily_usd": daily_usd,
            "daily_orders": daily_orders,
            "daily_gas": daily_gas,
            "daily_sold": daily_sold,
            "daily_withdrawals": daily_withdrawals,
            "daily_withdrawal_usd": daily_withdrawal_usd,
            "daily_withdrawn": daily_withdrawn,
            "calls": call,
        },
    }
    created = act(settings_of_host(), "key.create", params, doing="creating the key")
    secret = created.get("secret")
    if secret_file is not None and secret is not None:
        write_private(secret_file, secret + "\n")
        created["secret"] = None
        created["secret_file"] = str(secret_file)
    if json:
        print_json(created)
        return
    print_fields(_shown(created), title=f"API key {label}")
    if secret is not None and secret_file is None:
        stderr().print("\n[bold yellow]The secret is shown this once.[/] Keep it where only the bot can read it.")


@app.command("list", epilog="Example:\n\n  cambist key list --json")
def list_(json: JsonOption = False) -> None:
    """All keys of the installation, without secrets."""
    answer = act(settings_of_host(), "key.list", {}, doing="reading the keys")
    if json:
        print_json(answer)
        return
    print_table(
        ["key", "label", "wallet", "may", "from", "expires", "state"],
        [
            [
                key["key"],
                key["label"],
                key["wallet"]["label"],
                " ".join(key["permissions"]),
                " ".join(key["ip_allowlist"]) or "anywhere",
                moment(key["expires_ms"]),
                key["state"],
            ]
            for key in answer["keys"]
        ],
    )
    warn_unusable(answer)


@app.command(epilog="Example:\n\n  cambist key revoke ck_0123456789abcdef")
def revoke(
    key: Annotated[str, typer.Argument(help="The key (its public half) or its label.")],
    json: JsonOption = False,
) -> None:
    """Revoke a key, at once and for ever."""
    answer = act(settings_of_host(), "key.revoke", {"key": key}, doing="revoking the key")
    if json:
        print_json(answer)
        return
    stderr().print(f"revoked [bold]{answer['key']}[/] ({answer['label']})")
    stderr().print(
        f"rested and cancelled: {answer['cancelled']}; queued and rejected: {answer['rejected']};"
        f" sent and to be closed: {answer['closing']}"
    )


def _shown(created: dict[str, Any]) -> dict[str, str]:
    fields = {
        "key": created["key"],
        "secret": created.get("secret") or created.get("secret_file") or "yours (ed25519)",
        "wallet": f"{created['wallet']['label']}  {created['wallet']['address']}",
        "may": " ".join(created["permissions"]),
        "from": " ".join(created["ip_allowlist"]) or "anywhere",
        "expires": moment(created["expires_ms"]),
    }
    if created["limits"]:
        fields["limits"] = limits_shown(created["limits"])
    if created["destinations"]:
        fields["withdraws to"] = "\n".join(f"{to['chain']}:{to['address']}" for to in created["destinations"])
    return fields


def _destination(text: str) -> dict[str, str]:
    chain, separator, address = text.partition(":")
    if not separator or not address.startswith("0x"):
        raise CommandFailed(
            "bad_destination", f"{text!r} is not chain:address", hint="ethereum:0x...", status=ExitStatus.USAGE
        )
    return {"chain": chain, "address": address}
