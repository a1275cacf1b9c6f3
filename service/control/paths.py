"""Where the control socket lives.

A Unix socket's path is limited to about 107 bytes by the kernel. Both sides compute the same place from the same
preferred path: the preferred one where it fits, else a short name in a private runtime directory.

Guarantees: the directory of the socket is private to the user who runs the service (0700, not a link, owned by
us), or nothing is opened.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

MAX_PATH_BYTES: Final = 100
"""Linux allows 107 and the BSDs 103, both without the closing zero."""
_GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class UnsafeSocketDirectory(Exception):
    """The directory of the control socket is writable or readable by someone else, or is not a directory."""


def socket_path(preferred: Path) -> Path:
    """The path to bind and to connect to. Pure: creates nothing."""
    absolute = preferred.absolute()
    if len(os.fsencode(absolute)) <= MAX_PATH_BYTES:
        return absolute
    digest = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:16]
    return _runtime_directory() / f"{digest}.sock"


def prepare_directory(path: Path) -> None:
    """Create the socket's directory, private to us.

    Raises:
        UnsafeSocketDirectory: it exists and someone else can enter it.
    """
    directory = path.parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _GROUP_AND_OTHERS:
        raise UnsafeSocketDirectory(
            f"{directory} must be a directory of the user who runs Cambist, closed to everyone else:"
            f" chmod 700 {directory}"
        )


def _runtime_directory() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    # A name of ours under a shared folder is checked for owner and mode before it is used.
    return Path(base) / "cambist" if base else Path(tempfile.gettempdir()) / f"cambist-{os.geteuid()}"
