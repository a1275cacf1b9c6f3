"""docs/audit.md has the table of acts that the code has."""

from pathlib import Path

from service.audit.acts import as_markdown


def test_the_table_of_acts_is_the_codes() -> None:
    page = Path(__file__).parents[2] / "docs" / "audit.md"
    assert page.read_text(encoding="utf-8").endswith("## All acts\n\n" + as_markdown())
