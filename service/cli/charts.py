"""A book and candles as text for a terminal: pure functions from the API's documents to lines.

Guarantees: widths stay within what was asked for; bars are scaled to the largest value shown; numbers are those of the
document, never of the drawing. Not guaranteed: that a bar of less than an eighth of a cell can be seen.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from service.cli.output import moment, shortened

BUY: Final = "green"
SELL: Final = "red"
EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
BAR_CELLS: Final = 24
CHART_ROWS: Final = 16
MAX_CANDLES: Final = 200
LABEL_EVERY: Final = 5
"""Rows from one price label to the next."""


def depth_table(document: Mapping[str, Any], *, levels: int) -> Table:
    """Asks above, bids below, the spread between; a bar for what has summed up to there."""
    base, quote = document["base"], document["quote"]
    table = Table(box=None, pad_edge=False, header_style="bold cyan")
    for name in (f"price {quote}", base, "sum"):
        table.add_column(name, justify="right")
    table.add_column("", width=BAR_CELLS)
    asks, bids = (_summed(document[side][:levels]) for side in ("asks", "bids"))
    most = max([sum_ for _, _, sum_ in (*asks, *bids)], default=Decimal(0))
    for price, amount, sum_ in reversed(asks):
        table.add_row(Text(price, SELL), shortened(amount), shortened(f"{sum_:f}"), _bar(sum_, most, style=SELL))
    table.add_row(_spread(document), "", "", "")
    for price, amount, sum_ in bids:
        table.add_row(Text(price, BUY), shortened(amount), shortened(f"{sum_:f}"), _bar(sum_, most, style=BUY))
    return table


def candle_chart(candles: Sequence[Mapping[str, Any]], *, width: int, rows: int = CHART_ROWS) -> list[Text]:
    """One column a candle, oldest left: wick and body, prices on the right, the first and last time below."""
    shown = list(candles)[-max(1, min(width, MAX_CANDLES)) :]
    if not shown:
        return [Text("no candles")]
    low = min(Decimal(one["low"]) for one in shown)
    high = max(Decimal(one["high"]) for one in shown)
    columns = [_column(one, low=low, high=high, rows=rows) for one in shown]
    lines = []
    for row in range(rows):
        line = Text()
        for column, style in columns:
            line.append(column[row], style)
        if row % LABEL_EVERY == 0 or row == rows - 1:
            level = high - (high - low) * row / max(1, rows - 1)
            line.append(f" {shortened(f'{_plain(level):f}')}", "dim")
        lines.append(line)
    ends = f"{moment(shown[0]['open_ms'])} to {moment(shown[-1]['close_ms'])} UTC"
    return [*lines, Text(ends, "dim")]


def _summed(levels: Sequence[Sequence[str]]) -> list[tuple[str, str, Decimal]]:
    found: list[tuple[str, str, Decimal]] = []
    total = Decimal(0)
    for price, amount in levels:
        total += Decimal(amount)
        found.append((price, amount, total))
    return found


def _spread(document: Mapping[str, Any]) -> Text:
    if not document["asks"] or not document["bids"]:
        return Text("one side is empty", "yellow")
    ask, bid = Decimal(document["asks"][0][0]), Decimal(document["bids"][0][0])
    bps = (20_000 * (ask - bid) / (ask + bid)).quantize(Decimal("0.1"), ROUND_HALF_EVEN)
    return Text(f"spread {ask - bid:f} ({bps} bps)", "dim")


def _bar(value: Decimal, most: Decimal, *, style: str) -> Text:
    eighths = int(value * BAR_CELLS * 8 / most) if most else 0
    whole, part = divmod(eighths, 8)
    return Text("█" * whole + (EIGHTHS[part] if part else ""), style)


def _column(candle: Mapping[str, Any], *, low: Decimal, high: Decimal, rows: int) -> tuple[str, str]:
    """The characters from the top row to the bottom one, and their colour."""
    opened, closed = Decimal(candle["open"]), Decimal(candle["close"])
    tops = [_row(Decimal(candle["high"]), low, high, rows=rows), _row(max(opened, closed), low, high, rows=rows)]
    ends = [_row(min(opened, closed), low, high, rows=rows), _row(Decimal(candle["low"]), low, high, rows=rows)]
    drawn = "".join(
        "┃" if tops[1] <= row <= ends[0] else "│" if tops[0] <= row <= ends[1] else " " for row in range(rows)
    )
    if opened == closed and tops[1] == ends[0]:
        drawn = drawn[: tops[1]] + "─" + drawn[tops[1] + 1 :]
    return drawn, BUY if closed >= opened else SELL


def _row(level: Decimal, low: Decimal, high: Decimal, *, rows: int) -> int:
    """The row to draw it in: 0 for `high`, `rows - 1` for `low`."""
    if high == low:
        return rows // 2
    return int(((high - level) * (rows - 1) / (high - low)).quantize(Decimal(1), ROUND_HALF_EVEN))


def _plain(level: Decimal) -> Decimal:
    return level.quantize(Decimal("1e-12")).normalize()
