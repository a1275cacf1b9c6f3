"""What a user, an account or a wallet may be called."""

from typing import Final

MAX_LENGTH: Final = 64
"""Characters; the width of the columns."""


class InvalidName(ValueError):
    """Empty, too long, with blanks around it, or with characters that cannot be printed."""


def checked(name: str) -> str:
    """The name itself. Raises: InvalidName."""
    if not name or len(name) > MAX_LENGTH or name != name.strip() or not name.isprintable():
        raise InvalidName(f"a name has 1 to {MAX_LENGTH} printable characters and no blanks around it")
    return name
