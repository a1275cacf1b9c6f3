"""`cambist init|serve|status|config`: the installation on this host."""

import asyncio
import getpass
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli.door import act
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import print_fields, print_json, print_table, progress, stderr, write_private
from service.cli.secret_input import STDIN, read_secret

config_app = typer.Typer(no_args_is_help=True, help="Look at the effective settings.")


def init(
    account: Annotated[str, typer.Option(help="Name of the account that will own wallets and keys.")] = "main",
    owner: Annotated[str | None, typer.Option(help="Name of its owner; by default yours on this host.")] = None,
    json: JsonOption = False,
) -> None:
    """Set up an installation: directories, master key, keystore password, database, account. Repeating it is safe."""
    from service.control.installing import install  # the database stack takes a while to load

    settings = settings_of_host()
    with progress("setting up"):
        made = asyncio.run(install(settings, account=account, owner=owner or getpass.getuser()))
    if json:
        print_json(made)
        return
    print_fields({name: str(value) for name, value in made.items()}, title="Installed")
    stderr().print(
        f"\nBack up [bold]{settings.master_key_file}[/] apart from the data directory: without it no key works."
        "\nNext: [cyan]cambist serve[/], then [cyan]cambist wallet create main[/]"
    )
