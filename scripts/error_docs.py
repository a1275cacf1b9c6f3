"""Write docs/errors.md from the table in `service.errors`."""

from pathlib import Path
from typing import Final

from service.errors import as_markdown

PAGE: Final = Path(__file__).parents[1] / "docs" / "errors.md"

if __name__ == "__main__":
    PAGE.write_text(as_markdown(), encoding="utf-8")
