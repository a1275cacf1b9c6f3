"""What the fast loop's examples are made of."""

import importlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CONSTANTS = [7_919 * 10**12 + number for number in range(200)]


def drawn() -> list[int]:
    found: list[int] = []

    @settings(derandomize=True, max_examples=300)
    @given(st.integers())
    def note(number: int) -> None:
        found.append(number)

    note()
    return found


def test_examples_do_not_depend_on_what_else_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    (tmp_path / "module_of_constants.py").write_text(f"NUMBERS = {CONSTANTS}")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("module_of_constants")
    assert drawn() == before
