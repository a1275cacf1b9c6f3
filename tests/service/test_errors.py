"""The table of errors: documented, and complete for what the code raises."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import service
from scripts.error_docs import PAGE
from service.errors import ERRORS, ApiError, as_markdown


def raised_codes() -> Iterator[str]:
    """The first argument of every `ApiError(...)` in the service, where it is written out."""
    for path in Path(service.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "ApiError" in text else ():
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ApiError"
            if named and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def test_the_page_of_errors_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), "run: python -m scripts.error_docs"


def test_every_code_that_is_raised_is_in_the_table() -> None:
    codes = set(raised_codes())
    assert "unknown_chain" in codes
    assert codes <= set(ERRORS)


def test_a_code_outside_the_table_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        ApiError("oops", "no such code")


def test_every_row_says_what_to_do_and_has_an_error_status() -> None:
    for kind in ERRORS.values():
        assert 400 <= kind.status < 600
        assert kind.title, kind
        assert kind.hint.endswith("."), kind
