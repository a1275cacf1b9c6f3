"""How the demo looks: tables with symbols and aligned, shortened numbers. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table

DIGITS = 7
"""Significant digits shown; the API's answers have all of them."""
PLAIN_WIDTH = 100
"""Columns where the output is no terminal: a file or a pipe."""


class Screen:
    """The demo's console: chapters, tables, one line a fact, a spinner while waiting."""

    def __init__(self, console: Console | None = None) -> None:
        plain = Console(highlight=False)
        self.console = console or (plain if plain.is_terminal else Console(highlight=False, width=PLAIN_WIDTH))

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print()
        self.console.print(Rule(f"[bold]{title}[/]", align="left", style="cyan"))

    def fact(self, text: str) -> None:
        """One line of what was just found to be so."""
        self.console.print(f"  [green]✓[/] {text}")

    def note(self, text: str) -> None:
        """One line of explanation."""
        self.console.print(f"  [dim]{text}[/]")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[str] = ()) -> None:
        """A table; the columns named in `numbers` are aligned at the right."""
        numeric = set(numbers)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan")
        # Under the text of the chapter, not under its rule.
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right" if column in numeric else "left", no_wrap=True)
        for row in rows:
            table.add_row("", *row)
        self.console.print(table)

    @contextmanager
    def waiting(self, text: str) -> Generator[None, None, None]:
        """A spinner with the time taken; a plain line where the output is not a terminal."""
        if not self.console.is_terminal:
            self.console.print(f"  … {text}")
            yield
            return
        columns = (TextColumn(" "), SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(text, total=None)
            yield


def amount(text: str | None, digits: int = DIGITS) -> str:
    """Decimal text cut (never rounded up) to some significant digits, thousands separated; a dash for none."""
    if text is None:
        return "-"
    value = Context(prec=digits, rounding="ROUND_DOWN").create_decimal(text)
    if value == 0:
        return "0"
    shown = format(value, "f")
    whole, _, fraction = shown.partition(".")
    fraction = fraction.rstrip("0")
    grouped = f"{int(whole):,}" if whole not in ("-0", "0") else whole
    return f"{grouped}.{fraction}" if fraction else grouped


def signed(value: Decimal) -> str:
    """A difference with its sign, cut like `amount`."""
    text = amount(format(abs(value), "f"))
    return text if value == 0 else f"{'+' if value > 0 else '-'}{text}"


def short(address: str) -> str:
    """An address or hash by its ends."""
    return f"{address[:8]}…{address[-6:]}"
