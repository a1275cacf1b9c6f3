"""How many examples a property draws that needs more or fewer than the others."""

from typing import Final

from hypothesis import settings

WHOLE: Final = 100
"""Of a property that says nothing, in `make test`."""


def examples(whole: int) -> int:
    """So many in `make test`; in the fast loop its share of them, as everywhere (the profiles of `tests.conftest`)."""
    return max(1, whole * settings().max_examples // WHOLE)
