"""What a command prints: results on standard output, everything else on standard error.

With `--json` the result is one JSON document on standard output and an error one on standard error, so that a
script never parses a table.
"""

import contextlib
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.cli.failures import CommandFailed, ExitStatus

SHOWN_DIGITS: Final = 8
"""Significant digits of an amount in a table; `--json` has all of them."""


def stdout() -> Console:
    """The console of results."""
    return Console(highlight=False, soft_wrap=False)


def stderr() -> Console:
    """The console of everything that is not the result."""
    return Console(stderr=True, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document, for a program to read."""
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    sys.stdout.write(text.decode() + "\n")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", right: str = "", whole: str = ""
) -> None:
    """A plain table; `right` names the columns of numbers, comma-separated. `whole` is the one that is compared and
    copied: never broken over lines, however narrow the terminal is."""
    numeric = {name.strip() for name in right.split(",")}
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold cyan")
    for at, column in enumerate(columns):
        longest = max((len(row[at]) for row in rows), default=0) if column == whole else None
        table.add_column(
            column,
            justify="right" if column in numeric else "left",
            overflow="fold",
            no_wrap=column == whole,
            min_width=longest,
        )
    for row in rows:
        table.add_row(*row)
    stdout().print(table)


def warn_unusable(answer: Mapping[str, Any]) -> None:
    """What a list left out because its rows are not as the service wrote them."""
    if left_out := answer.get("unusable"):
        stderr().print(
            f"[bold red]Altered in the database, and of no use to anybody:[/] {', '.join(left_out)}."
            " The operator looks into it: cambist audit verify"
        )


def print_fields(fields: Mapping[str, str], *, title: str = "") -> None:
    """Name and value, a line each."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, value)
    stdout().print(table)


def print_failure(failure: CommandFailed, *, as_json: bool) -> None:
    """The end of a command that did not do what was asked."""
    if as_json:
        error = {"code": failure.code, "message": failure.message, "hint": failure.hint}
        sys.stderr.write(orjson.dumps({"error": error}).decode() + "\n")
        return
    console = stderr()
    console.print(f"[bold red]{failure.code}[/]: {_plain(failure.message)}")
    if failure.hint:
        console.print(f"  [yellow]{_plain(failure.hint)}[/]")


@contextlib.contextmanager
def progress(text: str) -> Generator[Progress, None, None]:
    """A spinner with the time taken while the block runs; nothing where standard error is no terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        shown.add_task(text, total=None)
        yield shown


def shortened(amount: str) -> str:
    """A decimal text cut (never rounded up) to `SHOWN_DIGITS` significant digits, thousands separated."""
    sign, digits = ("-", amount[1:]) if amount.startswith("-") else ("", amount)
    whole, _, fraction = digits.partition(".")
    leading = len(fraction) - len(fraction.lstrip("0")) if whole == "0" else 0
    kept = max(2, SHOWN_DIGITS - (0 if whole == "0" else len(whole))) + leading
    cut = fraction[:kept].rstrip("0")
    grouped = f"{int(whole):,}"
    return f"{sign}{grouped}.{cut}" if cut else sign + grouped


def write_private(path: Path, text: str) -> None:
    """A new file that only its owner can read.

    Raises:
        CommandFailed: it exists already or cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise CommandFailed("file_not_made", f"{path}: {exc.strerror}", status=ExitStatus.UNREACHABLE) from exc
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)


def moment(milliseconds: int | None) -> str:
    """UTC time of a millisecond timestamp, or a dash."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
