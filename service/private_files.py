"""Files that hold a secret: read only when nobody else can."""

import os
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 64 * 1024
_GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path) -> str:
    """The text of a file, without blanks around it.

    Raises:
        PermissionError: others can read the file.
        OSError: it cannot be read.
        ValueError: it is not text.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & _GROUP_AND_OTHERS:
            raise PermissionError(f"{path} can be read by others: chmod 600 it")
        return file.read(MAX_BYTES).decode().strip()
