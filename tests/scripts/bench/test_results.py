"""The verdicts of benchmarks, and how figures are shown."""

import io

import pytest
from rich.console import Console

from scripts.bench.results import Bar, Sense, all_held, bars_table

FAST = Bar(name="ours over theirs", measured=80.0, needed=80.0)
SLOW = Bar(name="within the floor", measured=1.51, needed=1.5, sense=Sense.AT_MOST)
ABSENT = Bar(name="a peer that does not install", measured=None, needed=8.0)


def test_a_bar_is_held_at_its_figure_and_on_its_side() -> None:
    assert FAST.held
    assert not Bar(name="", measured=79.99, needed=80.0).held
    assert not SLOW.held
    assert Bar(name="", measured=1.5, needed=1.5, sense=Sense.AT_MOST).held


def test_what_could_not_be_measured_is_not_held() -> None:
    assert (ABSENT.held, ABSENT.verdict) == (False, "NOT MEASURED")


@pytest.mark.parametrize(("bars", "held"), [([], False), ([FAST], True), ([FAST, SLOW], False), ([ABSENT], False)])
def test_all_are_held_only_when_there_is_one_and_none_fails(bars: list[Bar], held: bool) -> None:
    assert all_held(bars) is held


def test_the_table_shows_measured_needed_and_verdict() -> None:
    out = io.StringIO()
    quotes = Bar(name="quotes equal", measured=10_000, needed=10_000, unit=" of 10,000")
    bound = Bar(name="of the bound", measured=0.99991, needed=0.9999, unit="")
    Console(file=out, width=120).print(bars_table([FAST, SLOW, ABSENT, quotes, bound], title="bars"))
    rows = [" ".join(line.replace("│", " ").split()) for line in out.getvalue().splitlines()]
    assert "ours over theirs 80x ≥ 80x PASS" in rows
    assert "within the floor 1.51x ≤ 1.5x FAIL" in rows
    assert "a peer that does not install ≥ 8x NOT MEASURED" in rows
    assert "quotes equal 10,000 of 10,000 ≥ 10,000 of 10,000 PASS" in rows
    assert "of the bound 0.99991 ≥ 0.9999 PASS" in rows
