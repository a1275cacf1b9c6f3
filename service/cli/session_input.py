"""What a person types in a session: passwords and codes, from the terminal, a private file or standard input."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from service.cli.failures import CommandFailed
from service.cli.secret_input import read_secret

PasswordOption = Annotated[
    Path | None, typer.Option(help="File (mode 600) with the password, or - for standard input; else it is asked for.")
]
CodeOption = Annotated[
    Path | None,
    typer.Option(help="File (mode 600) with the authenticator's code, or - for standard input; else it is asked for."),
]
CODE_DIGITS: Final = 6


def code_for(source: Path | None) -> str:
    """A code of the authenticator. Raises: CommandFailed."""
    return "".join(read_secret(source, prompt="Code of your authenticator").split())


def factor_for(source: Path | None) -> dict[str, str]:
    """The second factor beside a password: a code or a recovery code; none where nobody is asked or none is typed."""
    if source is not None:
        text = code_for(source)
    elif sys.stdin.isatty():
        prompt = "Code of your authenticator, or a recovery code (empty if you have neither)"
        text = typer.prompt(prompt, default="", show_default=False, hide_input=True, err=True)
    else:
        return {}
    text = "".join(text.split())
    if not text:
        return {}
    return {"totp": text} if len(text) == CODE_DIGITS and text.isdecimal() else {"recovery_code": text}


def with_code(send: Callable[[Mapping[str, str]], dict[str, Any]], source: Path | None) -> dict[str, Any]:
    """Send, and where the service says that it needs a code, once more with one. A code that is given goes along.

    Raises:
        CommandFailed.
    """
    if source is not None:
        return send({"totp_code": code_for(source)})
    try:
        return send({})
    except CommandFailed as refused:
        if refused.code != "totp_required" or not sys.stdin.isatty():
            raise
        typer.echo(refused.message, err=True)
    return send({"totp_code": code_for(None)})
