"""`cambist user`: people who sign in, for the operator on this host: inviting, listing, and a lost authenticator."""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.door import act
from service.cli.options import JsonOption, settings_of_host
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable, write_private

app = typer.Typer(no_args_is_help=True, help="People who sign in: invite them, see them, help who is locked out.")


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


@app.command("list", epilog="Example:\n\n  cambist user list")
def list_(json: JsonOption = False) -> None:
    """All users: who can sign in, with an authenticator or not, and their roles."""
    found: dict[str, Any] = act(settings_of_host(), "user.list", {}, doing="looking")
    if json:
        print_json(found)
        return
    rows = [
        (
            one["user"] + (" (owns this installation)" if one["owns_installation"] else ""),
            "yes" if one["signs_in"] else "no",
            f"yes, {one['recovery_codes_left']} recovery codes" if one["totp"] else "no",
            moment(one["held_until_ms"]),
            ", ".join(f"{mine['role']} of {mine['account']}" for mine in one["accounts"]) or "-",
        )
        for one in found["users"]
    ]
    print_table(("user", "signs in", "authenticator", "on hold until", "roles"), rows)
    warn_unusable(found)


@app.command("reset-totp", epilog="Example:\n\n  cambist user reset-totp ada")
def reset_totp(
    user: Annotated[str, typer.Argument(help="Who lost the authenticator and all recovery codes.")],
    json: JsonOption = False,
) -> None:
    """Take a user's authenticator and recovery codes away. Be sure who asks: the password alone signs in from then on.

    All sessions of the user end. For 24 hours nothing is withdrawn or widened in their sessions or by their keys.
    """
    done: dict[str, Any] = act(settings_of_host(), "user.reset-totp", {"user": user}, doing="resetting")
    if json:
        print_json(done)
        return
    shown = {
        "user": done["user"],
        "sessions ended": str(done["sessions"]),
        "on hold until": moment(done["held_until_ms"]),
    }
    print_fields(shown, title="no authenticator any more")
    stderr().print("They sign in with the password alone, and set up another: cambist totp enrol")
