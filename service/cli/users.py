"""`cambist user`: people who sign in, invited by the owner on this host."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.door import act
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_fields, print_json, stderr, write_private

app = typer.Typer(no_args_is_help=True, help="Invite people to sign in.")


@app.callback()
def group() -> None:
    """Without it, typer would make the one command the whole group."""


@app.command(
    epilog="Examples:\n\n"
    "  cambist user invite                     # whoever has it registers with a name of their own\n\n"
    "  cambist user invite owner               # sets the password of the user that `cambist init` made, or a new one"
)
def invite(
    user: Annotated[
        str | None, typer.Argument(help="A user that exists, whose password is to be set. None: a new user.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Write the invitation to this new file (mode 600) instead of showing it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make an invitation to register, or to set a password anew. It works once, within three days."""
    made: dict[str, Any] = act(settings_of_host(), "user.invite", {"user": user}, doing="making the invitation")
    if file is not None:
        write_private(file, made["invitation"] + "\n")
        made |= {"invitation": None, "file": str(file)}
    if json:
        print_json(made)
        return
    shown = {
        "for": user or "a new user",
        "invitation": made["invitation"] or f"in {made['file']}",
        "until": moment(made["expires_ms"]),
    }
    print_fields(shown, title="invitation")
    if file is None:
        stderr().print("\n[bold yellow]The invitation is shown this once.[/] Give it to that person alone.")
