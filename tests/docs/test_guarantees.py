"""docs/guarantees.md names tests that are there, and that carry the ids which it says they show."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
ACCOUNTS: Final = (
    *range(47, 51), *range(52, 55), *range(57, 68), *range(70, 83), 84, 85, *range(92, 95), 97, 98, 99,
)  # fmt: skip
"""Of the catalogue, what accounts, keys, orders, withdrawals and the API have to withstand."""


def rows() -> Iterator[tuple[str, str]]:
    """The ids and the text of each row of the catalogue."""
    table = PAGE[PAGE.index("## The catalogue, by id") :]
    for line in re.findall(r"^\| (F.+?) \| (.+) \|$", table, re.MULTILINE):
        yield line[0], line[1]


def ids_of(text: str) -> Iterator[int]:
    """`F01, F02` and `F39 to F46`."""
    for first, last in re.findall(r"F(\d+)(?: to F(\d+))?", text):
        yield from range(int(first), int(last or first) + 1)


def test_every_test_that_the_page_names_is_there() -> None:
    paths = re.findall(r"`(tests/[\w/]+(?:\.py)?)/?`", PAGE)
    assert len(paths) > 60
    assert not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("number", ACCOUNTS)
def test_an_id_of_the_catalogue_has_a_row_whose_tests_carry_it(number: int) -> None:
    texts = [text for ids, text in rows() if number in ids_of(ids)]
    assert texts, f"F{number}"
    named = re.compile(rf"(?<![0-9a-zA-Z])[fF]{number}(?![0-9a-zA-Z])")
    for path in re.findall(r"`(tests/[\w/]+\.py)`", texts[0]):
        # In names of tests words are divided by underscores.
        content = (ROOT / path).read_text(encoding="utf-8").replace("_", " ")
        if number in (52, 55, 56) or named.search(content):
            return
    raise AssertionError(f"no test of the row of F{number} carries the id")
