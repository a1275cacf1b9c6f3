"""What the pages claim about names: settings, commands, links and files exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from service.cli.commands import app
from service.orders import reasons
from service.orders.keeper.deciding import Why
from service.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
OF_A_CHAIN = ("rpc", "ws")
COMMAND = re.compile(r"^(?:\.venv/bin/)?cambist ((?:[a-z-]+ ?){1,2})", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_setting_is_on_the_operations_page() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    for name in Settings.model_fields:
        wanted = f"CAMBIST_<CHAIN>_{name.upper()}" if name in OF_A_CHAIN else f"CAMBIST_{name.upper()}"
        assert f"`{wanted}`" in page, name


def test_every_setting_on_the_operations_page_exists() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    table = page[page.index("| variable |") : page.index("Commands that trade")]
    for name in re.findall(r"^\| (`CAMBIST.*?) \|", table, re.MULTILINE):
        for variable in re.findall(r"`CAMBIST_([A-Z_<>]+)`", name):
            assert variable.removeprefix("<CHAIN>_").lower() in Settings.model_fields


def test_every_word_for_why_an_order_is_as_it_is_is_on_the_orders_page() -> None:
    page = (REPOSITORY / "docs" / "orders.md").read_text()
    words = [value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)]
    assert len(words) > 10
    assert [word for word in (*words, *Why) if f"`{word}`" not in page] == []


@pytest.fixture(scope="module")
def root() -> object:
    """All commands."""
    return get_command(app)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(root: object, page: Path) -> None:
    for words in COMMAND.findall(page.read_text()):
        first, *rest = words.split()
        command = getattr(root, "commands")[first]  # noqa: B009 - typer's own click is not exported
        if hasattr(command, "commands"):
            assert rest, words
            assert rest[0] in command.commands, words


def test_the_make_targets_of_the_pages_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    found = 0
    for page in PAGES:
        text = page.read_text()
        # As code, in a line or in a block: prose makes other things.
        blocks = "".join(re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL))
        for target in re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"
            found += 1
    assert found > 5
