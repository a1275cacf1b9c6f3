"""`cambist my-key`: API keys by a person who is signed in, through the HTTP API like any client."""

import re
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.key_options import (
    ANYWHERE,
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
    IpOption,
    MarketOption,
    OrderUsdOption,
    Permission,
    hours,
    key_fields,
    limits_of,
    public_key,
)
from service.cli.options import JsonOption
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable, write_private
from service.cli.session_file import load_session
from service.cli.session_input import CodeOption, code_for, with_code

app = typer.Typer(
    no_args_is_help=True,
    help="Your API keys, when signed in: make, activate, change, rotate and revoke them.",
)

KeyArgument = Annotated[str, typer.Argument(help="The key (ck_...) or its label.")]
AccountOption = Annotated[str | None, typer.Option(help="The account, if you are a member of several.")]
ExpiresOption = Annotated[str | None, typer.Option(help="Lifetime from now, as 12h or 90d.")]
PublicKeyOption = Annotated[
    Path | None, typer.Option(help="For ed25519: file with your public key, 32 bytes as hex or PEM.")
]
SecretOption = Annotated[
    Path | None, typer.Option(help="Write the secret to this new file (mode 600) instead of showing it.")
]
KeyProfileOption = Annotated[
    Path | None, typer.Option(help="Write url, key and secret to this new profile (mode 600) for --profile.")
]

NEVER: Final = "never"
_HOUR_MS: Final = 3_600_000
_KEY: Final = re.compile(r"ck_[0-9a-f]{16}", re.ASCII)


@app.command(
    epilog="Examples:\n\n"
    "  cambist my-key create reader --permission read\n\n"
    "  cambist my-key create bot --permission read --permission trade --ip 203.0.113.7 --expires 90d"
    " --max-order-usd 500 --key-profile bot.toml\n\n"
    "  cambist my-key create payer --permission withdraw --ip 203.0.113.7 --expires 90d --secret-file payer.secret"
)
def create(
    label: Annotated[str, typer.Argument(help="A name for the key, unique in the account.")],
    permission: Annotated[list[Permission], typer.Option(help="read, trade or withdraw; repeat for more.")],
    wallet: Annotated[str | None, typer.Option(help="Label or address of its wallet, if there are several.")] = None,
    account: AccountOption = None,
    ip: IpOption = None,
    expires: ExpiresOption = None,
    algorithm: Annotated[Algorithm, typer.Option(help="How its requests are signed.")] = Algorithm.HMAC,
    public_key_file: PublicKeyOption = None,
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
    secret_file: SecretOption = None,
    key_profile: KeyProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Make an API key. It does nothing until you activate it; its secret is shown once and cannot be had again.

    A key with withdraw needs --ip and --expires, 90 days at most, and reaches the account's address book.
    """
    body = {
        "label": label,
        "permissions": [str(item) for item in permission],
        "account": account,
        "wallet": wallet,
        "ip_allowlist": ip or [],
        "expires_ms": _end_ms(expires),
        "algorithm": str(algorithm),
        "public_key": public_key(algorithm, public_key_file),
        "limits": limits_of(
            chains=chain,
            assets=asset,
            markets=market,
            max_order_usd=max_order_usd,
            daily_usd=daily_usd,
            daily_orders=daily_orders,
            daily_gas=daily_gas,
            daily_sold=daily_sold,
            daily_withdrawals=daily_withdrawals,
            daily_withdrawal_usd=daily_withdrawal_usd,
            daily_withdrawn=daily_withdrawn,
            calls=call,
        ),
    }
    _check_free(secret_file, key_profile)
    with Api(load_session()) as api:
        made = api.post("/v1/keys", body)
    _show_made(made, secret_file=secret_file, key_profile=key_profile, json=json)


@app.command(epilog="Example:\n\n  cambist my-key activate bot")
def activate(key: KeyArgument, code_file: CodeOption = None, json: JsonOption = False) -> None:
    """Put a key in use, with a code of your authenticator."""
    with Api(load_session()) as api:
        found = _find(api, key)
        code = code_for(code_file)
        answer = api.post(f"/v1/keys/{found}/activate", {"totp_code": code})
    _show(answer, json=json)


@app.command("list", epilog="Example:\n\n  cambist my-key list --ended")
def list_(
    account: AccountOption = None,
    ended: Annotated[bool, typer.Option("--ended", help="Also those that are over.")] = False,
    json: JsonOption = False,
) -> None:
    """The keys of an account, without secrets."""
    query = {"ended": str(ended).lower()} | ({} if account is None else {"account": account})
    with Api(load_session()) as api:
        answer = api.get("/v1/keys", query)
    if json:
        print_json(answer)
        return
    rows = [
        [
            key["key"],
            key["label"],
            key["wallet"]["label"],
            " ".join(key["permissions"]),
            " ".join(key["ip_allowlist"]) or ANYWHERE,
            moment(key["expires_ms"]),
            moment(key["last_used_ms"]),
            key["state"],
        ]
        for key in answer["keys"]
    ]
    print_table(["key", "label", "wallet", "may", "from", "expires", "last used", "state"], rows)
    warn_unusable(answer)


@app.command(epilog="Example:\n\n  cambist my-key show bot")
def show(key: KeyArgument, json: JsonOption = False) -> None:
    """One key: what it may do, its limits, and when it ends."""
    with Api(load_session()) as api:
        answer = api.get(f"/v1/keys/{_find(api, key)}")
    _show(answer, json=json)


@app.command(
    epilog="Examples:\n\n"
    "  cambist my-key change bot --daily-usd 1000                # less than before: needs nothing\n\n"
    "  cambist my-key change bot --ip anywhere --expires never   # more than before: asks for a code\n\n"
    "  cambist my-key change bot --market none                   # lifts a limit: asks for a code"
)
def change(
    key: KeyArgument,
    label: Annotated[str | None, typer.Option(help="Another name.")] = None,
    permission: Annotated[list[Permission] | None, typer.Option(help="All that it may do; repeat.")] = None,
    ip: Annotated[
        list[str] | None,
        typer.Option(help="All that it may come from, as 203.0.113.7 or 2001:db8::/64; repeat; or anywhere."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Lifetime from now, as 12h or 90d, or never.")] = None,
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
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Change what a key may do. What is not given stays, `none` lifts a limit. More rights need a code, fewer none."""
    limits = limits_of(
        chains=chain,
        assets=asset,
        markets=market,
        max_order_usd=max_order_usd,
        daily_usd=daily_usd,
        daily_orders=daily_orders,
        daily_gas=daily_gas,
        daily_sold=daily_sold,
        daily_withdrawals=daily_withdrawals,
        daily_withdrawal_usd=daily_withdrawal_usd,
        daily_withdrawn=daily_withdrawn,
        calls=call,
    )
    body: dict[str, Any] = {}
    if label is not None:
        body["label"] = label
    if permission is not None:
        body["permissions"] = [str(item) for item in permission]
    if ip is not None:
        body["ip_allowlist"] = [] if ip == [ANYWHERE] else ip
    if expires is not None:
        body["expires_ms"] = None if expires == NEVER else _end_ms(expires)
    if limits:
        body["limits"] = limits
    if not body:
        raise CommandFailed("nothing_to_change", "say what is to change", status=ExitStatus.USAGE)
    with Api(load_session()) as api:
        found = _find(api, key)
        answer = with_code(lambda more: api.patch(f"/v1/keys/{found}", {**body, **more}), code_file)
    _show(answer, json=json)


@app.command(epilog="Example:\n\n  cambist my-key rotate bot --overlap 2h --key-profile bot-2.toml")
def rotate(
    key: KeyArgument,
    label: Annotated[str | None, typer.Option(help="Name of the new key; else the old one's with a number.")] = None,
    overlap: Annotated[
        str, typer.Option(help="How long the old key works on once the new one is activated, as 2h; 7d at most.")
    ] = "24h",
    expires: ExpiresOption = None,
    public_key_file: Annotated[
        Path | None, typer.Option(help="For an ed25519 key: file with the new public key.")
    ] = None,
    secret_file: SecretOption = None,
    key_profile: KeyProfileOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key with the same rights in place of another. Activate it; then the old one ends after the overlap."""
    algorithm = Algorithm.HMAC if public_key_file is None else Algorithm.ED25519
    body: dict[str, Any] = {
        "label": label,
        "overlap_hours": hours(overlap) if overlap not in ("0", "0h") else 0,
        "expires_ms": _end_ms(expires),
        "public_key": public_key(algorithm, public_key_file),
    }
    _check_free(secret_file, key_profile)
    with Api(load_session()) as api:
        made = api.post(f"/v1/keys/{_find(api, key)}/rotate", body)
    _show_made(made, secret_file=secret_file, key_profile=key_profile, json=json)


@app.command(epilog="Example:\n\n  cambist my-key revoke bot")
def revoke(key: KeyArgument, json: JsonOption = False) -> None:
    """End a key, at once and for ever, with what it has open."""
    with Api(load_session()) as api:
        answer = api.delete(f"/v1/keys/{_find(api, key)}")
    if json:
        print_json(answer)
        return
    stderr().print(f"revoked [bold]{answer['key']['key']}[/] ({answer['key']['label']})")
    stderr().print(
        f"rested and cancelled: {answer['cancelled']}; queued and rejected: {answer['rejected']};"
        f" sent and to be closed: {answer['closing']}"
    )


def _end_ms(lifetime: str | None) -> int | None:
    found = hours(lifetime)
    return None if found is None else time.time_ns() // 1_000_000 + found * _HOUR_MS


def _find(api: Api, named: str) -> str:
    """The id of a key given by id or label. Raises: CommandFailed."""
    if _KEY.fullmatch(named):
        return named
    accounts = [one["account"] for one in api.get("/v1/auth/me")["accounts"]]
    found: list[str] = []
    for account in accounts:
        listed = api.get("/v1/keys", {"account": account, "ended": "true"})["keys"]
        found += [key["key"] for key in listed if key["label"] == named]
    if len(found) != 1:
        why = f"there is no key {named!r}" if not found else f"several accounts have a key {named!r}"
        raise CommandFailed("no_such_key", why, hint="cambist my-key list --ended, and give the key itself")
    return found[0]


def _check_free(*paths: Path | None) -> None:
    """Before the key is made: a secret that cannot be written would be lost. Raises: CommandFailed."""
    for path in paths:
        if path is not None and (path.exists() or not path.absolute().parent.is_dir()):
            raise CommandFailed("file_not_made", f"{path} exists, or its folder does not", status=ExitStatus.USAGE)


def _show_made(
    made: dict[str, Any], *, secret_file: Path | None, key_profile: Path | None, json: bool
) -> None:  # fmt: skip
    key, secret = made["key"], made["secret"]
    if secret is not None and key_profile is not None:
        url = load_session().url
        write_private(key_profile, f'url = "{url}"\nkey = "{key["key"]}"\nsecret = "{secret}"\n')
        made = made | {"secret": None, "key_profile": str(key_profile)}
    if secret is not None and secret_file is not None:
        write_private(secret_file, secret + "\n")
        made = made | {"secret": None, "secret_file": str(secret_file)}
    if json:
        print_json(made)
        return
    kept = made["secret"] or made.get("key_profile") or made.get("secret_file") or "yours (ed25519)"
    print_fields(key_fields(key, secret=kept), title=f"API key {key['label']}")
    if made["secret"] is not None:
        stderr().print("\n[bold yellow]The secret is shown this once.[/] Keep it where only the bot can read it.")
    stderr().print(f"\nIt does nothing until you activate it:  cambist my-key activate {key['key']}")


def _show(key: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(key)
        return
    print_fields(key_fields(key), title=f"API key {key['label']}")
