"""`cambist register|sign-in|sign-out|whoami|password|sessions|totp`: a person's own access, through the HTTP API.

Guarantees: passwords and codes come from a terminal, a private file or standard input, never from argv; the token goes
into a private file and is never shown.
"""

import sys
from pathlib import Path
from typing import Annotated, Any, Final

import segno
import typer

from service.cli.api import Api
from service.cli.failures import CommandFailed, ExitStatus
from service.cli.options import JsonOption
from service.cli.output import moment, print_fields, print_json, print_table, stderr, warn_unusable, write_private
from service.cli.secret_input import read_secret
from service.cli.session_file import SignedIn, forget_session, keep_session, load_session, private_url
from service.cli.session_input import CodeOption, PasswordOption, code_for, factor_for

sessions_app = typer.Typer(no_args_is_help=True, help="Where you are signed in.")
totp_app = typer.Typer(no_args_is_help=True, help="Your authenticator: what makes a stolen password worth little.")

QUIET_ZONE: Final = 4
"""Light modules around a QR code, as its standard asks for."""
_COLOURS: Final = {0: 231, 1: 16}
"""White and black of the 256 colours, which no theme changes."""

UrlOption = Annotated[str | None, typer.Option(help="The server; else CAMBIST_URL, or this host's.")]
NameArgument = Annotated[str, typer.Argument(help="Your user name.")]
CodesOption = Annotated[
    Path | None, typer.Option(help="Write the recovery codes to this new file (mode 600) instead of showing them.")
]


def register(
    name: NameArgument,
    url: UrlOption = None,
    invitation_file: Annotated[
        Path | None, typer.Option(help="File (mode 600) with your invitation, or - for standard input.")
    ] = None,
    password_file: PasswordOption = None,
    json: JsonOption = False,
) -> None:
    """Make a user of your own; or, with an invitation that is for your user, set its password."""
    server = private_url(url)
    body = {"name": name}
    if invitation_file is not None:
        body["invitation"] = read_secret(invitation_file, prompt="Invitation")
    body["password"] = read_secret(password_file, prompt="Password", confirm=True)
    with Api.public(server) as api:
        made = api.post("/v1/auth/register", body)
    if json:
        print_json(made)
        return
    stderr().print(f"registered [bold]{made['name']}[/]" + (", who owns this installation" * made["owns_installation"]))
    stderr().print(f"Next: cambist sign-in {name}, then cambist totp enrol")


def sign_in(
    name: NameArgument,
    url: UrlOption = None,
    password_file: PasswordOption = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Begin a session on this host, kept in a file that only you can read."""
    server = private_url(url)
    body: dict[str, Any] = {"name": name, "password": read_secret(password_file, prompt="Password")}
    body |= factor_for(code_file)
    with Api.public(server) as api:
        made = api.post("/v1/auth/sign-in", body)
    path = keep_session(SignedIn(url=server, token=made["token"]))
    if json:
        print_json({"session": made["session"], "held_until_ms": made["held_until_ms"], "file": str(path)})
        return
    stderr().print(f"signed in as [bold]{name}[/] until {moment(made['session']['expires_ms'])} UTC, kept in {path}")
    if made["held_until_ms"] is not None:
        stderr().print(f"Withdrawals and wider rights are held until {moment(made['held_until_ms'])} UTC.")


def sign_out(json: JsonOption = False) -> None:
    """End the session of this host, there and here."""
    with Api(load_session()) as api:
        try:
            ended = api.post("/v1/auth/sign-out", {})
        except CommandFailed as refused:
            if refused.code != "session_ended":
                raise
            ended = {"ended": False}
    forget_session()
    if json:
        print_json(ended)
        return
    stderr().print("signed out")


def whoami(json: JsonOption = False) -> None:
    """Who is signed in here, with which roles, and what is held."""
    with Api(load_session()) as api:
        me = api.get("/v1/auth/me")
    if json:
        print_json(me)
        return
    roles = [f"{one['account']}: {one['role']}" for one in me["accounts"]]
    fields = {
        "user": me["user"]["name"] + (" (owns this installation)" if me["user"]["owns_installation"] else ""),
        "accounts": "\n".join(roles) or "none",
        "authenticator": "in use" if me["totp"] else "none: cambist totp enrol",
        "recovery codes": str(me["recovery_codes_left"]),
        "session until": moment(me["session"]["expires_ms"]),
    }
    if me["held_until_ms"] is not None:
        fields["held until"] = moment(me["held_until_ms"])
    print_fields(fields)


def password(
    password_file: PasswordOption = None,
    new_password_file: Annotated[
        Path | None, typer.Option(help="File (mode 600) with the new password; else it is asked for.")
    ] = None,
    code_file: CodeOption = None,
    json: JsonOption = False,
) -> None:
    """Set another password. Ends your other sessions, and holds withdrawals and wider rights for 24 hours."""
    with Api(load_session()) as api:
        body = _proof(password_file, code_file)
        body["new_password"] = read_secret(new_password_file, prompt="New password", confirm=True)
        done = api.post("/v1/auth/password", body)
    if json:
        print_json(done)
        return
    stderr().print(f"the password is set; withdrawals and wider rights are held until {moment(done['held_until_ms'])}")


@sessions_app.command("list", epilog="Example:\n\n  cambist sessions list --json")
def list_sessions(json: JsonOption = False) -> None:
    """Your open sessions, newest first."""
    with Api(load_session()) as api:
        answer = api.get("/v1/auth/sessions")
    _show_sessions(answer, json=json)


@sessions_app.command(
    "end",
    epilog="Examples:\n\n"
    "  cambist sessions end 01936f2c-7d1e-7a52-9c40-2b9d1f0e5a77\n\n"
    "  cambist sessions end --others",
)
def end_session(
    session: Annotated[str | None, typer.Argument(help="The session, as `cambist sessions list` shows it.")] = None,
    others: Annotated[bool, typer.Option("--others", help="All of yours but this one.")] = False,
    json: JsonOption = False,
) -> None:
    """End a session at once, or all others."""
    if (session is None) is not others:
        raise CommandFailed("which_session", "give one session, or --others", status=ExitStatus.USAGE)
    with Api(load_session()) as api:
        answer = api.delete("/v1/auth/sessions" if session is None else f"/v1/auth/sessions/{session}")
    _show_sessions(answer, json=json)


@totp_app.command(epilog="Example:\n\n  cambist totp enrol")
def enrol(password_file: PasswordOption = None, code_file: CodeOption = None, json: JsonOption = False) -> None:
    """Begin with an authenticator app: shows a QR code for it. Nothing changes until you confirm one of its codes."""
    with Api(load_session()) as api:
        begun = api.post("/v1/auth/totp", _proof(password_file, code_file))
    if json:
        print_json(begun)
        return
    sys.stdout.write(qr_code(begun["otpauth_uri"]))
    print_fields({"or type": begun["secret"]})
    stderr().print("\n[bold yellow]Shown this once.[/] Scan it, then:  cambist totp confirm")


@totp_app.command(epilog="Example:\n\n  cambist totp confirm --codes-file recovery.codes")
def confirm(code_file: CodeOption = None, codes_file: CodesOption = None, json: JsonOption = False) -> None:
    """Put the new authenticator in use. Ends your other sessions; holds withdrawals and wider rights for 24 hours."""
    _check_new(codes_file)
    with Api(load_session()) as api:
        done = api.post("/v1/auth/totp/confirm", {"totp": code_for(code_file)})
    _show_codes(done, codes_file=codes_file, json=json)
    if not json:
        stderr().print(f"Withdrawals and wider rights are held until {moment(done['held_until_ms'])} UTC.")


@totp_app.command("recovery-codes", epilog="Example:\n\n  cambist totp recovery-codes --codes-file recovery.codes")
def recovery_codes(
    password_file: PasswordOption = None,
    code_file: CodeOption = None,
    codes_file: CodesOption = None,
    json: JsonOption = False,
) -> None:
    """Ten new recovery codes in place of the old ones."""
    _check_new(codes_file)
    with Api(load_session()) as api:
        done = api.post("/v1/auth/recovery-codes", _proof(password_file, code_file))
    _show_codes(done, codes_file=codes_file, json=json)


def qr_code(text: str) -> str:
    """A QR code, two modules a character, dark on light whatever the terminal's own colours are."""
    rows = [list(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    lines = (
        "".join(f"\x1b[38;5;{_COLOURS[top]};48;5;{_COLOURS[bottom]}m\u2580" for top, bottom in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    )
    return "".join(f"{line}\x1b[0m\n" for line in lines)


def _proof(password_file: Path | None, code_file: Path | None) -> dict[str, Any]:
    return {"password": read_secret(password_file, prompt="Password"), **factor_for(code_file)}


def _check_new(path: Path | None) -> None:
    """Before the codes are made: ones that cannot be written would be lost. Raises: CommandFailed."""
    if path is not None and (path.exists() or not path.absolute().parent.is_dir()):
        raise CommandFailed("file_not_made", f"{path} exists, or its folder does not", status=ExitStatus.USAGE)


def _show_codes(done: dict[str, Any], *, codes_file: Path | None, json: bool) -> None:
    codes = done["recovery_codes"]
    if codes_file is not None:
        write_private(codes_file, "\n".join(codes) + "\n")
        done = done | {"recovery_codes": None, "codes_file": str(codes_file)}
    if json:
        print_json(done)
        return
    if codes_file is None:
        sys.stdout.write("\n".join(codes) + "\n")
        stderr().print(
            "\n[bold yellow]Shown this once.[/] Each works once when the authenticator is lost: keep them apart."
        )
        return
    stderr().print(f"recovery codes in {codes_file}")


def _show_sessions(answer: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(answer)
        return
    rows = [
        [
            one["id"] + (" (this)" if one["current"] else ""),
            one["carrier"],
            one["client_ip"],
            one["agent"],
            moment(one["last_seen_ms"]),
            moment(one["expires_ms"]),
        ]
        for one in answer["sessions"]
    ]
    print_table(["session", "kind", "from", "client", "last seen", "expires"], rows)
    warn_unusable(answer)
