"""Secrets on their way in: a hidden prompt, a file that only its owner can read, or standard input.

Guarantees: never a command-line argument and never an environment variable's value, where other processes and
shell histories see them; a file that others can read is refused, with the command that closes it.
"""

import os
import stat
import sys
from pathlib import Path
from typing import Final

import typer

from service.cli.failures import CommandFailed, ExitStatus

STDIN: Final = Path("-")
_GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_BYTES: Final = 64 * 1024


def read_secret(source: Path | None, *, prompt: str, confirm: bool = False) -> str:
    """The secret from `source` (a file, or `-` for standard input), else from a hidden prompt; trimmed.

    Raises:
        CommandFailed: the file is missing or open to others, nothing was given, or there is no terminal to ask.
    """
    if source is None:
        if not sys.stdin.isatty():
            raise CommandFailed(
                "secret_needed",
                f"{prompt}: there is no terminal to ask on",
                hint="Give a file with mode 600, or - to read it from standard input.",
                status=ExitStatus.USAGE,
            )
        text: str = typer.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    elif source == STDIN:
        text = sys.stdin.read(_MAX_BYTES)
    else:
        text = _private_file(source)
    text = text.strip()
    if not text:
        raise CommandFailed("secret_empty", f"{prompt}: nothing was given", status=ExitStatus.USAGE)
    return text


def _private_file(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            found = os.fstat(handle.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise CommandFailed("not_a_file", f"{path} is not a regular file", status=ExitStatus.USAGE)
            if found.st_mode & _GROUP_AND_OTHERS:
                raise CommandFailed(
                    "file_open_to_others", f"{path} can be read by other users", hint=f"chmod 600 {path}"
                )
            return handle.read(_MAX_BYTES).decode()
    except OSError as exc:
        raise CommandFailed("file_unreadable", f"{path}: {exc.strerror}", status=ExitStatus.UNREACHABLE) from exc
    except UnicodeDecodeError as exc:
        raise CommandFailed("not_text", f"{path} is not a text file", status=ExitStatus.USAGE) from exc
