"""`cambist wallet`: wallets, made, imported or registered by the owner on this host."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.door import act
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import print_fields, print_json, print_table, warn_unusable
from service.cli.secret_input import STDIN, read_secret

app = typer.Typer(no_args_is_help=True, help="Create, import and list wallets.")

PasswordFileOption = Annotated[
    Path | None,
    typer.Option(
        help="File (mode 600) with the password of the new keystore, or - for standard input."
        " Without it the server's own keystore password is used, or you are asked."
    ),
]


AccountOption = Annotated[str | None, typer.Option(help="The account that is to own it; the first one, if not given.")]


class Kind(StrEnum):
    """What is imported."""

    PRIVATE_KEY = "private-key"
    MNEMONIC = "mnemonic"
    KEYSTORE = "keystore"


PROMPTS = {
    Kind.PRIVATE_KEY: "Private key (64 hex digits)",
    Kind.MNEMONIC: "Mnemonic (12 to 24 words)",
    Kind.KEYSTORE: "Keystore JSON (one line)",
}


@app.command(epilog="Example:\n\n  cambist wallet create main")
def create(
    label: Annotated[str, typer.Argument(help="A name for the wallet, unique in the account.")],
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
    json: JsonOption = False,
) -> None:
    """Make a new key in the keystore and register its wallet."""
    params = {"account": account, "label": label, "password": _password(password_file)}
    _show(act(settings_of_host(), "wallet.create", params, doing="making the wallet"), json)


@app.command(
    "import",
    epilog="Examples:\n\n"
    "  cambist wallet import main                          # asks for the private key, hidden\n\n"
    "  cambist wallet import main --from key.txt           # a file with mode 600\n\n"
    "  pass show wallet | cambist wallet import main --kind mnemonic --from -\n\n"
    "  cambist wallet import main --kind keystore --from UTC--2026.json",
)
def import_(
    label: Annotated[str, typer.Argument(help="A name for the wallet, unique in the account.")],
    kind: Annotated[Kind, typer.Option(help="What is imported.")] = Kind.PRIVATE_KEY,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="File (mode 600) with it, or - for standard input; else you are asked."),
    ] = None,
    source_password_file: Annotated[
        Path | None,
        typer.Option(help="For a keystore: file (mode 600) with the password it has now; else you are asked."),
    ] = None,
    index: Annotated[int, typer.Option(min=0, help="For a mnemonic: which address, m/44'/60'/0'/0/INDEX.")] = 0,
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
    json: JsonOption = False,
) -> None:
    """Put an existing key into the keystore and register its wallet."""
    if source == STDIN and password_file == STDIN:
        raise typer.BadParameter("standard input can give the key or the password, not both")
    secret = read_secret(source, prompt=PROMPTS[kind])
    opening = read_secret(source_password_file, prompt="Password of that keystore") if kind is Kind.KEYSTORE else None
    params = {
        "account": account,
        "label": label,
        "kind": str(kind),
        "secret": secret,
        "secret_password": opening,
        "index": index,
        "password": _password(password_file),
    }
    _show(act(settings_of_host(), "wallet.import", params, doing="importing the wallet"), json)


@app.command(epilog="Example:\n\n  cambist wallet register main 0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
def register(
    label: Annotated[str, typer.Argument(help="A name for the wallet, unique in the account.")],
    address: Annotated[str, typer.Argument(help="Address whose key is in the keystore already, or with a signer.")],
    account: AccountOption = None,
    password_file: PasswordFileOption = None,
    json: JsonOption = False,
) -> None:
    """Register the wallet of a key that a signer of the settings holds, or that is in the keystore already."""
    params = {"account": account, "label": label, "address": address, "password": _password(password_file)}
    _show(act(settings_of_host(), "wallet.register", params, doing="registering the wallet"), json)


@app.command("list", epilog="Example:\n\n  cambist wallet list --json")
def list_(json: JsonOption = False) -> None:
    """All wallets of the installation."""
    answer = act(settings_of_host(), "wallet.list", {}, doing="reading the wallets")
    if json:
        print_json(answer)
        return
    print_table(
        ["account", "label", "address", "signer", "unlocked"],
        [
            [w["account"], w["label"], w["address"], w["signer"], "yes" if w["unlocked"] else "no"]
            for w in answer["wallets"]
        ],
    )
    warn_unusable(answer)


def _password(source: Path | None) -> str | None:
    return None if source is None else read_secret(source, prompt="Password of the new keystore")


def _show(wallet: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(wallet)
        return
    print_fields({"address": wallet["address"], "signer": wallet["signer"]}, title=f"Wallet {wallet['label']}")
