"""Books and candles drawn as text, line by line."""

from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from service.cli.charts import BAR_CELLS, candle_chart, depth_table


def _rendered(thing: Any) -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(thing)
    return captured.get()


def _candle(opened: str, high: str, low: str, close: str, *, at_s: int = 0) -> dict[str, Any]:
    prices = {"open": opened, "high": high, "low": low, "close": close}
    return prices | {"open_ms": at_s * 1000, "close_ms": at_s * 1000 + 59_999}


BOOK = {
    "base": "ETH",
    "quote": "USDC",
    "asks": [["3001", "1.5"], ["3002", "0.5"]],
    "bids": [["2999", "4"], ["2998", "1"]],
}


def test_a_book_has_asks_above_bids_and_the_best_prices_next_to_the_spread() -> None:
    lines = [line.split() for line in _rendered(depth_table(BOOK, levels=10)).splitlines()[1:]]
    assert [line[0] for line in lines] == ["3002", "3001", "spread", "2999", "2998"]
    assert [line[2] for line in lines if line[0] != "spread"] == ["2", "1.5", "4", "5"]
    assert lines[2][:4] == ["spread", "2", "(6.7", "bps)"]


def test_the_largest_sum_fills_the_bar_and_the_others_are_in_proportion() -> None:
    lines = _rendered(depth_table(BOOK, levels=10)).splitlines()
    bars = [line.count("█") for line in lines[1:]]
    assert max(bars) == bars[-1] == BAR_CELLS
    assert bars[-2] == BAR_CELLS * 4 // 5


def test_only_the_levels_asked_for_are_shown() -> None:
    assert len(_rendered(depth_table(BOOK, levels=1)).splitlines()) == 1 + 3


def test_a_book_with_an_empty_side_says_so() -> None:
    assert "one side is empty" in _rendered(depth_table(BOOK | {"asks": []}, levels=5))


def test_a_candle_reaches_from_its_high_to_its_low_with_its_body_between() -> None:
    lines = candle_chart([_candle("10", "20", "0", "15")], width=1, rows=5)
    assert [line.plain[0] for line in lines[:5]] == ["│", "┃", "┃", "│", "│"]


def test_a_candle_that_closed_lower_has_the_other_colour() -> None:
    up, down = (candle_chart([_candle("1", "2", "0", close)], width=1)[0].spans[0].style for close in ("2", "0"))
    assert {up, down} == {"green", "red"}
    assert up == "green"


def test_a_flat_candle_is_a_line() -> None:
    flat = candle_chart([_candle("7", "7", "7", "7")], width=1, rows=5)
    assert "".join(line.plain[0] for line in flat[:5]) == "  ─  "


def test_the_newest_candles_are_kept_when_there_is_no_room_for_all() -> None:
    many = [_candle(str(n), str(n), str(n), str(n), at_s=60 * n) for n in range(1, 50)]
    lines = candle_chart(many, width=10)
    assert lines[-1] == Text("1970-01-01 00:40:00 to 1970-01-01 00:49:59 UTC", "dim")
    assert Decimal(lines[0].plain[10:].strip()) == 49


def test_without_candles_it_says_so() -> None:
    assert [line.plain for line in candle_chart([], width=80)] == ["no candles"]
