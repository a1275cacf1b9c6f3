"""`cambist init|serve|status|config`: the installation on this host."""

import asyncio
import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import print_fields, print_json, print_table, progress, stderr
from service.cli.secret_input import STDIN, read_secret
from service.control.client import ask
from service.control.protocol import ActFailed, ControlUnavailable
from service.roles import Role

config_app = typer.Typer(no_args_is_help=True, help="Look at the effective settings.")


def init(
    account: Annotated[str, typer.Option(help="Name of the account that will own wallets and keys.")] = "main",
    owner: Annotated[str | None, typer.Option(help="Name of its owner; by default yours on this host.")] = None,
    json: JsonOption = False,
) -> None:
    """Set up an installation: directories, master key, keystore password, database, account. Repeating it is safe."""
    from service.control.installing import install  # loads the whole service: seconds that `--help` need not take

    settings = settings_of_host()
    with progress("setting up"):
        try:
            made = asyncio.run(install(settings, account=account, owner=owner or getpass.getuser()))
        except ActFailed as failure:
            raise CommandFailed(failure.code, failure.message, hint=failure.hint) from failure
    if json:
        print_json(made)
        return
    print_fields(made, title="Installed")
    stderr().print(
        f"\nBack up [bold]{settings.master_key_file}[/] apart from the data directory: without it no key works."
        "\nNext: [cyan]cambist serve[/], then [cyan]cambist wallet create main[/]"
    )


def serve(
    password_file: Annotated[
        Path | None,
        typer.Option(help="File (mode 600) with the keystore password, or - for standard input; else the setting's."),
    ] = None,
    role: Annotated[
        Role, typer.Option(help="Share one PostgreSQL: api answers clients and has no keys, worker signs and sends.")
    ] = Role.ALL,
) -> None:
    """Run the service in the foreground until SIGTERM or Ctrl-C."""
    from service.cli.running import run_server  # loads the whole service

    settings = settings_of_host()
    password = None
    if not role.works:
        # It has no use for the keys, so it does not ask for them.
        if password_file is not None:
            raise CommandFailed("role_has_no_keys", "--role api has no signing keys", hint="Leave out --password-file.")
    elif password_file is not None:
        password = read_secret(password_file, prompt="Keystore password")
    elif settings.keystore_password_file is not None:
        password = read_secret(settings.keystore_password_file, prompt="Keystore password")
    elif _has_key_files(settings.keystore_dir):
        password = read_secret(None if sys.stdin.isatty() else STDIN, prompt="Keystore password")
    run_server(settings, password, role=role)


def status(json: JsonOption = False) -> None:
    """What the running server says of itself."""
    settings = settings_of_host()
    try:
        answer = ask(settings.control_socket, "status", {})
    except ControlUnavailable as exc:
        raise CommandFailed(
            "not_running",
            f"no server listens on {exc}",
            hint="cambist serve; with the same settings as this command",
            status=ExitStatus.UNREACHABLE,
        ) from exc
    except ActFailed as failure:
        raise CommandFailed(failure.code, failure.message, hint=failure.hint) from failure
    if json:
        print_json(answer)
        return
    health = answer["health"]
    print_fields(
        {
            "address": answer["url"],
            "process": str(answer["pid"]),
            "health": health["status"],
            "database": health["database"],
            "chains": ", ".join(f"{chain} {state}" for chain, state in health["chains"].items()) or "none configured",
            "workers": ", ".join(f"{name} {state}" for name, state in health["workers"].items()),
            "unlocked": "\n".join(answer["unlocked_wallets"]) or "no wallet",
        },
        title="Server",
    )


@config_app.command("check", epilog="Example:\n\n  cambist config check --json")
def check(json: JsonOption = False) -> None:
    """Show the effective settings, secrets masked, and ask each endpoint for its chain, each signer for its keys."""
    from service.cli.checking import check_settings  # loads the chain stack

    settings = settings_of_host()
    with progress("asking the endpoints and signers"):
        report = asyncio.run(check_settings(settings))
    if json:
        print_json(report)
    else:
        print_fields(report["settings"], title="Settings")
        typer.echo()
        rows = [[row["chain"], row["endpoint"], row["result"]] for row in report["chains"]]
        print_table(["chain", "endpoint", "result"], rows)
        if report["signers"]:
            typer.echo()
            found = [[row["signer"], row["kind"], row["address"], row["result"]] for row in report["signers"]]
            print_table(["signer", "kind", "wallet", "result"], found)
    if not all(row["ok"] for row in [*report["chains"], *report["signers"]]):
        raise typer.Exit(int(ExitStatus.UNREACHABLE))


def _has_key_files(directory: Path) -> bool:
    return directory.is_dir() and any(directory.glob("0x*.json"))
