"""Throwaway Python environments for libraries that are only measured against.

`ensure` makes a venv in the cache folder and installs one package into it with pip; a finished one is used again.
Guarantees: the project's own environment is not touched; a failed installation leaves nothing that looks finished.
Not guaranteed: the same version for ever: pip takes the newest that supports this Python.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.devnet.artifacts import cache_folder

INSTALL_TIMEOUT_S: Final = 900
_DONE: Final = "installed"


class PeerUnavailable(Exception):
    """The package could not be installed here; the text is pip's last line."""


def ensure(package: str) -> Path:
    """The Python of an environment with `package`. Raises: PeerUnavailable."""
    folder = cache_folder().parent / "peers" / f"{package}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if (folder / _DONE).exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--prefer-binary", package])
    except (subprocess.SubprocessError, OSError) as failed:
        shutil.rmtree(folder, ignore_errors=True)
        said = getattr(failed, "stderr", None) or str(failed)
        raise PeerUnavailable(said.strip().splitlines()[-1]) from failed
    (folder / _DONE).touch()
    return python


def version(python: Path, package: str) -> str:
    """What pip installed."""
    return _run([str(python), "-c", f"from importlib.metadata import version; print(version({package!r}))"]).strip()


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S).stdout
