"""Check the tree: prints what breaks a rule, and ends with 1 if anything does."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

from scripts.lint import callers, money, unit_of_work

ROOT: Final = Path(__file__).parents[2]
RULES: Final[tuple[ModuleType, ...]] = (money, unit_of_work, callers)


def findings(root: Path) -> Iterator[str]:
    """`path:line: message` for everything that breaks a rule below `root`."""
    for package in sorted({package for rule in RULES for package in rule.PACKAGES}):
        for path in sorted((root / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            for rule in RULES:
                if package in rule.PACKAGES:
                    for found in rule.check(tree):
                        yield f"{path.relative_to(root)}:{found.line}: {found.message}"


if __name__ == "__main__":
    lines = list(findings(ROOT))
    print("\n".join(lines) or "no findings")
    sys.exit(1 if lines else 0)
